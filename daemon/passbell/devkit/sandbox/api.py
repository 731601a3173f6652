"""One call from its first byte to its answer: route, faults, credentials, handler, journal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from passbell.devkit.sandbox.answers import ApiError, Heads, Stream, error_body
from passbell.devkit.sandbox.auth import Gate, Token
from passbell.devkit.sandbox.faults import COMMITTING, Fault, Faults
from passbell.devkit.sandbox.handlers import Request, Route, Router
from passbell.devkit.sandbox.world import World

if TYPE_CHECKING:
    import asyncio

    from passbell.devkit.sandbox.options import Options

__all__ = ["Api", "Plan"]

# Status and text of the faults that refuse a call before it touches anything.
_REFUSALS: dict[str, tuple[int, str]] = {
    "unavailable": (503, "service is temporarily unavailable"),
    "too_many": (429, "resource exhausted"),
    "error": (500, "pass template id cannot be empty"),
    "unauthorized": (401, "Unauthorized"),
}


@dataclass(slots=True)
class Plan:
    """An answer that is not simply written.

    Attributes:
        kind: slow, drip, cut, part, hold, stream or wait.
        data: the whole answer, or the head of a stream.
        seconds: of `slow` and `drip`.
        stream: what follows the head.
        later: of `wait`: delivers the answer.
    """

    kind: str
    data: bytes = b""
    seconds: float = 0.0
    stream: Stream | None = None
    later: asyncio.Future[bytes] | None = None


_FAULT_PLANS = {"slow": "slow", "drip": "drip", "cut_after": "cut", "cut_during": "part", "timeout": "hold"}


class Api:
    """The PassKit side of the sandbox; knows nothing of sockets."""

    def __init__(self, options: Options, seed: int = 0) -> None:
        self.options = options
        self.router = Router()
        self.world = World(options, seed)
        self.gate = Gate(options)
        self.faults = Faults(seed)
        self.heads = Heads()

    def handle(self, method: bytes, url: bytes, header: bytes, body: bytes, now: float) -> bytes | Plan:
        """Answer a call that arrived at the monotonic second `now`."""
        wall = time.time()
        path, _, query = url.partition(b"?")
        journal = self.world.journal
        try:
            route, args = self.router.find(method, path)
        except ApiError as error:
            journal.add(now, wall, method, 0, body, status=error.status)
            return self._refuse(error.status, error.text, wall)
        fault = None
        clock = wall
        if self.faults.on:
            fault = self._pick(method, route, args, body, now)
            clock += self.faults.skew(now)
        request = Request(args, query, body, now, wall, len(journal))
        status, answer = self._decide(route, request, header, fault, clock)
        record = request.record
        journal.add(
            now,
            wall,
            method,
            route.number,
            body,
            status=status,
            push=route.push,
            record=-1 if record is None else record.index,
            committed=request.committed,
            text=0 if request.told is None else hash(request.told),
            fault=0 if fault is None else fault.number,
        )
        return answer

    def _decide(
        self, route: Route, request: Request, header: bytes, fault: Fault | None, clock: float
    ) -> tuple[int, bytes | Plan]:
        """Status for the journal, and the answer; `clock` is what PassKit takes for the time."""
        if fault is not None and fault.kind not in COMMITTING and fault.kind != "wrong_region":
            return self._refuse_by(fault, clock)
        refusal = self.gate.refusal(header, clock)
        if refusal is None and self.faults.on:
            refusal = self._outdated(header, request.time)
        if refusal is not None:
            return self._spoil(fault, 401, self._refuse(401, refusal, clock), clock)
        if fault is not None and fault.kind == "wrong_region":
            return 404, self._refuse(404, fault.error or "object does not exist", clock)
        try:
            done = route.handle(self.world, request)
        except ApiError as error:
            return self._spoil(fault, error.status, self._refuse(error.status, error.text, clock), clock)
        if isinstance(done, Stream):
            plan = Plan("stream", self.heads.chunked(clock, done.content_type), stream=done)
            return self._spoil(fault, 200, plan, clock)
        answer = self.heads.render(200, done, clock)
        return (200, answer) if fault is None else self._spoil(fault, 200, answer, clock)

    def _outdated(self, header: bytes, now: float) -> str | None:
        """The refusal of a token that is older than a fault, None if there is no such fault."""
        token = self.gate.token(header)
        fault = self.faults.old_token(token.issued, now) if isinstance(token, Token) else None
        if fault is None:
            return None
        return fault.error or "jwt was issued too long ago"

    def _refuse(self, status: int, text: str, wall: float, more: bytes = b"") -> bytes:
        return self.heads.render(status, error_body(self.options, status, text), wall, more)

    def _refuse_by(self, fault: Fault, clock: float) -> tuple[int, bytes | Plan]:
        if fault.kind == "cut_before":
            return 0, Plan("cut")
        status, text = _REFUSALS.get(fault.kind, (fault.status, "error"))
        more = b""
        if fault.retry_after is not None:
            more = b"Retry-After: %b\r\n" % f"{fault.retry_after:g}".encode()
        return status, self._refuse(status, fault.error or text, clock, more)

    def _spoil(
        self, fault: Fault | None, status: int, answer: bytes | Plan, clock: float
    ) -> tuple[int, bytes | Plan]:
        """Do to an answer what a fault of the committing sort does to it."""
        if fault is None or fault.kind == "wrong_region":
            return status, answer
        if fault.kind == "malformed":
            return 200, self.heads.render(200, b'{"id":"', clock)
        kind = _FAULT_PLANS[fault.kind]
        if kind in {"cut", "part", "hold"}:
            status = 0
        if isinstance(answer, Plan):
            return status, Plan(kind, answer.data, fault.seconds, answer.stream)
        return status, Plan(kind, answer, fault.seconds)

    def _pick(
        self, method: bytes, route: Route, args: tuple[str, ...], body: bytes, now: float
    ) -> Fault | None:
        names = _names(args, body) if self.faults.needs_names else frozenset()
        journal = self.world.journal
        rate = len(journal) - journal.after(now - 1.0)
        return self.faults.pick(method.decode("latin-1"), route.name, names, now, rate)


def _names(args: tuple[str, ...], body: bytes) -> frozenset[str]:
    """The ids that a call carries, in its path and at the top of its body."""
    names = set(args)
    try:
        data: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        data = None
    if isinstance(data, dict):
        keys = ("id", "externalId", "ticketNumber")
        names.update(data[key] for key in keys if isinstance(data.get(key), str))
    return frozenset(names)
