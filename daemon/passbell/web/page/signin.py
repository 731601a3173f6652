# ruff: noqa: TC001, TC002 - FastAPI reads the signatures at run time
"""Signing in and out, and what the page's calls need of a session.

The gate reads the session before anything of the request's body; here it is only asked for.
"""

from __future__ import annotations

import hmac
from math import ceil
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse

from passbell.web.auth import Session
from passbell.web.context import Web
from passbell.web.errors import ApiError
from passbell.web.gate import client_address
from passbell.web.page.render import page, redirect

__all__ = ["NotSignedIn", "SignedIn", "Writing", "router", "session_of"]

log = structlog.get_logger()

router = APIRouter(include_in_schema=False)


class NotSignedIn(Exception):
    """There is no session (any more)."""


def session_of(request: Request) -> Session | None:
    """Return the session that the gate has found."""
    found: Session | None = getattr(request.state, "session", None)
    return found


def same_origin(request: Request) -> bool:
    """Whether a POST comes from our own page, as far as the browser says."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _signed_in(request: Request) -> Session:
    session = session_of(request)
    if session is None:
        if (trouble := getattr(request.state, "trouble", None)) is not None:
            raise trouble
        raise NotSignedIn
    return session


async def _writing(request: Request) -> Session:
    """A session whose request carries the CSRF token, in the header (htmx) or in the form."""
    session = _signed_in(request)
    token = request.headers.get("x-csrf-token") or str((await request.form()).get("csrf", ""))
    if not same_origin(request) or not hmac.compare_digest(token.encode(), session.csrf.encode()):
        raise ApiError(
            403, "CSRF", "This form is too old or did not come from this page: reload and try again."
        )
    return session


SignedIn = Annotated[Session, Depends(_signed_in)]
Writing = Annotated[Session, Depends(_writing)]


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
