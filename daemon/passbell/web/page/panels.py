# ruff: noqa: TC001, TC002, TC003 - FastAPI reads the signatures at run time
"""Birthdays, and who is at work."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse

from passbell.web.api.strict import PageRoute
from passbell.web.context import Web
from passbell.web.page.render import page
from passbell.web.page.signin import SignedIn, Writing

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)


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
async def run(request: Request, web: Web, session: Writing, program: Annotated[UUID, Form()]) -> HTMLResponse:
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


@router.get("/status")
async def status(request: Request, web: Web, session: SignedIn) -> HTMLResponse:
    """Show daemons, rate and breaker."""
    return await _status(request, web, session, "status.html")


@router.get("/status/live")
async def status_live(request: Request, web: Web, session: SignedIn) -> HTMLResponse:
    """The same, for the page to refresh itself."""
    return await _status(request, web, session, "_status.html")


async def _status(request: Request, web: Web, session: SignedIn, template: str) -> HTMLResponse:
    daemons, accounts = await web.calls.daemons(), await web.calls.accounts()
    return page(request, template, session, daemons=daemons, accounts=accounts)
