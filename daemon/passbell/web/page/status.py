# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Status: the daemons at work, and the rate and breaker of each PassKit account."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from passbell.web.api.strict import PageRoute
from passbell.web.context import Web
from passbell.web.page.render import page
from passbell.web.page.signin import SignedIn

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)


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
