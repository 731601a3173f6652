# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""What to choose from, and the honest count."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from passbell.web.api.models import PreviewOrder, Result, Text
from passbell.web.context import Web
from passbell.web.errors import ApiError
from passbell.web.once import json_answer

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["Programs and audiences"])


@router.get("/programs", response_model=Result, summary="List programs")
async def programs(web: Web) -> Response:
    """Return all programs with their zone, window and birthday bot."""
    return json_answer({"success": True, "result": await web.calls.programs()})


@router.get("/segments", response_model=Result, summary="List named audiences")
async def segments(
    web: Web, program_id: Annotated[Text | None, Query(alias="programId", max_length=200)] = None
) -> Response:
    """Return the audiences that may be named in `segment`; they are the same for all programs."""
    if program_id is not None:
        await web.calls.find_program(program_id)
    return json_answer({"success": True, "result": await web.calls.segments()})


@router.post("/preview", response_model=Result, summary="Count an audience")
async def preview(body: PreviewOrder, web: Web) -> Response:
    """Count: matched → in a wallet → not opted out → not capped → reachable, and when it would be done."""
    if not (body.program_id and body.program_id.strip()):
        raise ApiError(400, "PROGRAM_REQUIRED", "Program ID required")
    program = await web.calls.find_program(body.program_id)
    return json_answer({"success": True, "result": await web.calls.preview(program, body.segment or "ALL")})
