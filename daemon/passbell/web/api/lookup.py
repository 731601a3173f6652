# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""What to choose from, and the honest count."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import Field

from passbell.errors import CampaignError
from passbell.web.api import strict
from passbell.web.api.audience import Known
from passbell.web.api.models import Counted, PreviewOrder, Result, Text
from passbell.web.api.notify import find_program, moment
from passbell.web.calls.programs import Program, Segment
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import json_answer

__all__ = ["counted", "router"]

router = strict.router("/api", "Programs and audiences")


@router.get("/programs", response_model=Result[list[Program]], summary="List programs")
async def programs(web: Web) -> Response:
    """Return all programs with their zone, window and birthday bot."""
    return json_answer({"success": True, "result": await web.calls.programs()})


class LimitsChange(Known):
    """The limits to change; what is left out stays, and null is none."""

    push_max: Annotated[int, Field(strict=True, ge=0, le=1_000)] | None = Field(
        default=None, description="At most so many messages in `pushMaxDays`", examples=[4]
    )
    push_max_days: Annotated[int, Field(strict=True, ge=1, le=365)] | None = Field(
        default=None, examples=[30]
    )
    push_min_hours: Annotated[int, Field(strict=True, ge=1, le=8_760)] | None = Field(
        default=None, description="At least so many hours between two messages", examples=[24]
    )
    push_consent: Literal["OPT_OUT", "OPT_IN"] | None = Field(
        default=None, description="What no answer about messages means: yes with OPT_OUT, no with OPT_IN"
    )


@router.patch("/programs/{id}", response_model=Result[Program], summary="Change how often is enough")
async def limits(
    body: LimitsChange,
    web: Web,
    caller: Caller,
    program_id: Annotated[Text, Path(alias="id", max_length=200)],
) -> Response:
    """Change a program's limits and what no answer about messages means; they count from the next message."""
    program = await web.calls.find_program(program_id)
    fields = orjson.dumps(body.model_dump(exclude_unset=True, by_alias=False)).decode()
    try:
        await web.calls.set_message_limits(caller, program, fields)
    except CampaignError as error:
        if error.sqlstate == "PB400":
            raise ApiError(422, "INVALID_LIMITS", str(error)) from None
        raise
    (changed,) = [one for one in await web.calls.programs() if one.program_id == program]
    return json_answer({"success": True, "result": changed})


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
