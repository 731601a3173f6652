# ruff: noqa: TC001, PLR0917, FAST003 - FastAPI reads the signatures at run time
"""A program's page: what a year's messages brought, the month's report, its limits, who gets no messages for now."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import orjson
from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse

from passbell.report import report_html
from passbell.web.api.strict import PageRoute, parts_of
from passbell.web.calls.page import Month
from passbell.web.context import Web
from passbell.web.errors import ApiError
from passbell.web.page.render import is_htmx, page, redirect
from passbell.web.page.signin import SignedIn, Writing

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Id = Annotated[UUID, Path(alias="id")]
Number = Annotated[str, Form(max_length=20)]
CONSENTS: Final = ("OPT_OUT", "OPT_IN")
UNSHOWN: Final = ("no_holdout", "untrusted", "open")
WIDTH: Final = 100.0


class Mark(NamedTuple):
    """A month's interval on the scale that all months share, in per cent of the width."""

    low: float
    width: float
    value: float
    zero: float


@router.get("/programs")
async def programs(request: Request, web: Web, session: SignedIn) -> HTMLResponse:
    """List the programs."""
    return page(request, "programs.html", session, programs=await web.calls.programs())


@router.get("/programs/{id}")
async def program(request: Request, web: Web, session: SignedIn, program_id: Id) -> HTMLResponse:
    """Show a program."""
    return page(
        request,
        "program.html",
        session,
        about=await web.calls.program_page(program_id),
        suppressions=await web.calls.suppressions(program_id),
    )


@router.get("/programs/{id}/results")
async def results(request: Request, web: Web, session: SignedIn, program_id: Id) -> HTMLResponse:
    """Show the year added up, and month by month."""
    year, *months = await web.calls.months(program_id)
    return page(
        request,
        "_program_results.html",
        session,
        about=await web.calls.program_page(program_id),
        year=year,
        months=list(zip(months, _marks(months), strict=True)),
    )


def _marks(months: list[Month]) -> list[Mark | None]:
    shown = [month.verdict not in UNSHOWN and month.extra_lo is not None for month in months]
    ends = [
        end
        for month, one in zip(months, shown, strict=True)
        if one
        for end in (month.extra_lo or 0.0, month.extra_hi or 0.0)
    ]
    left, right = min([*ends, 0.0]), max([*ends, 0.0])
    span = (right - left) or 1.0

    def x(value: float | None) -> float:
        return round(WIDTH * ((value or 0.0) - left) / span, 1)

    return [
        Mark(x(month.extra_lo), round(x(month.extra_hi) - x(month.extra_lo), 1), x(month.extra), x(0.0))
        if one
        else None
        for month, one in zip(months, shown, strict=True)
    ]


@router.get("/programs/{id}/report")
async def report(
    web: Web, session: SignedIn, program_id: Id, month: Annotated[str, Query(max_length=10)] = ""
) -> HTMLResponse:
    """Show the month's report: one page to print, for the program's owner."""
    _ = session
    try:
        wanted = date.fromisoformat(f"{month}-01") if month else None
    except ValueError:
        raise ApiError(400, "MONTH", "Write the month like 2026-11.") from None
    if wanted is None:
        wanted = (await web.calls.program_page(program_id)).this_month
    return HTMLResponse(report_html(await web.calls.report(program_id, wanted)))


@router.post("/programs/{id}/limits")
async def limits(
    request: Request,
    web: Web,
    session: Writing,
    program_id: Id,
    push_max: Number = "",
    push_max_days: Number = "",
    push_min_hours: Number = "",
    push_consent: Annotated[str, Form(max_length=20)] = "",
) -> HTMLResponse:
    """Change the limits and what no answer about messages means. A field that was not sent stays as it is."""
    sent = await parts_of(request)
    numbers = {"push_max": push_max, "push_max_days": push_max_days, "push_min_hours": push_min_hours}
    fields = {name: value for name, value in numbers.items() if name in sent}
    for name, value in fields.items():
        if value.strip() and not (value.strip().isascii() and value.strip().isdigit()):
            raise ApiError(400, "LIMITS", f"{name} is a whole number, or empty for no limit.")
    if "push_consent" in sent:
        if push_consent not in CONSENTS:
            raise ApiError(400, "LIMITS", f"push_consent is {' or '.join(CONSENTS)}.")
        fields["push_consent"] = push_consent
    if not fields:
        raise ApiError(400, "LIMITS", f"Nothing to change: send {', '.join(numbers)} or push_consent.")
    await web.calls.set_message_limits(session.name, program_id, orjson.dumps(fields).decode())
    if not is_htmx(request):
        return redirect(request, f"/programs/{program_id}")
    return page(request, "_limits.html", session, about=await web.calls.program_page(program_id), saved=True)


@router.post("/programs/{id}/suppressions")
async def suppress(
    request: Request,
    web: Web,
    session: Writing,
    program_id: Id,
    member: Annotated[str, Form(max_length=200)] = "",
    until: Annotated[str, Form(max_length=40)] = "",
    reason: Annotated[str, Form(max_length=400)] = "",
) -> HTMLResponse:
    """Send a member no messages for now."""
    if not member.strip():
        raise ApiError(400, "MEMBER_REQUIRED", "Enter the member id.")
    end = await web.calls.moment(program_id, until)
    await web.calls.suppress(session.name, program_id, member, end, reason)
    return await _suppressions(request, web, session, program_id)


@router.post("/programs/{id}/suppressions/{row}/delete")
async def unsuppress(request: Request, web: Web, session: Writing, program_id: Id, row: UUID) -> HTMLResponse:
    """Take a member off the list."""
    await web.calls.unsuppress(session.name, row)
    return await _suppressions(request, web, session, program_id)


async def _suppressions(request: Request, web: Web, session: SignedIn, program_id: UUID) -> HTMLResponse:
    if not is_htmx(request):
        return redirect(request, f"/programs/{program_id}")
    return page(
        request,
        "_suppressions.html",
        session,
        about=await web.calls.program_page(program_id),
        suppressions=await web.calls.suppressions(program_id),
    )
