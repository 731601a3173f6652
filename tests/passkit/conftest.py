"""A scripted server, and clients that speak to it through each HTTP library."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from passbell.passkit import Credentials, PassKit
from support.scripted import MakeClient, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No proxy and no choice of library from the machine that runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("PASSBELL_HTTP_CLIENT", raising=False)
    return monkeypatch


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["httptools", "httpx"])
def http_client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(api_key="the-key", api_secret="a secret of PassKit")


@pytest.fixture
async def client(server: Server, http_client: str, credentials: Credentials) -> AsyncIterator[MakeClient]:
    """Makes clients for the server and closes them."""
    async with contextlib.AsyncExitStack() as stack:

        def make(**options: Any) -> PassKit:
            given: dict[str, Any] = {
                "credentials": credentials,
                "http_client": http_client,
                "timeout": 30.0,
            } | options
            made = PassKit(given.pop("base_url", server.url), given.pop("credentials"), **given)
            stack.push_async_exit(made)
            return made

        yield make
