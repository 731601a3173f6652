"""A scripted HTTP server made of bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, TypeAlias

import orjson

from passbell.passkit import PassKit

MakeClient: TypeAlias = Callable[..., PassKit]


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)

    @property
    def token(self) -> str:
        """The Authorization header as it came."""
        return self.headers["authorization"]


@dataclass
class Reply:
    """What to answer; `raw` goes out as it is, `cut` ends the connection behind it, `hang` never ends it."""

    status: int = 200
    body: bytes | Any = None  # the id that was asked for, as PassKit answers
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut: bool = False
    hang: bool = False
    drip: bool = False

    def wire(self, now: float, request: Request) -> bytes:
        """The bytes of this reply to `request` at `now` (unix seconds)."""
        if self.raw is not None:
            return self.raw
        echo = {"id": (request.json if request.body else {}).get("id", "ok")}
        body = (
            self.body
            if isinstance(self.body, bytes)
            else orjson.dumps(echo if self.body is None else self.body)
        )
        headers = {"Date": formatdate(now, usegmt=True), "Content-Length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Whatever", *(f"{k}: {v}" for k, v in headers.items() if v)]
        return "\r\n".join([*lines, "", ""]).encode() + body


Script: TypeAlias = Callable[[Request], "Reply | Awaitable[Reply]"]


class Server:
    """Answers every request by `script`, remembers all of them."""

    def __init__(self) -> None:
        self.script: Script = lambda _request: Reply()
        self.requests: list[Request] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.refuse_reading = False
        self.now: Callable[[], float] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=4 * 1024 * 1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """End every connection."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        # A client that goes away while we answer is part of the tests, not an error of the server.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            if not self.refuse_reading:
                while await self._one(reader, writer):
                    pass
        writer.close()
        self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, path, headers, body)
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = self.script(request)
            if inspect.isawaitable(reply):
                reply = await reply
        finally:
            self.in_flight -= 1
        wire = reply.wire(self.now() if self.now else time.time(), request)
        if reply.drip:
            for byte in wire:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        else:
            writer.write(wire)
            await writer.drain()
        if reply.hang:
            await reader.read()
        return not reply.cut
