"""A PassKit that does nothing, fast: answers every PUT with its id and remembers when it came and for which record.

    python bench/stand/sink.py      prints its port; a process of its own, ended by closing its standard input

A raw asyncio protocol on uvloop, some 15 µs of CPU per request, so that the client is what is measured. Times are
seconds of CLOCK_MONOTONIC, which all processes of a machine share. The sink's own questions live under `/-/`:

    POST /-/reset?latency=0.1     forget everything; answer PUTs so many seconds late
    GET  /-/state                 {"calls", "distinct", "first", "last"}
    GET  /-/wait?distinct=50000&timeout=60     the same, as soon as so many different ids were seen, or it is too late
    GET  /-/arrivals              the time of every PUT, doubles in the machine's byte order
"""

from __future__ import annotations

import array
import asyncio
import http.client
import json
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Sink"]

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n{"id":"%s"}'
ABSENT = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
WHOSE = re.compile(rb'"(id|externalId)":"([^"]+)"')
NEW_ID = b"0123456789012345678901"  # of a record that is named by its external id
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Memory:
    """What came since the last reset."""

    def __init__(self) -> None:
        self.reset(0.0)

    def reset(self, latency: float) -> None:
        """Forget everything."""
        self.latency = latency
        self.arrivals = array.array("d")
        self.ids: set[bytes] = set()
        self.enough = 0
        self.reached = asyncio.Event()

    def state(self) -> dict[str, Any]:
        """What `/-/state` answers."""
        times = self.arrivals
        return {
            "calls": len(times),
            "distinct": len(self.ids),
            "first": times[0] if times else None,
            "last": times[-1] if times else None,
        }


class Connection(asyncio.Protocol):
    """One client's connection; requests with a body need a content-length."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rest = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer all requests that are complete."""
        data = self._rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(data) < size:
                break
            if data.startswith(b"PUT "):
                self._put(WHOSE.search(data, end, size))
            elif data.find(b" /-/", 0, 9) > 0:
                target = data[: data.index(b" HTTP/")].split(b" ", 1)[1].decode()
                task = asyncio.get_running_loop().create_task(self._asked(target))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._transport.write(ABSENT)
            data = data[size:]
        self._rest = data

    def _put(self, whose: re.Match[bytes] | None) -> None:
        memory = self._memory
        memory.arrivals.append(time.monotonic())
        if whose:
            memory.ids.add(whose[2])
        found = whose[2] if whose and whose[1] == b"id" else NEW_ID
        answer = ANSWER % (len(found) + len(b'{"id":""}'), found)
        if len(memory.ids) == memory.enough:
            memory.reached.set()
        if memory.latency:
            asyncio.get_running_loop().call_later(memory.latency, self._answer, answer)
        else:
            self._transport.write(answer)

    def _answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)

    async def _asked(self, target: str) -> None:
        memory = self._memory
        parts = urlsplit(target)
        query = {name: float(values[0]) for name, values in parse_qs(parts.query).items()}
        if parts.path == "/-/reset":
            memory.reset(query.get("latency", 0.0))
        if parts.path == "/-/wait":
            memory.enough = int(query["distinct"])
            if len(memory.ids) < memory.enough:
                try:
                    async with asyncio.timeout(query["timeout"]):
                        await memory.reached.wait()
                except TimeoutError:
                    pass
        content = (
            memory.arrivals.tobytes() if parts.path == "/-/arrivals" else json.dumps(memory.state()).encode()
        )
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content))


class Sink:
    """The sink as a child process: `with Sink() as sink`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=10)  # closes its standard input

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def reset(self, latency: float = 0.0) -> None:
        """Forget everything; answer so many seconds late from now on."""
        self._ask("POST", f"/-/reset?latency={latency}")

    def state(self) -> dict[str, Any]:
        """`calls`, `distinct` ids, times of `first` and `last` (None before the first)."""
        found: dict[str, Any] = json.loads(self._ask("GET", "/-/state"))
        return found

    def wait(self, distinct: int, seconds: float) -> dict[str, Any]:
        """Return the state as soon as so many different ids were seen, or after so many seconds."""
        found: dict[str, Any] = json.loads(
            self._ask("GET", f"/-/wait?distinct={distinct}&timeout={seconds}", seconds + 30)
        )
        return found

    def arrivals(self) -> array.array[float]:
        """When each PUT came."""
        times = array.array("d")
        times.frombytes(self._ask("GET", "/-/arrivals"))
        return times

    def _ask(self, method: str, target: str, seconds: float = 30) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, target)
            return connection.getresponse().read()
        finally:
            connection.close()


async def serve() -> None:
    """Serve on a port of the system's choice until standard input ends."""
    memory = Memory()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(memory), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
