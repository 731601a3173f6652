# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Signing in and out."""

from __future__ import annotations

from math import ceil
from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse

from passbell.web.context import Web
from passbell.web.gate import client_address
from passbell.web.page.render import page, redirect
from passbell.web.page.session import Writing, same_origin, session_of

__all__ = ["router"]

log = structlog.get_logger()

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def ask(
    request: Request, next_page: Annotated[str, Query(alias="next", max_length=1000)] = "/"
) -> HTMLResponse:
    """Ask for a key."""
    if session_of(request) is not None:
        return redirect(request, _safe(next_page))
    return page(request, "login.html", next=_safe(next_page), error=None)


@router.post("/login")
async def sign_in(
    request: Request,
    web: Web,
    key: Annotated[str, Form(max_length=1000)] = "",
    next_page: Annotated[str, Form(alias="next", max_length=1000)] = "/",
) -> HTMLResponse:
    """Check the key and start a session."""
    address = client_address(request.scope)
    after = _safe(next_page)
    if not same_origin(request):
        return page(request, "login.html", code=403, next=after, error="Please sign in from this page.")
    name = web.keys.name_of(key.strip())
    if name is None:
        # The right key never has to wait, not even while others guess from the same address.
        if wait := web.failures.seconds_to_wait(address):
            error = f"Too many wrong keys from this address. Try again in {ceil(wait)} seconds."
            return page(request, "login.html", code=429, next=after, error=error)
        web.failures.take(address)
        log.warning("api_key_refused", address=address, where="page")
        return page(request, "login.html", code=401, next=after, error="This API key is not known.")
    response = redirect(request, after)
    await web.sessions.start(web.calls, response, name, secure=request.url.scheme == "https")
    log.info("signed_in", key=name, address=address)
    return response


@router.post("/logout")
async def sign_out(request: Request, web: Web, session: Writing) -> HTMLResponse:
    """End the session."""
    response = redirect(request, "/login")
    await web.sessions.end(web.calls, response, session)
    log.info("signed_out", key=session.name)
    return response


def _safe(target: str) -> str:
    """A path of our own, never another site's."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\", "/login", "/logout"))
    return target if plain and target.isprintable() else "/"
