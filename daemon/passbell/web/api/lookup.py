# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""What to choose from, and the honest count."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from passbell.web.api import strict
from passbell.web.api.models import Counted, PreviewOrder, Result, Text
from passbell.web.api.notify import find_program, moment
from passbell.web.context import Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import json_answer
from passbell.web.rows import Program, Segment

__all__ = ["counted", "router"]

router = strict.router("/api", "Programs and audiences")


@router.get("/programs", response_model=Result[list[Program]], summary="List programs")
async def programs(web: Web) -> Response:
    """Return all programs with their zone, window and birthday bot."""
    return json_answer({"success": True, "result": await web.calls.programs()})


@router.get("/segments", response_model=Result[list[Segment]], summary="List named audiences")
async def segments(
    web: Web, program_id: Annotated[Text | None, Query(alias="programId", max_length=200)] = None
) -> Response:
    """Return the audiences that may be named in `segment`; they are the same for all programs."""
    if program_id is not None:
        await web.calls.find_program(program_id)
    return json_answer({"success": True, "result": await web.calls.segments()})


@router.post("/preview", response_model=Result[Counted], summary="Count an audience")
async def preview(body: PreviewOrder, web: Web) -> Response:
    """Count: matched → in a wallet → not opted out → not capped → reachable; and what would hold it back."""
    return await counted(web, body)


async def counted(web: Context, body: PreviewOrder) -> Response:
    """Count the audience of an order, and say when the order could begin."""
    if not (body.program_id and body.program_id.strip()):
        raise ApiError(400, "PROGRAM_REQUIRED", "Program ID required")
    program = await find_program(web, body)
    at = await moment(web, program, body.scheduled_at)
    count = await web.calls.preview(program, body.audience)
    outlook = await web.calls.outlook(program, at)
    result = Counted(**count.model_dump(), **outlook.model_dump())
    return json_answer({"success": True, "result": result})
