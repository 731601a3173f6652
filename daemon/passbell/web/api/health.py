# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Liveness and readiness, without a key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from passbell.web.api.models import ErrorBody, Result
from passbell.web.context import Web
from passbell.web.errors import ApiError, error_response
from passbell.web.once import json_answer

__all__ = ["router"]

router = APIRouter(tags=["Health"])

NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody, "description": "Not ready"}}


@router.get("/live", response_model=Result[str], summary="Is the process alive?")
async def live() -> Response:
    """Answer as long as the process can."""
    return json_answer({"success": True, "result": "alive"})


@router.get("/ready", response_model=Result[str], summary="Can it serve?", responses=NOT_READY)
async def ready(web: Web) -> Response:
    """Look at the database and its schema, at most once a second, because it needs no key."""
    problem = await web.readiness.problem(web.settings.database_dsn)
    if problem is not None:
        return error_response(ApiError(503, "NOT_READY", problem))
    return json_answer({"success": True, "result": "ready"})
