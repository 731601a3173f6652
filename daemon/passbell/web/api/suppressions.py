# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Members who get no messages for now: the list of a program, one more, one less."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import Field, StringConstraints

from passbell.web.api import strict
from passbell.web.api.audience import Known
from passbell.web.api.models import Moment, ProgramId, Result, Text
from passbell.web.api.notify import moment
from passbell.web.calls.members import Suppression
from passbell.web.context import Caller, Web
from passbell.web.once import IdempotencyKey, fingerprint, json_answer, once

__all__ = ["router"]

router = strict.router("/api/suppressions", "Programs and audiences")

Id = Annotated[UUID, Path(alias="id")]


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


@router.get("", response_model=Result[list[Suppression]], summary="List suppressed members")
async def suppressions(
    web: Web, program_id: Annotated[Text, Query(alias="programId", max_length=200)]
) -> Response:
    """Return the last 500 entries of a program; `over` is true of those whose time has passed."""
    program = await web.calls.find_program(program_id)
    return json_answer({"success": True, "result": await web.calls.suppressions(program)})


@router.post("", status_code=201, response_model=Result[Suppression], summary="Suppress a member")
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


@router.delete("/{id}", response_model=Result[Suppression], summary="End a suppression")
async def unsuppress(web: Web, caller: Caller, row: Id) -> Response:
    """Remove the entry, and return it as it was."""
    was = await web.calls.suppression(row)
    await web.calls.unsuppress(caller, row)
    return json_answer({"success": True, "result": was})
