# ruff: noqa: TC001, TC002, TC003 - FastAPI reads the signatures at run time
"""Automations: the list, one of them, its backtest and results, and how they are made, changed and deleted.

The database judges what is typed; a value that it refuses is 422 with its sentence.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, time
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import orjson
from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from passbell.blank import is_blank
from passbell.errors import CampaignError
from passbell.web.api import strict
from passbell.web.api.audience import MAX_TARGET, Known, conflict
from passbell.web.api.models import Message, ProgramId, Result, Text
from passbell.web.calls.timed import Automation, AutomationDay, AutomationResult, AutomationRun
from passbell.web.context import Caller, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, fingerprint, once, result

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["router"]

router = strict.router("/api/automations", "Automations")


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic wants ValueError
    return value


def _audience(value: Any) -> Any:
    """Refuse an audience that is null or blank, such as a variable that was not set: it would mean all, every day."""
    if value is None or (isinstance(value, str) and is_blank(value)):
        raise ValueError("must name an audience, such as ALL")
    return value


Audience = Annotated[
    Annotated[Text, Field(max_length=MAX_TARGET)] | SkipJsonSchema[None], BeforeValidator(_audience)
]
Whole = Annotated[int, BeforeValidator(_number), Field(ge=-2_147_483_648, le=2_147_483_647)]
Id = Annotated[UUID, Path(alias="id")]


class AutomationChange(Known):
    """The fields to change; what is left out stays, and null is the default. Only the audience has to be named."""

    name: Annotated[Text, Field(max_length=200)] | None = None
    occasion: Annotated[Text, Field(max_length=200, examples=["DORMANT:30"])] | None = None
    message_text: Message | None = None
    message: Message | None = Field(default=None, description="The same as `messageText`")
    target_query: Audience = Field(default=None, description="ALL for everybody", examples=["WHALE"])
    segment: Audience = Field(default=None, description="The same as `targetQuery`")
    target: Audience = Field(default=None, description="The same as `targetQuery`")
    is_on: bool | None = None
    send_at: time | None = Field(default=None, description="In the program's zone", examples=["09:00"])
    send_days: Annotated[Text, Field(max_length=100, examples=["THU,FRI"])] | None = None
    again_after_days: Whole | None = None
    catch_up_days: Whole | None = None
    daily_limit: Whole | None = None
    holdout_percent: Annotated[float, BeforeValidator(_number)] | None = None
    measure_days: Whole | None = None
    reward_points: Whole | None = None
    priority: Whole | None = None
    starts_on: date | None = None
    ends_on: date | None = None

    @model_validator(mode="after")
    def _one_spelling(self) -> AutomationChange:
        for names in (("message_text", "message"), ("target_query", "segment", "target")):
            given = {getattr(self, name) for name in names if name in self.model_fields_set}
            if len(given) > 1:
                raise conflict(f"{' and '.join(names)} say different things")
        return self

    def columns(self) -> dict[str, Any]:
        """Return the fields that are given, by the names of the columns."""
        fields = self.model_dump(mode="json", by_alias=False, exclude_unset=True)
        for column, others in (("message_text", ("message",)), ("target_query", ("segment", "target"))):
            for other in others:
                if other in fields:
                    fields[column] = fields.pop(other)
        return fields


class AutomationOrder(AutomationChange):
    """A new automation: a program, an occasion and the words are enough."""

    program_id: ProgramId


class AutomationDetail(Automation):
    """An automation with its last runs, newest first."""

    runs: list[AutomationRun]


@contextmanager
def _judged() -> Iterator[None]:
    """Turn what the database says of a value into 422."""
    try:
        yield
    except CampaignError as error:
        if error.sqlstate == "PB400":
            raise ApiError(422, "INVALID_AUTOMATION", str(error)) from None
        raise


@router.get("", response_model=Result[list[Automation]], summary="List automations")
async def automations(
    web: Web, program_id: Annotated[Text | None, Query(alias="programId", max_length=200)] = None
) -> Response:
    """Return those of a program, or all."""
    program = None if program_id is None else await web.calls.find_program(program_id)
    return result(await web.calls.automations(program))


@router.post("", status_code=201, response_model=Result[Automation], summary="Make an automation")
async def make(
    body: AutomationOrder, web: Web, caller: Caller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make one; it is off unless `isOn` says otherwise. Switching on never sends for what was before."""

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(body.program_id)
        fields = body.columns() | {"program_id": str(program)}
        with _judged():
            saved = await web.calls.save_automation(caller, None, orjson.dumps(fields).decode())
        return 201, {"success": True, "result": saved.model_dump(mode="json", by_alias=True)}

    same = fingerprint("automation", body.model_dump_json(exclude_unset=True))
    return await once(web.calls, caller, idempotency_key, same, work)


@router.get("/{id}", response_model=Result[AutomationDetail], summary="One automation with its last runs")
async def one(web: Web, automation: Id) -> Response:
    """Return the automation and what it did on the last days it ran."""
    card = await web.calls.automation(automation)
    runs = await web.calls.automation_history(automation)
    return result(card.model_dump(mode="json", by_alias=True) | {"runs": runs})


@router.patch("/{id}", response_model=Result[Automation], summary="Change an automation")
async def change(body: AutomationChange, web: Web, caller: Caller, automation: Id) -> Response:
    """Change the fields that are given; they count from the next run."""
    with _judged():
        saved = await web.calls.save_automation(caller, automation, orjson.dumps(body.columns()).decode())
    return result(saved)


@router.delete("/{id}", response_model=Result[Automation], summary="Delete an automation")
async def delete(web: Web, caller: Caller, automation: Id) -> Response:
    """Delete it with its runs and the record of who got it; return it as it was. 409 while a campaign of it goes on."""
    card = await web.calls.automation(automation)
    await web.calls.delete_automation(caller, automation)
    return result(card)


@router.get("/{id}/preview", response_model=Result[list[AutomationDay]], summary="Backtest")
async def preview(
    web: Web,
    automation: Id,
    days: Annotated[int, Query(ge=1, le=400, description="Local days, today included")] = 30,
) -> Response:
    """Return for how many members it would have been due on each of the last local days."""
    await web.calls.automation(automation)
    return result(await web.calls.automation_preview(automation, days))


@router.get("/{id}/results", response_model=Result[AutomationResult], summary="What it has brought")
async def results(web: Web, automation: Id) -> Response:
    """Return how many more came among those who got the message, added up over all its days."""
    return result(await web.calls.automation_results(automation))
