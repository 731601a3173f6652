"""uvicorn's HTTP/1.1 connection with bounds on size, time and number.

    head      complete within HEAD_SECONDS of the connection, or of the answer before; its size is uvicorn's own bound
    body      at least BODY_PACE bytes a second after BODY_GRACE seconds, not counting time in which nothing was read
    answer    the caller reads on within STALL_SECONDS
    closing   what is left of a refused request is thrown away for LINGER_SECONDS, so that the answer is read; a
              connection that is closing ends within LINGER_SECONDS
    number    at most `places`; beyond that one is ended, if possible one without a key or session: the one that has
              waited longest without a request, does not read its answer, or has sent least of its body

A connection looks at itself once a second, until it is lost.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final

import h11
import orjson
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["CODES", "HEAD_BYTES", "Bounded"]

log = structlog.get_logger()

HEAD_BYTES: Final = 32 << 10
HEAD_SECONDS: Final = 10.0
BODY_GRACE: Final = 10.0
BODY_PACE: Final = 1024.0
STALL_SECONDS: Final = 60.0
LINGER_SECONDS: Final = 5.0
PLACES: Final = 500
_TICK: Final = 1.0
_SPARE_DESCRIPTORS: Final = 100
CODES: Final = {
    400: ("BAD_REQUEST", "The request is not valid HTTP."),
    408: ("REQUEST_TIMEOUT", "The request took too long to arrive."),
    431: ("HEADERS_TOO_LARGE", f"The headers are larger than {HEAD_BYTES >> 10} KB."),
}


class Bounded(H11Protocol):
    """One connection."""

    places: ClassVar[int] = max(
        16, min(PLACES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS)
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place."""
        super().connection_made(transport)  # type: ignore[arg-type]
        now = self.loop.time()
        self.began = self.waits_since = now
        self._closing_since: float | None = None
        self._stalled_since: float | None = None
        self._request: object = None
        self.body_bytes = 0
        self._body_seconds = 0.0
        self._watch = self.loop.call_later(_TICK, self._look)
        if len(self.connections) > self.places:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what arrives of a body."""
        self.body_bytes += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Note since when the next request is waited for."""
        self.waits_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the shape of all errors."""
        _ = msg
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        self._refuse(status if status in CODES else 400)

    @property
    def idle(self) -> bool:
        """Whether no request of this connection is being answered."""
        return bool(getattr(self.cycle, "response_complete", True))

    @property
    def stranger(self) -> bool:
        """Whether its last request had neither a key nor a session, as the gate noted in the scope's state."""
        state = getattr(self.cycle, "scope", {}).get("state", {})
        return not (state.get("key_name") or state.get("session"))

    def _make_room(self) -> None:
        """End another connection, one of a stranger if there is one; else this one.

        Work in hand goes on, but that of strangers only while there is another choice: requests of theirs that follow
        each other without a pause would hold every place.
        """
        others = [c for c in self.connections if isinstance(c, Bounded) and c is not self]
        strangers = [c for c in others if c.stranger]
        now = self.loop.time()
        leaves = (
            _idlest(strangers, now)
            or min(strangers, key=lambda c: c.began, default=None)
            or _idlest(others, now)
            or self
        )
        log.warning("connection_ended", reason="too many connections", places=self.places)
        self.connections.discard(leaves)
        leaves.transport.abort()

    def _look(self) -> None:
        self._watch = self.loop.call_later(_TICK, self._look)
        now = self.loop.time()
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > LINGER_SECONDS:
                self.transport.abort()
            return
        if self._stalled(now):
            log.warning("connection_ended", reason="the answer is not read")
            self.transport.abort()
        elif self.idle and self.conn.their_state is h11.SEND_BODY:
            if now - self.waits_since > LINGER_SECONDS:
                self.transport.close()
        elif self.idle:
            if now - self.waits_since > HEAD_SECONDS:
                self._time_out()
        elif self.conn.their_state is h11.SEND_BODY and self._too_slow():
            self._time_out()

    def _stalled(self, now: float) -> bool:
        if not self.flow.write_paused:
            self._stalled_since = None
            return False
        self._stalled_since = self._stalled_since or now
        return now - self._stalled_since > STALL_SECONDS

    def _too_slow(self) -> bool:
        if self._request is not self.cycle:
            self._request, self.body_bytes, self._body_seconds = self.cycle, 0, 0.0
        if not self.flow.read_paused:  # else the application is slow, not the caller
            self._body_seconds += _TICK
        return self.body_bytes < (self._body_seconds - BODY_GRACE) * BODY_PACE

    def _time_out(self) -> None:
        half_sent = not self.idle or bool(self.conn.trailing_data[0])
        log.warning("connection_ended", reason="the request took too long to arrive", half_sent=half_sent)
        if half_sent:
            self._refuse(408)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer without the application, if it has not begun to, and close."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        code, sentence = CODES[status]
        body = orjson.dumps({"success": False, "error": sentence, "code": code})
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            events: tuple[Any, ...] = (
                h11.Response(status_code=status, headers=headers, reason=b""),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                if output := self.conn.send(event):
                    self.transport.write(output)
        self.transport.close()


def _idlest(connections: list[Bounded], now: float) -> Bounded | None:
    """Return the connection to end first, None if all are being answered.

    That is one that waits for longer than a moment, then one that does not read its answer, then one with a half-sent
    body, then a new one, which may be about to send its request.
    """
    stalled = [c for c in connections if c.flow.write_paused]
    waiting = [c for c in connections if c.idle]
    silent = [c for c in waiting if now - c.waits_since > _TICK]
    sending = [c for c in connections if not c.idle and c.conn.their_state is h11.SEND_BODY]
    if stalled and not silent:
        return min(stalled, key=lambda c: c.waits_since)
    if silent or not sending:
        return min(silent or waiting, key=lambda c: c.waits_since, default=None)
    return min(sending, key=lambda c: c.body_bytes)
