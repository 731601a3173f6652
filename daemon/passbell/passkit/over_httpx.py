"""httpx as transport: its own pool, or any `httpx.AsyncBaseTransport` that a test hands in."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import httpx
import sniffio  # noqa: F401 - httpcore imports it several times per request, and searches the disk if it is missing

from passbell.passkit.wire import KEEP_ALIVE, MAX_BODY, UNPACED, BodyTooLong, NetworkTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passbell.passkit.wire import Caller


class HttpxTransport:
    """Requests straight through an httpx transport.

    `httpx.AsyncClient` is left out on purpose: redirects, cookies and .netrc are what it adds, and none of
    them is wanted here.
    """

    def __init__(
        self,
        base_url: str,
        *,
        concurrency: int,
        proxy: str | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`concurrency`: connections at most; `inner`: None for a pool of httpx."""
        self._inner = inner or _pool(concurrency, proxy)
        # Updates share three paths, so most URLs are parsed once. Reads by id do not, and are rarer.
        self._url = lru_cache(maxsize=64)(lambda path: httpx.URL(base_url + path))

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        *,
        caller: Caller = UNPACED,  # noqa: ARG002 - the pool does not say when it connects
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See `Transport.request`."""
        request = httpx.Request(method, self._url(path), headers=headers, content=body)
        try:
            async with asyncio.timeout(deadline):
                response = await self._inner.handle_async_request(request)
                try:
                    answer = await _read(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise NetworkTrouble(f"PassKit did not answer within {deadline:g} seconds") from error
        except (httpx.HTTPError, OSError) as error:
            raise NetworkTrouble(
                f"PassKit could not be reached: {str(error) or type(error).__name__}"
            ) from error
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


async def _read(response: httpx.Response) -> tuple[int, Mapping[str, str], bytes]:
    # The raw headers and the stream itself: httpx's conveniences around them are a tenth of a request's cost.
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw
    }
    body = b""
    async for part in cast("httpx.AsyncByteStream", response.stream):
        body = body + part if body else part
        if len(body) > MAX_BODY:
            raise BodyTooLong(response.status_code, headers, body)
    return response.status_code, headers, body


def _pool(concurrency: int, proxy: str | None) -> httpx.AsyncHTTPTransport:
    # `retries` counts attempts to connect, before a request has left. A request that was sent is never repeated.
    return httpx.AsyncHTTPTransport(
        verify=httpx.create_ssl_context(),
        trust_env=False,
        proxy=proxy,
        retries=0,
        limits=httpx.Limits(
            max_connections=concurrency,
            max_keepalive_connections=concurrency,
            keepalive_expiry=KEEP_ALIVE,
        ),
    )
