"""The layer in front of the framework: no part of a request is read before the caller is known.

Plain ASGI: a request id, the API key or the session of the page, rate and size limits, security headers, one log line,
and the answer to defects. The framework reads and spools a body before it asks who sent it. So a caller without a key
and without a session gets no further than a small form for signing in; any other body of theirs is not read.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import time
import uuid
from math import ceil
from typing import TYPE_CHECKING, Final

import structlog

from passbell.errors import PassbellError
from passbell.report import STYLE
from passbell.web.auth import ApiKeys, Limit, Throttle, presented_key
from passbell.web.connections import CODES, HEAD_BYTES
from passbell.web.errors import ApiError, defect, error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from passbell.web.auth import Sessions

__all__ = ["MAX_BODY", "MAX_FORM", "MAX_UPLOAD", "Gate", "TooLarge"]

log = structlog.get_logger()

MAX_FORM: Final = 8 << 10
"""Bytes of the form that signs in: all that is read from a caller that is not known yet."""
MAX_BODY: Final = 1 << 20
MAX_UPLOAD: Final = 50 << 20
"""Bytes of a request with a file; the same as for lists by URL."""
KEY_LIMIT: Final = Limit(burst=200, per_second=50)
FAILURE_LIMIT: Final = Limit(burst=10, per_second=1 / 6)

_UPLOADS: Final = re.compile(
    r"/api/notifications/(blast|targeted)|/api/members/import|/compose/confirm|/compose/draft|/imports"
)
# Open to all callers; no body is read there.
_OPEN: Final = re.compile(r"/live|/ready|/openapi\.json|/favicon\.ico|/static/.*")
_LOGGED: Final = 300
"""Characters of a path in the log; callers send paths of any length."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# No script, style, font or frame but our own files; nothing inline but the style of the month's report, by its digest.
_REPORT: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{_REPORT}'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")


class TooLarge(ApiError):
    """More bytes than allowed."""

    def __init__(self, limit: int) -> None:
        size = f"{limit >> 20} MB" if limit >> 20 else f"{limit >> 10} KB"
        super().__init__(413, "TOO_LARGE", f"The request is larger than {size}.")


class Gate:
    """Wraps the application."""

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys,
        sessions: Sessions,
        *,
        key_limit: Limit = KEY_LIMIT,
        failure_limit: Limit = FAILURE_LIMIT,
    ) -> None:
        self._app = app
        self._keys = keys
        self._sessions = sessions
        self._calls = Throttle(key_limit)
        self.failures = Throttle(failure_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request=request_id)
        answer = _Answer(send, scope, request_id)
        begun = time.perf_counter()
        try:
            await self._serve(scope, headers, receive, answer)
        except Exception as error:
            log.exception("request_failed", path=scope["path"][:_LOGGED], reason=type(error).__name__)
            if not answer.started:
                await _refuse(defect(), scope, receive, answer)
        finally:
            log.info(
                "request_answered",
                method=scope["method"],
                path=scope["path"][:_LOGGED],
                status=answer.status,
                ms=round((time.perf_counter() - begun) * 1000, 1),
                key=state.get("key_name"),
            )
            structlog.contextvars.unbind_contextvars("request")

    async def _serve(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, answer: _Answer
    ) -> None:
        path: str = scope["path"]
        try:
            _require_plain_head(scope, headers)
            limit = await self._limit_for(scope, path, headers)
            length = headers.get(b"content-length", b"0")
            if limit and (not length.isdigit() or int(length) > limit):
                raise TooLarge(limit)
        except ApiError as error:
            await _refuse(error, scope, receive, answer)
            return
        await self._app(scope, _counted(receive, limit, answer) if limit else _unread(receive), answer)

    async def _limit_for(self, scope: Scope, path: str, headers: dict[bytes, bytes]) -> int:
        """Find out who is calling, and return how many bytes of theirs may be read. 0: none."""
        if "\0" in path or b"%00" in scope["query_string"]:
            raise ApiError(422, "INVALID_REQUEST", "An address must not contain NUL characters.")
        if path.startswith("/api/") or path == "/api":
            scope["state"]["key_name"] = self._admit(scope, headers)
        elif _OPEN.fullmatch(path) or not await self._signed_in(scope):
            return MAX_FORM if path == "/login" else 0
        return MAX_UPLOAD if _UPLOADS.fullmatch(path) else MAX_BODY

    async def _signed_in(self, scope: Scope) -> bool:
        state = scope["state"]
        try:
            state["session"] = await self._sessions.read(scope)
        except PassbellError as error:
            state["session"], state["trouble"] = None, error  # raised where a call asks for the session
        return state["session"] is not None

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        address = client_address(scope)
        presented = presented_key(headers)
        name = None if presented is None else self._keys.name_of(presented)
        if name is None:
            if presented is not None:
                # A wrong key makes its own sender wait. The right key is never refused for what others try from the
                # same address: a proxy, an office.
                if wait := self.failures.seconds_to_wait(address):
                    raise _too_many("Too many wrong API keys from this address.", wait)
                self.failures.take(address)
                log.warning("api_key_refused", address=address)
            raise ApiError(
                401,
                "UNAUTHORIZED",
                "An API key is needed: X-API-Key or Authorization: Bearer."
                if presented is None
                else "This API key is not known.",
                headers={"WWW-Authenticate": 'Bearer realm="passbell"'},
            )
        if wait := self._calls.seconds_to_wait(name):
            raise _too_many("Too many requests with this API key.", wait)
        self._calls.take(name)
        return name


def client_address(scope: Scope) -> str:
    """Return the caller's address; behind a proxy on this machine, the one that the proxy names.

    A caller may have written what the proxy passes on: what is no address is `unknown`. An IPv6 caller has a network of
    addresses (/64), and is one name in the throttle.
    """
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(str(client[0]) if client else "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def _require_plain_head(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Refuse a head that arrived in one piece and is too large, and one that says the body's length in two ways.

    The connection is closed after the latter: a proxy in front may take the rest for the next request (RFC 9112, 6.1).
    """
    size = len(scope["raw_path"]) + len(scope["query_string"])
    if size + sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD_BYTES:
        raise ApiError(431, *CODES[431], headers={"Connection": "close"})
    if b"transfer-encoding" in headers and (b"content-length" in headers or scope["http_version"] == "1.0"):
        raise ApiError(
            400,
            "BAD_REQUEST",
            "The request says the length of its body in two ways.",
            headers={"Connection": "close"},
        )


def _too_many(sentence: str, wait: float) -> ApiError:
    seconds = max(1, ceil(wait))
    return ApiError(
        429,
        "RATE_LIMITED",
        f"{sentence} Try again in {seconds} seconds.",
        headers={"Retry-After": str(seconds)},
    )


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    await error_response(error)(scope, receive, send)


def _counted(receive: Receive, limit: int, answer: _Answer) -> Receive:
    """Count a body that does not say how long it is, and end it when it is too long."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit and not answer.started:
            # The framework turns the exception into a 400 of its own: this answer is sent instead.
            answer.instead = TooLarge(limit)
            raise answer.instead
        return message

    return counted


def _unread(receive: Receive) -> Receive:
    """Give an empty body whatever was sent, then wait until the caller disconnects."""
    given = False

    async def unread() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return unread


class _Answer:
    """The answer on its way to the caller: adds our headers and remembers the status."""

    def __init__(self, send: Send, scope: Scope, request_id: str) -> None:
        self._send = send
        self._headers = [*_HEADERS, (b"x-request-id", request_id.encode())]
        if scope.get("scheme") == "https":
            self._headers.append(_TRANSPORT)
        self._scope = scope
        self.started = False
        self.status = 0
        self.instead: ApiError | None = None

    async def __call__(self, message: Message) -> None:
        if self.instead is not None:
            if message["type"] == "http.response.start":
                error, self.instead = self.instead, None
                await error_response(error)(self._scope, _nothing, self)
                self._send = _drop
            return
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            static = self._scope["path"].startswith("/static/")
            added = self._headers if static else [*self._headers, (b"cache-control", b"no-store")]
            message["headers"] = [
                *message["headers"],
                *((name, value) for name, value in added if name not in present),
            ]
        await self._send(message)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _drop(_message: Message) -> None:
    """Drop the framework's own answer after ours."""
