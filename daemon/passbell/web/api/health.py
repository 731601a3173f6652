# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Liveness and readiness, without a key."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from passbell.database.migrate import check
from passbell.errors import PassbellError
from passbell.web.api.models import Result
from passbell.web.context import Web
from passbell.web.errors import ApiError, ErrorBody, error_response
from passbell.web.once import result

__all__ = ["Readiness", "router"]

router = APIRouter(tags=["Health"])

NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody, "description": "Not ready"}}

_LOOK_SECONDS: Final = 1.0


class Readiness:
    """Whether the database and its schema are ready; looked up for all who ask within a second together."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._problem: str | None = None

    async def problem(self, dsn: str) -> str | None:
        """Return what is missing, None if it is ready."""
        async with self._lock:
            if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                self._problem = await asyncio.to_thread(_look, dsn)
                self._looked_at = time.monotonic()
            return self._problem


def _look(dsn: str) -> str | None:
    try:
        report = check(dsn)
    except PassbellError:
        return "The database or its schema is not ready."
    behind = report.installed < report.available
    return "The database is not ready: run `passbell migrate`." if behind else None


@router.get("/live", response_model=Result[str], summary="Is the process alive?")
async def live() -> Response:
    """Answer as long as the process can."""
    return result("alive")


@router.get("/ready", response_model=Result[str], summary="Can it serve?", responses=NOT_READY)
async def ready(request: Request, web: Web) -> Response:
    """Look at the database and its schema, at most once a second, because it needs no key."""
    problem = await request.app.state.readiness.problem(web.settings.database_dsn)
    if problem is not None:
        return error_response(ApiError(503, "NOT_READY", problem))
    return result("ready")
