"""pyreqwest (Rust's reqwest) as transport: the fast lane, installed by the extra `fast`."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.proxy import ProxyBuilder

from passbell.passkit.transport import KEEP_ALIVE, MAX_BODY, BodyTooLong, NetworkTrouble, environment_proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyreqwest.response import Response


_SHORT = 5
"""Digits of a content-length that says: so little that it may be read in one go."""


class PyreqwestTransport:
    """Requests through one reqwest client, HTTP/1.1 with kept connections."""

    def __init__(self, base_url: str, *, concurrency: int) -> None:
        """`concurrency`: idle connections kept; the client above bounds those in use."""
        builder = (
            ClientBuilder()
            .follow_redirects(False)
            .default_cookie_store(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .http1_lower_case_headers()
            .pool_idle_timeout(timedelta(seconds=KEEP_ALIVE))
            .pool_max_idle_per_host(concurrency)
        )
        proxy = environment_proxy(base_url)
        builder = builder.proxy(ProxyBuilder.all(proxy)) if proxy else builder.no_proxy()
        self._client = builder.build()
        # Updates share three paths, so most URLs are parsed once.
        self._url = lru_cache(maxsize=64)(lambda path: Url(base_url + path))

    async def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See `Transport.request`."""
        builder = self._client.request(method, self._url(path)).headers(headers).timeout(_seconds(deadline))
        if body is not None:
            builder = builder.body_bytes(body)
        try:
            async with builder.build_streamed() as response:
                return await _read(response)
        except RequestTimeoutError as error:
            raise NetworkTrouble(f"PassKit did not answer within {deadline:g} seconds") from error
        except (PyreqwestError, OSError) as error:
            raise NetworkTrouble(f"PassKit could not be reached: {_innermost(error)}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()


# Rust's own clock: asyncio.timeout would cost as much as a third of the request.
_seconds = lru_cache(maxsize=8)(lambda deadline: timedelta(seconds=deadline))


async def _read(response: Response) -> tuple[int, Mapping[str, str], bytes]:
    headers = cast("Mapping[str, str]", response.headers)  # finds names in any case
    length = headers.get("content-length")
    if length is not None and len(length) < _SHORT:  # an update's answer: one await instead of three
        return response.status, headers, bytes(await response.bytes())
    body = b""
    while (part := await response.body_reader.read_chunk()) is not None:
        body = body + bytes(part) if body else bytes(part)
        if len(body) > MAX_BODY:
            raise BodyTooLong(response.status, headers, body)
    return response.status, headers, body


def _innermost(error: Exception) -> str:
    """The last cause says what happened ("Connection refused"), the first only where."""
    details = getattr(error, "details", None)
    causes = details.get("causes") if isinstance(details, dict) else None
    return str(causes[-1]["message"]) if causes else str(error)
