"""A TCP proxy on loopback whose wire a test can cut, stall and delay."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

__all__ = ["Proxy"]

BLOCK = 65_536


class Proxy:
    """Forwards 127.0.0.1:`port` to a target, from a thread of its own, so that any kind of test can use it.

    `cut()` resets every connection; `refuse()` also takes no new ones until `accept()`. `stall()` keeps the
    connections and moves no byte, until `flow()`. `lose_answers()` drops what the target says, until `cut()`.
    `delay` is in seconds, for every block, each way.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._server: asyncio.Server | None = None
        self._refusing = False
        self._deaf = False
        self._deaf_once = b""
        self.delay = 0.0
        self.connections = 0
        self.held = 0
        """Connections on which a caller waits for `flow()`."""
        self.sent = 0
        """Bytes that callers sent so far, moved on or not."""
        self.port = 0

    @classmethod
    def before(cls, url: str) -> Self:
        """Return a proxy in front of the host and port of a URL."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"no host and port in {url}")
        return cls(parts.hostname, parts.port)

    def url(self, url: str) -> str:
        """Return the same URL, led through this proxy."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}"))

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection, as a pulled cable or a failed-over server would look."""
        self._call(self._cut())

    def refuse(self) -> None:
        """Cut, and reset every new connection at once until `accept()`."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Take connections again."""
        self._refusing = False

    def stall(self) -> None:
        """Stop moving bytes on open and new connections: a wire that is up but dead."""
        self._call(self._set_flowing(False))

    def flow(self) -> None:
        """Move bytes again, the held ones first."""
        self._call(self._set_flowing(True))

    def lose_answers(self, once: bytes = b"") -> None:
        """Drop what the target says from now on; what callers say still arrives. Until `cut()`.

        `once`: begin when a caller says this.
        """
        self._deaf, self._deaf_once = not once, once

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def _set_flowing(self, flowing: bool) -> None:  # noqa: FBT001
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _cut(self) -> None:
        self._deaf, self._deaf_once = False, b""
        self.held = 0
        tasks = list(self._pairs)
        for task, writers in list(self._pairs.items()):
            for writer in writers:
                writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if self._refusing or task is None:
            writer.transport.abort()
            return
        self.connections += 1
        self._pairs[task] = (writer,)
        try:
            self.held += 1
            await self._flowing.wait()
            self.held -= 1
            there, back = await asyncio.open_connection(*self._target)
            self._pairs[task] = (writer, back)
            await asyncio.gather(self._pump(reader, back, calling=True), self._pump(there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the target is away, one end broke off, or a test cut the wire: then both ends go
        finally:
            for end in self._pairs.pop(task):
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, calling: bool = False
    ) -> None:
        while block := await reader.read(BLOCK):
            if calling:
                self.sent += len(block)
                self._deaf = self._deaf or (bool(self._deaf_once) and self._deaf_once in block)
            elif self._deaf:
                continue
            if self.delay:
                await asyncio.sleep(self.delay)
            self.held += calling
            await self._flowing.wait()
            self.held -= calling
            writer.write(block)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
