"""Signing in: a signed, HttpOnly, SameSite=strict cookie that names the API key but does not hold it.

The cookie carries the key's name and a random id. The database holds a digest of the id from sign-in to sign-out, so
signing out ends the session for every process of `passbell web`. The CSRF token is a keyed digest of the id. Changing
any API key ends every session, because the signature depends on them.

The gate reads the session before anything of the request's body; here it is only asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection
from itsdangerous import BadData, URLSafeTimedSerializer

from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from fastapi.responses import Response
    from starlette.types import Scope

    from passbell.web.auth import ApiKeys
    from passbell.web.calls import Calls

__all__ = [
    "COOKIE",
    "NotSignedIn",
    "Session",
    "Sessions",
    "SignedIn",
    "Writing",
    "same_origin",
    "session_of",
]

COOKIE: Final = "passbell_session"
SESSION_SECONDS: Final = 12 * 3600


class NotSignedIn(Exception):
    """There is no session (any more)."""


class Session(NamedTuple):
    """Who is signed in."""

    name: str
    csrf: str
    digest: str


class Sessions:
    """Makes, reads and ends sessions."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._serializer = URLSafeTimedSerializer(keys.signing_key, salt="session")
        self.calls: Calls | None = None
        """Set while the application runs."""

    async def start(self, calls: Calls, response: Response, name: str, *, secure: bool) -> None:
        """Put a new session into the database and into the answer."""
        nonce = secrets.token_urlsafe(18)
        await calls.open_session(_digest(nonce), name, SESSION_SECONDS)
        response.set_cookie(
            COOKIE,
            str(self._serializer.dumps([name, nonce])),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=secure,
            path="/",
        )

    async def end(self, calls: Calls, response: Response, session: Session) -> None:
        """End the session, and take the cookie away."""
        await calls.end_session(session.digest)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")

    async def read(self, scope: Scope) -> Session | None:
        """Return the session of a request, None if there is none that holds. Reads headers alone.

        Raises:
            PassbellError: the database cannot say.
        """
        cookie = HTTPConnection(scope).cookies.get(COOKIE, "")
        try:
            name, nonce = self._serializer.loads(cookie, max_age=SESSION_SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        if not self._keys.has_name(name) or self.calls is None:
            return None
        digest = _digest(nonce)
        if not await self.calls.session_holds(digest, name):
            return None
        token = hmac.new(self._keys.signing_key, f"csrf {nonce}".encode(), hashlib.sha256)
        return Session(name, token.hexdigest(), digest)


def _digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


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
