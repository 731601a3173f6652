"""Which connection a request goes out on, and that no answer is taken for another's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from passbell.passkit import Recipient, Verdict
from passbell.passkit.transport import open_transport
from passbell.passkit.wire import UNPACED, NetworkTrouble, Unpaced
from support.scripted import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from passbell.passkit import Transport
    from passbell.passkit.wire import Caller
    from support.scripted import MakeClient, Request, Server

MEMBER = Recipient("p1", "MEMBERSHIP", "abc", None, None)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"id":"ok"}'


@pytest.fixture
async def transport(server: Server, http_client: str) -> AsyncIterator[Transport]:
    transport = open_transport(server.url, concurrency=4, client=http_client)
    yield transport
    await transport.aclose()


async def ask(transport: Transport, path: str = "/", caller: Caller = UNPACED) -> tuple[int, bytes]:
    status, _, body = await transport.request("GET", path, None, {}, 5.0, caller=caller)
    return status, body


async def test_a_connection_is_kept(transport: Transport, server: Server) -> None:
    """Requests one after the other share a connection; requests at once have one each."""
    for _ in range(5):
        await ask(transport)
    assert server.connections == 1
    await asyncio.gather(*(ask(transport) for _ in range(3)))
    assert server.connections == 3


@pytest.mark.parametrize("header", [{"Connection": "close"}, {}])
async def test_a_closed_connection_is_not_used_again(
    transport: Transport, server: Server, header: dict[str, str]
) -> None:
    """Whether the server says so or just hangs up, the next request has a new one."""
    server.script = lambda _: Reply(headers=header, cut=True)
    for _ in range(3):
        assert (await ask(transport))[0] == 200
        await asyncio.sleep(0.05)
    assert server.connections == 3


async def test_a_body_that_ends_with_the_connection(transport: Transport, server: Server) -> None:
    """An old server names no length and hangs up."""
    server.script = lambda _: Reply(raw=b'HTTP/1.0 200 OK\r\n\r\n{"id":"old"}', cut=True)
    assert await ask(transport) == (200, b'{"id":"old"}')


async def test_chunks_with_a_trailer(transport: Transport, server: Server) -> None:
    """A body in pieces is put together, and the connection kept."""
    pieces = b'5\r\n{"id"\r\n6\r\n:"ok"}\r\n0\r\nx-late: 1\r\n\r\n'
    server.script = lambda _: Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
    assert await ask(transport) == (200, b'{"id":"ok"}')
    assert await ask(transport) == (200, b'{"id":"ok"}')
    assert server.connections == 1


async def test_an_interim_answer_is_not_the_answer(transport: Transport, server: Server) -> None:
    """After 103 Early Hints the final answer is awaited."""
    server.script = lambda _: Reply(raw=b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK)
    assert await ask(transport) == (200, b'{"id":"ok"}')


async def test_no_body_at_all(transport: Transport, server: Server) -> None:
    """204 is complete without a length."""
    server.script = lambda _: Reply(raw=b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await ask(transport) == (204, b"")


async def test_a_new_connection_is_told_and_kept(server: Server) -> None:
    """A request that is given up while it waits for another slot leaves its connection to the next."""
    told: list[float] = []

    class Paced(Unpaced):
        async def retake_slot(self, seconds: float) -> None:
            told.append(seconds)
            if len(told) == 1:
                raise LookupError

    transport = open_transport(server.url, concurrency=4, client="httptools")
    with pytest.raises(LookupError):
        await ask(transport, caller=Paced())
    assert server.requests == []
    for _ in range(3):
        assert (await ask(transport, caller=Paced()))[0] == 200
    assert len(told) == server.connections == 1
    await transport.aclose()


async def test_a_second_answer_is_nobodys(server: Server) -> None:
    """What was sent along unasked must not be taken for the answer to the next request."""
    server.script = lambda r: Reply(raw=OK + OK.replace(b"200", b"404")) if r.path == "/odd" else Reply()
    transport = open_transport(server.url, concurrency=4, client="httptools")
    assert (await ask(transport, "/odd"))[0] == 200
    assert (await ask(transport))[0] == 200
    assert server.connections == 2
    await transport.aclose()


async def test_a_late_second_answer_is_nobodys(server: Server) -> None:
    """A second answer that arrives while the connection rests is not taken for the next request's."""

    async def odd(request: Request) -> Reply:
        return Reply(raw=OK)

    server.script = odd
    transport = open_transport(server.url, concurrency=4, client="httptools")
    await ask(transport)
    (task,) = server._tasks
    writer = task.get_coro().cr_frame.f_locals["writer"]  # type: ignore[union-attr]
    writer.write(OK.replace(b"200", b"404"))
    await asyncio.sleep(0.05)
    assert (await ask(transport))[0] == 200
    assert server.connections == 2
    await transport.aclose()


@pytest.mark.parametrize(
    "late", [OK, OK.replace(b"200 OK", b"404 Not Found")], ids=["another record's", "an error"]
)
async def test_b8_an_answer_that_comes_while_the_next_request_is_in_flight(
    client: MakeClient, server: Server, late: bytes
) -> None:
    """A late answer is not taken for the next request's: that pass is uncertain and tried again."""
    answered = OK.replace(b"11", b"12").replace(b"ok", b"abc")

    async def script(request: Request) -> Reply:
        if len(server.requests) != 2:
            return Reply()
        (task,) = server._tasks
        writer = task.get_coro().cr_frame.f_locals["writer"]  # type: ignore[union-attr]
        writer.write(late)
        await asyncio.sleep(0.02)
        return Reply(raw=answered)

    server.script = script
    passkit = client(http_client="httptools")
    assert (await passkit.push(MEMBER, "one", None)).verdict is Verdict.SENT
    uncertain = await passkit.push(MEMBER, "two", None)
    assert (uncertain.verdict, uncertain.http_status) == (Verdict.RETRY, None)
    assert (await passkit.push(MEMBER, "two", None)).verdict is Verdict.SENT
    assert server.connections == 2


async def test_an_error_on_a_used_connection_is_believed_when_nothing_contradicts_it(
    client: MakeClient, server: Server
) -> None:
    """A 404 on a used connection counts, and the connection is kept."""
    server.script = lambda _: Reply(200 if len(server.requests) == 1 else 404)
    passkit = client()
    verdicts = [(await passkit.push(MEMBER, str(n), None)).verdict for n in range(3)]
    assert verdicts == [Verdict.SENT, Verdict.NOT_FOUND, Verdict.NOT_FOUND]
    assert server.connections == 1


async def test_b8_bytes_that_wait_unread_close_a_connection_before_it_is_used(server: Server) -> None:
    """If unread bytes wait on a connection, it is closed before the next request uses it."""
    transport = open_transport(server.url, concurrency=4, client="httptools")
    await ask(transport)
    (task,) = server._tasks
    writer = task.get_coro().cr_frame.f_locals["writer"]  # type: ignore[union-attr]
    writer.get_extra_info("socket")._sock.send(OK.replace(b"200", b"404"))
    assert (await ask(transport))[0] == 200
    assert server.connections == 2
    await transport.aclose()


async def test_b8_two_answers_in_one_packet(client: MakeClient, server: Server) -> None:
    """The first is the request's; what comes with it is nobody's, and the next request has a new connection."""
    answered = OK.replace(b"11", b"12").replace(b"ok", b"abc")
    second = OK.replace(b"200 OK", b"404 Not Found")
    server.script = lambda _: Reply(raw=answered + second) if len(server.requests) == 1 else Reply()
    passkit = client(http_client="httptools")
    verdicts = [(await passkit.push(MEMBER, str(n), None)).verdict for n in range(3)]
    assert Verdict.NOT_FOUND not in verdicts
    assert verdicts[1:] == [Verdict.SENT, Verdict.SENT]
    assert server.connections == 2


@pytest.mark.parametrize("named", ["abd", "ab", "abcabc"])
async def test_b8_an_answer_that_names_another_record(client: MakeClient, server: Server, named: str) -> None:
    """A 200 about a record that was not asked for is uncertain, not sent, and is tried again with the same text."""
    body = b'{"id":"' + named.encode() + b'"}'
    wrong = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    server.script = lambda _: Reply(raw=wrong) if len(server.requests) == 1 else Reply()
    passkit = client(http_client="httptools")
    uncertain = await passkit.push(MEMBER, "one", None)
    assert (uncertain.verdict, uncertain.http_status) == (Verdict.RETRY, None)
    assert (await passkit.push(MEMBER, "one", None)).verdict is Verdict.SENT
    assert server.connections == 2


async def test_a_cancelled_request_takes_its_connection_along(transport: Transport, server: Server) -> None:
    """The answer to an abandoned request is not given to the next."""

    async def slow(request: Request) -> Reply:
        if request.path == "/slow":
            await asyncio.sleep(0.1)
            return Reply(404)
        return Reply()

    server.script = slow
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ask(transport, "/slow"), 0.03)
    assert (await ask(transport))[0] == 200
    await asyncio.sleep(0.15)
    assert (await ask(transport))[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n1234567",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["ssh", "two lengths", "negative", "endless head", "no chunk"],
)
async def test_what_is_no_http(transport: Transport, server: Server, raw: bytes) -> None:
    """Something else on that port is network trouble, and the next request is not affected."""
    server.script = lambda _: Reply(raw=raw, cut=True)
    with pytest.raises(NetworkTrouble):
        await transport.request("GET", "/", None, {}, 2.0)
    server.script = lambda _: Reply()
    assert (await ask(transport))[0] == 200


async def test_another_protocol_is_trouble_that_passes(client: MakeClient, server: Server) -> None:
    """101 is no answer of PassKit's: asked again later, no pass failed."""
    server.script = lambda _: Reply(
        raw=b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", cut=True
    )
    assert (await client().push(MEMBER, "Hello", None)).verdict is Verdict.RETRY


async def test_a_header_cannot_smuggle_a_line(server: Server) -> None:
    """A token with a line break in it is refused, not sent as two headers."""
    transport = open_transport(server.url, concurrency=1, client="httptools")
    with pytest.raises(ValueError, match="line break"):
        await transport.request("GET", "/", None, {"authorization": "x\r\nevil: 1"}, 1.0)
    assert server.requests == []
    await transport.aclose()


async def test_the_host_that_is_asked_for(client: MakeClient, server: Server, http_client: str) -> None:
    """A request has the base URL's path in front, and names host and port."""
    passkit = client(base_url=f"{server.url}/gateway/", http_client=http_client)
    assert (await passkit.push(MEMBER, "Hello", None)).verdict is Verdict.SENT
    (request,) = server.requests
    assert request.path == "/gateway/members/member"
    assert request.headers["host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch, http_client: str, *, trusted: bool
) -> None:
    """A certificate that the machine trusts is taken, any other is refused in a sentence."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        clean_environment.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(OK)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    transport = open_transport(f"https://localhost:{port}", concurrency=1, client=http_client)
    if trusted:
        for _ in range(2):
            assert await ask(transport) == (200, b'{"id":"ok"}')
    else:
        with pytest.raises(NetworkTrouble, match="certificate"):
            await ask(transport)
    await transport.aclose()
    listening.close()
