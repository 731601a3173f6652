"""How bytes leave the machine: one small interface, two libraries behind it.

* `httptools`: the fast lane, connections of our own; an eighth of the CPU. What the daemon uses.
* `httpx` over aiohttp's sockets: the portable one, and the only one that goes through a proxy. (The pool that httpx
  brings along collapses at 50 requests in flight: 226 requests/s where this one reaches 4,300.)

Both obey the same rules: one deadline for the whole exchange, a bounded body, no redirects, no cookies, no
silent repeats, no decompression, and the proxy that the environment names (`HTTPS_PROXY`, `ALL_PROXY`,
`NO_PROXY`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MAX_BODY = 1024 * 1024
"""Bytes of an answer that are read. An update answers 30 bytes, a list of 100 records some 300 kB."""

KEEP_ALIVE = 15.0
"""Seconds that an idle connection is kept; less than load balancers do, so that we are the ones to close."""

HTTP_CLIENTS = ("auto", "httptools", "httpx")


class NetworkTrouble(Exception):
    """No complete answer: not connected, cut, garbled or too slow. The text is one plain sentence."""


class BodyTooLong(Exception):
    """An answer went on after `MAX_BODY` bytes and was abandoned."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """`body`: the bytes read so far."""
        super().__init__(f"the answer is longer than {MAX_BODY} bytes")
        self.status = status
        self.headers = headers
        self.body = body


class Transport(Protocol):
    """Sends one request and reads its whole answer."""

    async def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask once.

        Args:
            method: HTTP verb.
            path: begins with a slash, already percent-encoded, goes behind the base URL.
            body: None for a request without one.
            headers: to send.
            deadline: seconds for everything from connecting to the last byte.

        Returns:
            Status, headers (names in lower case) and body.

        Raises:
            NetworkTrouble: no complete answer in time.
            BodyTooLong: the answer is larger than `MAX_BODY`.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def open_transport(
    base_url: str,
    *,
    concurrency: int,
    client: str = "auto",
    connected: Callable[[float], Awaitable[None]] | None = None,
) -> Transport:
    """A transport for `base_url`, by the library that `client` names (one of `HTTP_CLIENTS`).

    `auto` is `httptools`, or `httpx` where the environment names a proxy. `httptools` awaits `connected(seconds)` when
    it had to make a connection, before the request goes out on it; `httpx` has no such place.

    Raises:
        ValueError: unknown client, a base URL that is not http(s), a proxy that is not, or one for `httptools`.
    """
    base_url = check_base_url(base_url)
    # Imported here: each library costs start-up time and memory that the other does not need.
    if choose_client(base_url, client) == "httptools":
        from passbell.passkit.over_httptools import HttptoolsTransport  # noqa: PLC0415

        return HttptoolsTransport(base_url, concurrency=concurrency, connected=connected)
    from passbell.passkit.over_httpx import HttpxTransport  # noqa: PLC0415

    return HttpxTransport(base_url, concurrency=concurrency)


def choose_client(base_url: str, client: str) -> str:
    """`httptools` or `httpx`, by the word in `client` and the environment's proxy.

    Raises:
        ValueError: unknown client, a proxy that is not, or one for `httptools`.
    """
    if client not in HTTP_CLIENTS:
        raise ValueError(f"unknown HTTP client {client!r}; known are {', '.join(HTTP_CLIENTS)}")
    proxy = environment_proxy(base_url)
    if client == "httptools" and proxy:
        raise ValueError("PASSBELL_HTTP_CLIENT=httptools cannot go through a proxy; leave it at auto")
    if client == "auto":
        return "httpx" if proxy else "httptools"
    return client


def check_base_url(base_url: str) -> str:
    """`base_url` without a slash at its end.

    Raises:
        ValueError: it is not an absolute http(s) URL without query and fragment.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("the PassKit URL must look like https://api.pub1.passkit.io")
    return base_url.rstrip("/")


def environment_proxy(base_url: str) -> str | None:
    """URL of the proxy that the environment names for `base_url`, decided once at the start.

    Raises:
        ValueError: it is not an HTTP proxy.
    """
    parts = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in {"http", "https"}:
        raise ValueError(
            "passbell reaches PassKit through HTTP proxies only; check HTTPS_PROXY and ALL_PROXY"
        )
    return proxy
