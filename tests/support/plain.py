"""Clients for servers on loopback that speak plain HTTP.

A client of httpx reads the certificates of all authorities when it is made, which takes 20 ms: three times what the
request takes. These trust no authority, so HTTPS fails.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpx

__all__ = ["plain_async_client", "plain_client", "plain_get", "plain_post"]

NO_AUTHORITY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(**options: Any) -> httpx.Client:
    """`httpx.Client` that looks at neither certificates nor the environment."""
    return httpx.Client(trust_env=False, verify=NO_AUTHORITY, **options)


def plain_async_client(**options: Any) -> httpx.AsyncClient:
    """`httpx.AsyncClient`, likewise."""
    return httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITY, **options)


def plain_get(url: str, **options: Any) -> httpx.Response:
    """`httpx.get`, likewise."""
    return httpx.get(url, trust_env=False, verify=NO_AUTHORITY, **options)


def plain_post(url: str, **options: Any) -> httpx.Response:
    """`httpx.post`, likewise."""
    return httpx.post(url, trust_env=False, verify=NO_AUTHORITY, **options)
