# ruff: noqa: TC001, TC002, TC003 - FastAPI reads the signatures at run time
"""Programs and audiences: what to choose from, the limits, the count, and who gets no messages for now."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import Field, StringConstraints

from passbell.errors import CampaignError
from passbell.web.api import strict
from passbell.web.api.audience import Known
from passbell.web.api.models import Counted, Moment, PreviewOrder, ProgramId, Result, Text
from passbell.web.api.scope import find_program, moment, required_program
from passbell.web.calls.members import Suppression
from passbell.web.calls.programs import Program, Segment
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, fingerprint, once, result

__all__ = ["counted", "router"]

router = strict.router("/api", "Programs and audiences")


@router.get("/programs", response_model=Result[list[Program]], summary="List programs")
async def programs(web: Web) -> Response:
    """Return all programs with their zone, window and birthday bot."""
    return result(await web.calls.programs())


class LimitsChange(Known):
    """The limits to change. What is left out stays; null removes a limit."""

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


@router.patch("/programs/{id}", response_model=Result[Program], summary="Change the limits of a program")
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
    return result(changed)


@router.get("/segments", response_model=Result[list[Segment]], summary="List named audiences")
async def segments(
    web: Web, program_id: Annotated[Text | None, Query(alias="programId", max_length=200)] = None
) -> Response:
    """Return the audiences that may be named in `segment`; they are the same for all programs."""
    if program_id is not None:
        await web.calls.find_program(program_id)
    return result(await web.calls.segments())


@router.post("/preview", response_model=Result[Counted], summary="Count an audience")
async def preview(body: PreviewOrder, web: Web) -> Response:
    """Count: matched → in a wallet → not opted out → not capped → reachable; and what would hold it back."""
    return await counted(web, body)


async def counted(web: Context, body: PreviewOrder) -> Response:
    """Count the audience of an order, and say when the order could begin."""
    required_program(body.program_id)
    program = await find_program(web, body)
    at = await moment(web, program, body.scheduled_at)
    count = await web.calls.preview(program, body.audience)
    outlook = await web.calls.outlook(program, at)
    return result(Counted(**count.model_dump(), **outlook.model_dump()))


class SuppressionOrder(Known):
    """A member of a program who shall get no messages for now."""

    program_id: ProgramId
    external_id: Annotated[
        Text,
        StringConstraints(strip_whitespace=True),
        Field(min_length=1, max_length=500, examples=["staff-7"]),
    ]
    until: Moment | None = Field(
        default=None, description="Until then; without an offset by the program's clock. Left out: no end"
    )
    reason: Annotated[Text, Field(max_length=400, examples=["Staff"])] | None = None


@router.get("/suppressions", response_model=Result[list[Suppression]], summary="List suppressed members")
async def suppressions(
    web: Web, program_id: Annotated[Text, Query(alias="programId", max_length=200)]
) -> Response:
    """Return the last 500 entries of a program; `over` is true of those whose time has passed."""
    program = await web.calls.find_program(program_id)
    return result(await web.calls.suppressions(program))


@router.post(
    "/suppressions", status_code=201, response_model=Result[Suppression], summary="Suppress a member"
)
async def suppress(
    body: SuppressionOrder, web: Web, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Skip a member in every campaign of the program, as `suppressed`; test sends still reach the member."""

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(body.program_id)
        until = await moment(web, program, body.until)
        made = await web.calls.suppress(caller, program, body.external_id, until, body.reason)
        return 201, {"success": True, "result": made.model_dump(mode="json", by_alias=True)}

    same = fingerprint("suppression", body.model_dump_json(exclude_unset=True))
    return await once(web.calls, caller, idempotency_key, same, work)


@router.delete("/suppressions/{id}", response_model=Result[Suppression], summary="End a suppression")
async def unsuppress(web: Web, caller: Caller, row: Annotated[UUID, Path(alias="id")]) -> Response:
    """Remove the entry, and return it as it was."""
    was = await web.calls.suppression(row)
    await web.calls.unsuppress(caller, row)
    return result(was)
