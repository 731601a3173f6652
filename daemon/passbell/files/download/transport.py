"""An httpx transport that can reach one checked place only.

httpx has no public way to hand a network backend to its own transport, so this one drives httpcore's pool:
the layer below httpx that speaks HTTP, and the one that opens sockets.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Self

import httpcore
import httpx

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from passbell.files.download.network import PinnedBackend

__all__ = ["PinnedTransport"]


class PinnedTransport(httpx.AsyncBaseTransport):
    """One connection, HTTP/1.1, no proxy, no retry. Raises the errors of httpcore, not of httpx.

    httpcore (h11) refuses a response whose headers, or one chunk header, exceed 100 KB.

    Args:
        backend: opens the connection.
        tls: verifies the certificate against the host of the URL, not against the address.
    """

    def __init__(self, backend: PinnedBackend, tls: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            network_backend=backend,
            max_connections=1,
            max_keepalive_connections=0,
            retries=0,
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._pool.__aexit__(exc_type, exc_value, traceback)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body of the answer is read later, as it comes."""
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._answer.stream
        if isinstance(stream, AsyncIterable):
            async for piece in stream:
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()
