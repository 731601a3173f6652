"""Which transport sends the requests, and how many connections it may have.

* `httptools`: connections of our own, an eighth of the CPU. The daemon uses it where there is no proxy.
* `httpx`: goes through a proxy, with at most 20 connections. The cost of a request grows with their number, because the
  pool looks at each of them. With 20, a core that is busy with other work still sends 150 requests/s.
* `DryTransport`: PASSBELL_DRY_RUN. Pace and ledger are the same, but nothing leaves the machine.

The first two obey the same rules: one deadline for the whole exchange, a bounded body, no redirects, no cookies, no
silent repeats, no decompression, and the proxy that the environment names (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passbell.passkit.wire import Transport

__all__ = [
    "HTTP_CLIENTS",
    "MOST_OVER_HTTPX",
    "DryTransport",
    "check_base_url",
    "choose_client",
    "connections",
    "environment_proxy",
    "open_transport",
]


HTTP_CLIENTS = ("auto", "httptools", "httpx")

MOST_OVER_HTTPX = 20
"""Connections of httpx's pool at most."""


def open_transport(base_url: str, *, concurrency: int, client: str = "auto") -> Transport:
    """A transport for `base_url`, by the library that `client` names (one of `HTTP_CLIENTS`).

    `auto` is `httptools`, or `httpx` where the environment names a proxy. `httptools` has the caller retake its slot
    when it had to make a connection, before the request goes out on it; `httpx` has no such place.

    Raises:
        ValueError: unknown client, a base URL that is not http(s), a proxy that is not, or one for `httptools`.
    """
    base_url = check_base_url(base_url)
    # Imported here: each library costs start-up time and memory that the other does not need.
    if choose_client(base_url, client) == "httptools":
        from passbell.passkit.over_httptools import HttptoolsTransport  # noqa: PLC0415

        return HttptoolsTransport(base_url, concurrency=concurrency)
    from passbell.passkit.over_httpx import HttpxTransport  # noqa: PLC0415

    return HttpxTransport(
        base_url,
        concurrency=connections(base_url, "httpx", concurrency),
        proxy=environment_proxy(base_url),
    )


def connections(base_url: str, client: str, concurrency: int) -> int:
    """How many requests may be in flight, of the `concurrency` that is asked for.

    A request must not wait for a connection inside the pool, where the wait would use up its deadline.

    Raises:
        ValueError: as `choose_client`.
    """
    return (
        concurrency if choose_client(base_url, client) == "httptools" else min(concurrency, MOST_OVER_HTTPX)
    )


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


log = structlog.get_logger()


class DryTransport:
    """Answers in place of PassKit: every record is found, every update is taken."""

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],  # noqa: ARG002 - nothing is sent
        deadline: float,  # noqa: ARG002 - nothing is waited for
        *,
        caller: object = None,  # noqa: ARG002 - nothing is connected
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Answer as PassKit would if all were well."""
        record = orjson.loads(body) if body else {}
        if method == "POST":  # a list: no record is found, so each is asked for by itself
            wanted = [f["filterValue"] for g in record["filters"]["filterGroups"] for f in g["fieldFilters"]]
            lines = (
                orjson.dumps({"result": {"id": key, "externalId": key, "metaData": {}}}) for key in wanted
            )
            return 200, {}, b"\n".join(lines)
        if method == "GET":
            return 200, {}, orjson.dumps({"id": path.rsplit("/", 1)[-1], "metaData": {}})
        log.debug("dry_push", path=path)
        return 200, {}, orjson.dumps({"id": record.get("id", "")})

    async def aclose(self) -> None:
        """Nothing is open."""
