"""Who is calling: API keys, the sessions of the page, and how often a caller may.

Keys come from PASSBELL_API_KEYS, `key` or `name:key`. The name is shown in logs and in `created_by`; the key never
leaves this module. Limits live in the memory of one process: they protect this process.

A session is a signed, HttpOnly, SameSite=strict cookie with the key's name and a random id, not the key. The database
holds a digest of the id from sign-in to sign-out, so signing out ends the session for every process of `passbell web`.
The CSRF token is a keyed digest of the id. Changing any API key ends every session, because the signature depends on
them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from fastapi.requests import HTTPConnection
from itsdangerous import BadData, URLSafeTimedSerializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fastapi.responses import Response
    from starlette.types import Scope

    from passbell.web.calls import Calls

__all__ = ["ApiKeys", "Limit", "Session", "Sessions", "Throttle", "presented_key"]

COOKIE: Final = "passbell_session"
SESSION_SECONDS: Final = 12 * 3600

_MAX_NAME: Final = 40
_MAX_ADDRESSES: Final = 10_000


class ApiKeys:
    """The keys of this installation, kept as digests."""

    def __init__(self, entries: Iterable[str]) -> None:
        """`entries`: `key` or `name:key`; unnamed ones are called key-1, key-2 … by their place."""
        self._known: list[tuple[str, bytes]] = []
        material = []
        for place, entry in enumerate(entries, start=1):
            name, separator, key = entry.partition(":")
            if not separator or not key.strip():
                name, key = f"key-{place}", entry
            name, key = name.strip()[:_MAX_NAME] or f"key-{place}", key.strip()
            self._known.append((name, _digest(key)))
            material.append(key)
        # Sessions are signed with what only the server can derive; changing any key ends all sessions. Scrypt,
        # because a stolen signature must not help to guess a weak key.
        self.signing_key: Final = hashlib.scrypt(
            "\n".join(material).encode(), salt=b"passbell web session", n=2**14, r=8, p=1, dklen=32
        )

    def name_of(self, presented: str) -> str | None:
        """Return the name of the key, None for an unknown one. Takes equally long for every wrong key."""
        digest = _digest(presented)
        found = None
        for name, known in self._known:  # all of them, always
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def has_name(self, name: str) -> bool:
        """Whether there is a key of that name."""
        return any(name == known for known, _ in self._known)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def presented_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the key of `X-API-Key: …` or `Authorization: Bearer …`, None if there is none."""
    if key := headers.get(b"x-api-key", b"").decode("latin-1").strip():
        return key
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


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
        await calls.open_session(_nonce_digest(nonce), name, SESSION_SECONDS)
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
        """Return the session of a request, None without a valid one. Reads headers alone.

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
        digest = _nonce_digest(nonce)
        if not await self.calls.session_holds(digest, name):
            return None
        token = hmac.new(self._keys.signing_key, f"csrf {nonce}".encode(), hashlib.sha256)
        return Session(name, token.hexdigest(), digest)


def _nonce_digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


class Limit(NamedTuple):
    """How many at once, and how many per second in the long run."""

    burst: float
    per_second: float


class Throttle:
    """A token bucket per name (a key, an address)."""

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, name: str) -> float:
        """Return how long until one more is allowed; 0 if it is now. Takes nothing."""
        level = self._level(name)
        return 0.0 if level >= 1 else (1 - level) / self._limit.per_second

    def take(self, name: str) -> None:
        """Count one more."""
        if len(self._buckets) >= _MAX_ADDRESSES:
            self._forget_full()
        self._buckets[name] = (self._level(name) - 1, self._clock())

    def _level(self, name: str) -> float:
        now = self._clock()
        level, at = self._buckets.get(name, (self._limit.burst, now))
        return min(self._limit.burst, level + (now - at) * self._limit.per_second)

    def _forget_full(self) -> None:
        """Drop names whose bucket is full again; if that leaves too many, drop all, so that memory stays bounded."""
        self._buckets = {
            name: bucket for name, bucket in self._buckets.items() if self._level(name) < self._limit.burst
        }
        if len(self._buckets) >= _MAX_ADDRESSES:
            self._buckets.clear()
