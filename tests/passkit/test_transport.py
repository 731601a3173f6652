"""How bytes leave the machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import passbell.passkit
from passbell.passkit import Credentials, PassKit, Recipient, Verdict
from passbell.passkit.transport import environment_proxy, open_transport
from passbell.passkit.wire import UNPACED
from support.scripted import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passbell.passkit.wire import Caller
    from support.scripted import MakeClient, Request, Server

MEMBER = Recipient("p1", "MEMBERSHIP", "abc", None, None)


def test_the_public_names() -> None:
    """The engine builds on these names and no others."""
    names = ["Answer", "Credentials", "PassKit", "Recipient", "Transport", "Verdict"]
    assert passbell.passkit.__all__ == names


async def test_any_httpx_transport_can_be_handed_in() -> None:
    """A test can answer in memory, by httpx's own interface."""
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, request.content))
        return httpx.Response(200, json={"id": "abc"})

    async with PassKit(
        "https://passkit.test", Credentials(token="t"), transport=httpx.MockTransport(answer)
    ) as passkit:
        assert (await passkit.push(MEMBER, "Hello", None)).verdict is Verdict.SENT
    assert seen == [("PUT", "/members/member", b'{"id":"abc","metaData":{"marketingMessage":"Hello"}}')]


async def test_a_transport_of_ones_own() -> None:
    """A dry run needs two methods and no library."""

    class DryRun:
        asked: tuple[str, str, bytes | None] | None = None
        closed = False

        async def request(
            self,
            method: str,
            path: str,
            body: bytes | None,
            headers: Mapping[str, str],
            deadline: float,
            *,
            caller: Caller = UNPACED,
        ) -> tuple[int, Mapping[str, str], bytes]:
            assert caller is UNPACED
            assert headers["authorization"] == "Bearer t"
            assert deadline == 10.0
            self.asked = (method, path, body)
            return 200, {}, b'{"id":"abc"}'

        async def aclose(self) -> None:
            self.closed = True

    dry = DryRun()
    async with PassKit("https://passkit.test", Credentials(token="t"), transport=dry) as passkit:
        assert (await passkit.push(MEMBER, "Hello", None)).verdict is Verdict.SENT
    assert dry.asked is not None
    assert dry.asked[:2] == ("PUT", "/members/member")
    assert dry.closed


async def test_the_environment_chooses_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """PASSBELL_HTTP_CLIENT picks the library, and a word that is none is told at once."""
    monkeypatch.setenv("PASSBELL_HTTP_CLIENT", "httpx")
    async with PassKit("https://passkit.test", Credentials(token="t")) as passkit:
        assert type(passkit._transport).__name__ == "HttpxTransport"
    monkeypatch.setenv("PASSBELL_HTTP_CLIENT", "curl")
    with pytest.raises(ValueError, match="known are auto, httptools, httpx"):
        PassKit("https://passkit.test", Credentials(token="t"))


@pytest.mark.parametrize(
    ("proxy", "library"), [("", "HttptoolsTransport"), ("http://proxy:1", "HttpxTransport")]
)
async def test_auto_takes_the_fast_one_where_it_can(
    clean_environment: pytest.MonkeyPatch, proxy: str, library: str
) -> None:
    """Nothing has to be set, with a proxy or without."""
    clean_environment.setenv("HTTPS_PROXY", proxy)
    transport = open_transport("https://passkit.test", concurrency=1)
    assert type(transport).__name__ == library
    await transport.aclose()


def test_the_fast_one_cannot_go_through_a_proxy(clean_environment: pytest.MonkeyPatch) -> None:
    """Who asks for both is told, instead of being connected past the proxy."""
    clean_environment.setenv("HTTPS_PROXY", "http://proxy:1")
    with pytest.raises(ValueError, match="cannot go through a proxy"):
        open_transport("https://passkit.test", concurrency=1, client="httptools")


@pytest.mark.parametrize("library", ["auto", "httpx"])
async def test_the_proxy_of_the_environment_is_used(
    client: MakeClient, server: Server, clean_environment: pytest.MonkeyPatch, library: str
) -> None:
    """Behind a company proxy the request goes to it, with its user and password."""
    proxy = server.url.replace("http://", "http://user:pass@")
    clean_environment.setenv("HTTP_PROXY", proxy)
    passkit = client(base_url="http://passkit.test", http_client=library)
    answer = await passkit.push(MEMBER, "Hello", None)
    assert answer.verdict is Verdict.SENT
    (request,) = server.requests
    assert request.path == "http://passkit.test/members/member"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"


async def test_a_proxy_is_asked_by_twenty_at_once(
    client: MakeClient, server: Server, clean_environment: pytest.MonkeyPatch
) -> None:
    """However many are allowed in flight, the pool of httpx gets no more than it can serve; all of them arrive."""
    clean_environment.setenv("HTTP_PROXY", server.url)
    at_once: list[int] = []
    full = asyncio.Event()

    async def slow(_: Request) -> Reply:
        at_once.append(1)
        if len(at_once) == 20:
            full.set()
        await full.wait()
        return Reply()

    server.script = slow
    passkit = client(base_url="http://passkit.test", http_client="auto", concurrency=50)
    answers = await asyncio.gather(*(passkit.push(MEMBER, f"Hello {n}", None) for n in range(60)))
    assert {answer.verdict for answer in answers} == {Verdict.SENT}
    assert len(server.requests) == 60
    assert server.connections == 20


async def test_no_proxy_is_obeyed(client: MakeClient, clean_environment: pytest.MonkeyPatch) -> None:
    """A host named in NO_PROXY is reached directly."""
    clean_environment.setenv("ALL_PROXY", "http://127.0.0.1:9")
    clean_environment.setenv("NO_PROXY", "127.0.0.1")
    assert (await client().push(MEMBER, "Hello", None)).verdict is Verdict.SENT


@pytest.mark.parametrize(
    ("names", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ({"HTTPS_PROXY": "proxy:1"}, "http://proxy:1"),
        ({"HTTP_PROXY": "http://proxy:1"}, None),
        ({"ALL_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ({"ALL_PROXY": "http://proxy:1", "NO_PROXY": "passkit.io"}, None),
        ({"ALL_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
        ({"ALL_PROXY": "http://proxy:1", "NO_PROXY": "other.io"}, "http://proxy:1"),
    ],
)
def test_which_proxy(clean_environment: pytest.MonkeyPatch, names: dict[str, Any], proxy: str | None) -> None:
    """The usual variables have their usual meaning."""
    for name, value in names.items():
        clean_environment.setenv(name, value)
    assert environment_proxy("https://api.pub1.passkit.io") == proxy


def test_a_socks_proxy_is_refused(clean_environment: pytest.MonkeyPatch) -> None:
    """A proxy that cannot work is told at once."""
    clean_environment.setenv("ALL_PROXY", "socks5://proxy:1")
    with pytest.raises(ValueError, match="HTTP proxies only"):
        environment_proxy("https://api.pub1.passkit.io")
