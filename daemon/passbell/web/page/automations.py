# ruff: noqa: TC001, TC002, FAST003 - FastAPI reads the signatures at run time
"""Messages that send themselves: automations with form, backtest, runs and results; and the birthday bot."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from passbell.blank import is_blank
from passbell.web.api.models import Text
from passbell.web.api.strict import PageRoute, parts_of
from passbell.web.context import Web
from passbell.web.errors import ApiError
from passbell.web.page.render import is_htmx, page, redirect
from passbell.web.page.signin import SignedIn, Writing

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Id = Annotated[UUID, Path(alias="id")]
DAYS: Final = 30
FIELD_OF: Final = {"occasion": "occasion", "message_text": "message", "target_query": "target"}
"""Which field says a column, where the two have different names."""
NUMBERS: Final = {
    "again_after_days": "Days between two messages to one member",
    "catch_up_days": "Days to catch up",
    "daily_limit": "At most a day",
    "measure_days": "Days to count visits",
    "reward_points": "Points",
    "priority": "Priority",
}


class AutomationForm(BaseModel):
    """The fields of the form. An empty one is the database's default."""

    model_config = ConfigDict(extra="ignore")

    program: UUID | None = None
    name: Text = ""
    occasion: Text = ""
    parameter: Text = ""
    message: Text = ""
    target: Text = ""
    send_at: Text = ""
    send_days: Text = ""
    again_after_days: Text = ""
    catch_up_days: Text = ""
    daily_limit: Text = ""
    holdout_percent: Text = ""
    measure_days: Text = ""
    reward_points: Text = ""
    priority: Text = ""
    starts_on: Text = ""
    ends_on: Text = ""

    def columns(self, sent: frozenset[str] | None = None) -> dict[str, Any]:
        """Return the row's columns; of a change only those whose field was sent, the others stay as they are.

        The database judges the values.
        """
        sent = frozenset(type(self).model_fields) if sent is None else sent
        if {"occasion", "parameter"} & sent and not self.occasion.strip():
            raise ApiError(400, "OCCASION_REQUIRED", "Choose an occasion first.")
        if "message" in sent and not self.message.strip():
            raise ApiError(400, "MESSAGE_REQUIRED", "Write a message first.")
        parameter = self.parameter.strip()
        columns: dict[str, Any] = {
            "name": self.name.strip() or None,
            "occasion": self.occasion.strip() + (f":{parameter}" if parameter else ""),
            "message_text": self.message,
            "target_query": "ALL" if is_blank(self.target) else self.target.strip(),
            "send_days": self.send_days.strip() or None,
            "send_at": _fits(
                self.send_at, r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?", "Send at", "a time like 09:00"
            ),
            "holdout_percent": _fits(
                self.holdout_percent.strip().removesuffix("%"),
                r"\d{1,3}(\.\d{1,4})?",
                "Hold back",
                "a number from 0 to 50",
            ),
        }
        for name, words in NUMBERS.items():
            columns[name] = _fits(getattr(self, name), r"\d{1,9}", words, "a whole number")
        for name, words in (("starts_on", "From"), ("ends_on", "Until")):
            text = getattr(self, name).strip()
            try:
                columns[name] = date.fromisoformat(text).isoformat() if text else None
            except ValueError:
                raise ApiError(
                    400, "FIELD", f'"{words}" is a date like 2026-12-24, not "{text[:40]}".'
                ) from None
        return {name: value for name, value in columns.items() if FIELD_OF.get(name, name) in sent}


Fields = Annotated[AutomationForm, Form()]


def _fits(text: str, pattern: str, words: str, wanted: str) -> str | None:
    text = text.strip()
    if text and not re.fullmatch(pattern, text, re.ASCII):
        raise ApiError(400, "FIELD", f'"{words}" is {wanted}, not "{text[:40]}".')
    return text or None


@router.get("/automations")
async def automations(
    request: Request, web: Web, session: SignedIn, program: Annotated[str, Query(max_length=100)] = ""
) -> HTMLResponse:
    """List them, with their switches."""
    chosen = await web.calls.find_program(program) if program else None
    return page(
        request,
        "automations.html",
        session,
        automations=await web.calls.automations(chosen),
        programs=await web.calls.programs(),
        program=program,
        running=any(daemon.alive for daemon in await web.calls.daemons()),
    )


@router.get("/automations/new")
async def new(
    request: Request, web: Web, session: SignedIn, program: Annotated[str, Query(max_length=100)] = ""
) -> HTMLResponse:
    """Show the empty form."""
    return page(
        request,
        "automation.html",
        session,
        a=None,
        chosen=program,
        programs=await web.calls.programs(),
        occasions=await web.calls.occasions(),
        segments=await web.calls.segments(),
        screen=None,
        problem=None,
    )


@router.post("/automations")
async def create(request: Request, web: Web, session: Writing, form: Fields) -> HTMLResponse:
    """Make one. It is off: the backtest comes first."""
    if form.program is None:
        raise ApiError(400, "PROGRAM_REQUIRED", "Choose a program first.")
    fields = form.columns() | {"program_id": str(form.program)}
    made = await web.calls.save_automation(session.name, None, orjson.dumps(fields).decode())
    return redirect(request, f"/automations/{made.automation_id}")


@router.get("/automations/{id}")
async def one(request: Request, web: Web, session: SignedIn, automation_id: Id) -> HTMLResponse:
    """Show one: its form, its runs; backtest and results follow."""
    automation = await web.calls.automation(automation_id)
    return page(
        request,
        "automation.html",
        session,
        a=automation,
        chosen=str(automation.program_id),
        programs=await web.calls.programs(),
        occasions=await web.calls.occasions(),
        segments=await web.calls.segments(),
        runs=await web.calls.automation_history(automation_id),
        warnings=await web.calls.warnings(automation.program_id, automation.message_text),
        screen=None,
        problem=None,
    )


@router.post("/automations/{id}")
async def change(
    request: Request, web: Web, session: Writing, automation_id: Id, form: Fields
) -> HTMLResponse:
    """Change one; the change counts from the next run."""
    fields = form.columns(await parts_of(request))
    await web.calls.save_automation(session.name, automation_id, orjson.dumps(fields).decode())
    return redirect(request, f"/automations/{automation_id}")


@router.post("/automations/{id}/switch")
async def switch(
    request: Request,
    web: Web,
    session: Writing,
    automation_id: Id,
    on: Annotated[Literal["yes", "no"], Form()],
) -> HTMLResponse:
    """Switch it on or off. Only occasions from that day on count."""
    fields = orjson.dumps({"is_on": on == "yes"}).decode()
    automation = await web.calls.save_automation(session.name, automation_id, fields)
    if not is_htmx(request):
        return redirect(request, f"/automations/{automation_id}")
    return page(request, "_switch.html", session, a=automation)


@router.post("/automations/{id}/delete")
async def delete(request: Request, web: Web, session: Writing, automation_id: Id) -> HTMLResponse:
    """Delete it with its runs and the record of who got it."""
    await web.calls.delete_automation(session.name, automation_id)
    return redirect(request, "/automations")


@router.get("/automations/{id}/days")
async def days(request: Request, web: Web, session: SignedIn, automation_id: Id) -> HTMLResponse:
    """Show the backtest: how many would have been due on each of the last days."""
    found = await web.calls.automation_preview(automation_id, DAYS)
    return page(
        request,
        "_automation_days.html",
        session,
        days=found,
        total=sum(day.due for day in found),
        most=max((day.due for day in found), default=0),
        least=min((day.due for day in found), default=0),
    )


@router.get("/automations/{id}/results")
async def results(request: Request, web: Web, session: SignedIn, automation_id: Id) -> HTMLResponse:
    """Show what it brought so far; the interval is valid at every look."""
    automation = await web.calls.automation(automation_id)
    return page(
        request,
        "_automation_results.html",
        session,
        brought=await web.calls.automation_results(automation_id),
        bill=(await web.calls.program_page(automation.program_id)).average_bill,
    )


@router.get("/birthdays")
async def birthdays(
    request: Request, web: Web, session: SignedIn, program: Annotated[str, Query(max_length=100)] = ""
) -> HTMLResponse:
    """Show a program's birthday bot: what it says, who is next, what it did."""
    programs = await web.calls.programs()
    chosen = next((p for p in programs if str(p.program_id) == program), None) or next(
        (p for p in programs if p.birthday_bot_enabled), programs[0] if programs else None
    )
    return page(
        request,
        "birthdays.html",
        session,
        programs=programs,
        chosen=chosen,
        days=await web.calls.birthdays_ahead(chosen.program_id) if chosen else [],
        runs=await web.calls.birthday_history(chosen.program_id) if chosen else [],
    )


@router.post("/birthdays/run")
async def run_birthdays(
    request: Request, web: Web, session: Writing, program: Annotated[UUID, Form()]
) -> HTMLResponse:
    """Give today's gifts now."""
    results = await web.calls.run_birthdays(program, None)
    greetings = await web.calls.cards([row.campaign_id for row in results if row.campaign_id])
    return page(
        request,
        "_birthday_run.html",
        session,
        results=results,
        waits={card.campaign_id: card.status_detail for card in greetings},
        days=await web.calls.birthdays_ahead(program),
        runs=await web.calls.birthday_history(program),
    )
