# ruff: noqa: TC001 - FastAPI reads the signatures at run time
"""Signing in: a signed, HttpOnly, SameSite=strict cookie that names the API key but does not hold it.

The cookie carries the key's name and a random id. The CSRF token of a session is a keyed digest of that id, so
neither needs a place in the database. Changing any API key ends every session, because the signature depends on them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from itsdangerous import BadData, URLSafeTimedSerializer

from passbell.web.context import Web
from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from fastapi.responses import Response

    from passbell.web.auth import ApiKeys

__all__ = ["COOKIE", "NotSignedIn", "Session", "Sessions", "SignedIn", "Writing", "same_origin"]

COOKIE: Final = "passbell_session"
SESSION_SECONDS: Final = 12 * 3600


class NotSignedIn(Exception):
    """There is no session (any more)."""


class Session(NamedTuple):
    """Who is signed in."""

    name: str
    csrf: str


class Sessions:
    """Makes and reads the cookie."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._serializer = URLSafeTimedSerializer(keys.signing_key, salt="session")

    def start(self, response: Response, name: str, *, secure: bool) -> None:
        """Put a new session into the answer."""
        value = self._serializer.dumps([name, secrets.token_urlsafe(18)])
        response.set_cookie(
            COOKIE,
            str(value),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=secure,
            path="/",
        )

    def end(self, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")

    def read(self, request: Request) -> Session | None:
        """Return the session of a request, None if there is none that holds."""
        try:
            name, nonce = self._serializer.loads(request.cookies.get(COOKIE, ""), max_age=SESSION_SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        if not self._keys.has_name(name):
            return None
        token = hmac.new(self._keys.signing_key, f"csrf {nonce}".encode(), hashlib.sha256)
        return Session(name, token.hexdigest())


def same_origin(request: Request) -> bool:
    """Whether a POST comes from our own page, as far as the browser says."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _signed_in(request: Request, web: Web) -> Session:
    session = web.sessions.read(request)
    if session is None:
        raise NotSignedIn
    request.state.key_name = session.name
    return session


async def _writing(request: Request, web: Web) -> Session:
    """A session whose request carries the CSRF token, in the header (htmx) or in the form."""
    session = _signed_in(request, web)
    token = request.headers.get("x-csrf-token") or str((await request.form()).get("csrf", ""))
    if not same_origin(request) or not hmac.compare_digest(token.encode(), session.csrf.encode()):
        raise ApiError(
            403, "CSRF", "This form is too old or did not come from this page: reload and try again."
        )
    return session


SignedIn = Annotated[Session, Depends(_signed_in)]
Writing = Annotated[Session, Depends(_writing)]
