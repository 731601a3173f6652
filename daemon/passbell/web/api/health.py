# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Liveness and readiness, without a key."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from passbell.db.migrate import check
from passbell.errors import PassbellError
from passbell.web.api.models import ErrorBody, Result
from passbell.web.context import Web
from passbell.web.errors import ApiError, error_response
from passbell.web.once import json_answer

__all__ = ["router"]

router = APIRouter(tags=["Health"])

NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody, "description": "Not ready"}}


@router.get("/live", response_model=Result, summary="Is the process alive?")
async def live() -> Response:
    """Answer as long as the process can."""
    return json_answer({"success": True, "result": "alive"})


@router.get("/ready", response_model=Result, summary="Can it serve?", responses=NOT_READY)
async def ready(web: Web) -> Response:
    """Look at the database and its schema."""
    try:
        report = await asyncio.to_thread(check, web.settings.database_dsn)
    except PassbellError:
        return error_response(ApiError(503, "NOT_READY", "The database or its schema is not ready."))
    if report.installed < report.available:
        return error_response(
            ApiError(503, "NOT_READY", "The database is not ready: run `passbell migrate`.")
        )
    return json_answer({"success": True, "result": "ready"})
