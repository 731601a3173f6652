"""The fast transport: httptools (llhttp, the parser of Node.js) on the event loop's own sockets.

Libraries do what is hard: llhttp reads the answers, aiohappyeyeballs chooses among addresses, ssl speaks TLS, uvloop
moves the bytes. This module decides which connection a request goes out on. No other thread takes part: waking one
costs more than a request on some machines (docs/lab/performance.md, "HTTP").

A connection carries one request at a time. It is used again only after a complete answer that allows it; one that
misbehaved in any way is closed, so that no answer can be taken for another request's. Bytes that were not asked for
close it, also those that the event loop has not read yet when the next request wants to leave. An error names no record
to compare: on a connection that was used before it is believed only when no second answer follows within `DOUBT`.
"""

from __future__ import annotations

import asyncio
import collections
import math
import os
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import aiohappyeyeballs
import certifi
import httptools

from passbell.passkit.wire import KEEP_ALIVE, MAX_BODY, UNPACED, BodyTooLong, NetworkTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passbell.passkit.wire import Caller

NEXT_ADDRESS: Final = 0.25
"""Seconds until the next address of the host is tried beside the first (RFC 8305)."""
TICK: Final = 0.05
"""Seconds between looks at the deadlines."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of headers that are read."""
DOUBT: Final = 0.05
"""Seconds, at least, for which an error on a used connection waits for an answer that would contradict it."""
LONGEST_DOUBT: Final = 1.0
_FINAL: Final = 200  # below are interim answers, another one follows
_REFUSALS: Final = range(400, 500)
_NEVER: Final = math.inf


class HttptoolsTransport:
    """HTTP/1.1 to one host; connections are kept, and the one used last is used first."""

    def __init__(self, base_url: str, *, concurrency: int) -> None:
        """`concurrency`: idle connections kept; the client bounds those in use."""
        parts = urlsplit(base_url)
        self._host = (parts.hostname or "").encode("idna").decode()
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = _trust() if parts.scheme == "https" else None
        self._prefix = parts.path
        named = f"[{self._host}]" if ":" in self._host else self._host
        self._named = f"{named}:{parts.port}" if parts.port else named
        self._lines: tuple[Mapping[str, str] | None, str] = (None, "")
        self._kept: collections.deque[_Connection] = collections.deque(maxlen=concurrency)
        self._open: set[_Connection] = set()
        self._outbox = _Outbox()
        self._clock: asyncio.TimerHandle | None = None

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        *,
        caller: Caller = UNPACED,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See `Transport.request`."""
        length = "" if body is None else f"content-length: {len(body)}\r\n"
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._header_lines(headers)}{length}\r\n"
        try:
            took = 0.0
            connection = self._take_kept()
            if connection is None:
                begun = time.monotonic()
                connection = await self._connect(deadline)
                took = time.monotonic() - begun
                try:
                    await caller.retake_slot(took)
                except BaseException:
                    self._kept.append(connection)  # the next request uses it
                    raise
            reply = await connection.exchange(head.encode("latin-1") + (body or b""), deadline - took)
        except TimeoutError as error:
            raise NetworkTrouble(f"PassKit did not answer within {deadline:g} seconds") from error
        except OSError as error:
            raise NetworkTrouble(f"PassKit could not be reached: {_sentence(error)}") from error
        if connection.reusable:
            self._kept.append(connection)
        return reply

    def distrust(self) -> None:
        """Close all connections at rest: an answer came that was another request's."""
        while self._kept:
            self._kept.pop().close()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._clock is not None:
            self._clock.cancel()
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)  # they are closed in the loop's next round

    def _header_lines(self, headers: Mapping[str, str]) -> str:
        # One mapping serves thousands of requests.
        if self._lines[0] is not headers:
            lines = [("host", self._named), *headers.items()]
            text = "".join(f"{name}: {value}\r\n" for name, value in lines)
            if text.count("\n") != len(lines) or text.count("\r") != len(lines):
                raise ValueError("a header of a request to PassKit has a line break in it")
            self._lines = (headers, text)
        return self._lines[1]

    def _look_at_clock(self) -> None:
        """End what is past its time. One timer for all: one per request would be a twentieth of its cost."""
        now = time.monotonic()
        for connection in list(self._open):
            if connection.ends < now:
                connection.fail(TimeoutError())
            elif connection.reusable and now - connection.used_at >= KEEP_ALIVE:
                connection.close()
        self._clock = asyncio.get_running_loop().call_later(TICK, self._look_at_clock) if self._open else None

    def _take_kept(self) -> _Connection | None:
        """The connection that was used last of those that can be used again."""
        while self._kept:
            connection = self._kept.pop()
            if connection.reusable and not connection.holds_bytes():
                return connection
            connection.close()
        return None

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(deadline):
            addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            connected = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS)
            _, connection = await loop.create_connection(
                lambda: _Connection(self._open, self._outbox),
                sock=connected,
                ssl=self._ssl,
                server_hostname=self._host if self._ssl else None,
            )
        if self._clock is None:
            self._look_at_clock()
        return connection


class _Outbox:
    """Writes what one round of the event loop brought together.

    A write that wakes the other side costs more than all else in a request. Of several in a row only the first does.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[_Connection, bytes]] = []

    def put(self, connection: _Connection, data: bytes) -> None:
        """Write soon: at the beginning of the loop's next round."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append((connection, data))

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection, data in waiting:
            connection.write(data)


class _Connection(asyncio.Protocol):
    """One request after the other, each with its answer."""

    _transport: asyncio.Transport

    def __init__(self, open_ones: set[_Connection], outbox: _Outbox) -> None:
        """`open_ones`: this one is in there while it is open."""
        self._open = open_ones
        self._outbox = outbox
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, Mapping[str, str], bytes]] | None = None
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._body = b""
        self._ends_with_connection = False
        self._asked = False  # whether the request was written whose answer is waited for
        self._asked_at = 0.0
        self._exchanges = 0
        self._doubted: asyncio.TimerHandle | None = None
        self._poll = select.poll()
        self.reusable = True
        """Whether a request may be sent: open, at rest, and nothing odd came."""
        self.ends = _NEVER
        """time.monotonic() until which the answer must be complete."""
        self.used_at = time.monotonic()
        """time.monotonic() since when it is at rest."""

    async def exchange(self, request: bytes, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        """Send `request`, read its answer within `deadline` seconds.

        Raises:
            TimeoutError, OSError: no complete answer.
            BodyTooLong: see `Transport.request`.
        """
        if not self.reusable:
            raise ConnectionError("the connection was closed before it was used")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[int, Mapping[str, str], bytes]] = loop.create_future()
        self._answer = answer
        self.ends = time.monotonic() + deadline
        self.reusable = False
        self._start_message()
        self._exchanges += 1
        self._outbox.put(self, request)
        try:
            return await answer
        finally:
            self.ends = _NEVER
            self._answer = None
            self._asked = False
            self._stop_doubting()
            if not self.reusable:
                self.close()

    def write(self, request: bytes) -> None:
        """Write a request, unless its answer is not waited for any more."""
        if not self._transport.is_closing():
            self._asked = True
            self._asked_at = time.monotonic()
            self._transport.write(request)

    def holds_bytes(self) -> bool:
        """Whether something has arrived that the event loop has not read yet: an unasked answer, or the end."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Close at once; a request under way fails."""
        self.reusable = False
        self._transport.abort()

    # ── asyncio ─────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if not self._asked:  # no request was sent: the server closes, or sends what was not asked for
            self.close()
            return
        if self._doubted is not None:
            self._contradicted()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(ConnectionError("the answer is not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self.reusable = False
        if (self._ends_with_connection and exc is None) or self._doubted is not None:
            self._settle(reusable=False)
        self.fail(exc or ConnectionError("the connection was closed before the answer was complete"))

    # ── httptools ───────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._start_message()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self.fail(ConnectionError(f"the headers of the answer are longer than {MAX_HEAD} bytes"))
        else:
            self._headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._ends_with_connection = not {"content-length", "transfer-encoding"} & self._headers.keys()

    def on_body(self, part: bytes) -> None:
        self._body = self._body + part if self._body else part
        if len(self._body) > MAX_BODY:
            self.fail(BodyTooLong(self._parser.get_status_code(), self._headers, self._body))

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _FINAL:
            return
        if (
            self._exchanges > 1
            and status in _REFUSALS
            and self._answer is not None
            and not self._answer.done()
        ):
            wait = min(LONGEST_DOUBT, max(DOUBT, 2 * (time.monotonic() - self._asked_at)))
            self._doubted = asyncio.get_running_loop().call_later(
                wait, self._believe, self._parser.should_keep_alive()
            )
        else:
            self._settle(reusable=self._parser.should_keep_alive())

    # ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────

    def _start_message(self) -> None:
        if self._doubted is not None:
            self._contradicted()
        elif self._answer is None or self._answer.done():  # a second answer to one request
            self.reusable = False
        self._headers, self._head_size, self._body = {}, 0, b""
        self._ends_with_connection = False

    def _believe(self, reusable: bool) -> None:  # noqa: FBT001 - a timer's callback
        self._settle(reusable=reusable)

    def _contradicted(self) -> None:
        """Which of two answers is the request's cannot be known."""
        self._stop_doubting()
        self.fail(ConnectionError("two answers came to one request"))

    def _stop_doubting(self) -> None:
        if self._doubted is not None:
            self._doubted.cancel()
            self._doubted = None

    def _settle(self, *, reusable: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self.reusable = reusable
            self.used_at = time.monotonic()
            self._answer.set_result((self._parser.get_status_code(), self._headers, self._body))

    def fail(self, error: Exception) -> None:
        """Raise `error` where the answer is waited for."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _trust() -> ssl.SSLContext:
    """The system's certificates (or SSL_CERT_FILE's), and Mozilla's where a system has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _sentence(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # Python's own text has a socket's address in it
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__
