"""`/metrics`, `/live` and `/ready` of the daemon, on a port of their own.

A few GETs a minute from a monitoring system do not need a web framework in the daemon's memory: one request per
connection, a small head, a deadline. It listens on loopback by default, and never shows a secret or a
member. Where the port is taken, as by another daemon on this machine, the daemon warns and goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
import structlog
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from passbell.ops.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["Condition", "serve_operator"]

log = structlog.get_logger()

REQUEST_SECONDS: Final = 10.0
MAX_HEAD: Final = 8192
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Condition:
    """An answer to /live or /ready: yes or no, and what is behind it."""

    good: bool
    facts: dict[str, object]


@contextlib.asynccontextmanager
async def serve_operator(
    host: str,
    port: int,
    *,
    live: Callable[[], Condition],
    ready: Callable[[], Awaitable[Condition]],
    before_scrape: Callable[[], Awaitable[None]],
) -> AsyncIterator[int | None]:
    """Serve while the block runs; gives the port, None if nothing is served.

    Args:
        host: address to listen on.
        port: 0 serves nothing.
        live: whether the process works at all; asked for /live.
        ready: whether it can do its work now; asked for /ready.
        before_scrape: brings gauges up to date; awaited for /metrics.
    """
    if port == 0:
        yield None
        return
    pages = _Pages(live, ready, before_scrape)
    try:
        server = await asyncio.start_server(pages.handle, host, port, limit=MAX_HEAD)
    except OSError as error:
        log.warning(
            "metrics_port_unavailable",
            host=host,
            port=port,
            reason=f"{error.strerror or error}; set another PASSBELL_METRICS_PORT, or 0 for none",
        )
        yield None
        return
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        pages.close()


class _Pages:
    def __init__(
        self,
        live: Callable[[], Condition],
        ready: Callable[[], Awaitable[Condition]],
        before_scrape: Callable[[], Awaitable[None]],
    ) -> None:
        self._live = live
        self._ready = ready
        self._before_scrape = before_scrape
        self._open: set[asyncio.StreamWriter] = set()

    def close(self) -> None:
        for writer in self._open:
            writer.close()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # a scanner, or a monitoring system that went away
        except Exception:
            log.exception("metrics_request_failed")
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if method not in {b"GET", b"HEAD"}:
            status, kind, body = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET only\n"
        else:
            status, kind, body = await self._page(target)
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == b"HEAD" else body)

    async def _page(self, target: str) -> tuple[HTTPStatus, str, bytes]:
        match target:
            case "/metrics":
                await self._before_scrape()
                return HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(REGISTRY)
            case "/live":
                return _page("live", self._live())
            case "/ready":
                return _page("ready", await self._ready())
            case _:
                return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /live or /ready\n"


def _page(question: str, condition: Condition) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if condition.good else HTTPStatus.SERVICE_UNAVAILABLE
    return status, _JSON, orjson.dumps({question: condition.good, **condition.facts}) + b"\n"
