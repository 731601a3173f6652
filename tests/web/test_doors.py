"""E: what a caller who is not known can cost: nothing is stored, every connection is bounded, sessions end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
import uvicorn

from passbell.web import connections
from support.plain import plain_client, plain_get, plain_post
from support.wait import wait_until
from support.web import KEY, Web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from support.shop import Shop
    from support.web import Api

MEGABYTE: Final = 1 << 20


def multipart(megabytes: int) -> Iterator[bytes]:
    """A form with one file."""
    yield b'--b\r\nContent-Disposition: form-data; name="csvFile"; filename="a.csv"\r\n\r\n'
    for _ in range(megabytes):
        yield b"x" * MEGABYTE
    yield b"\r\n--b--\r\n"


MULTIPART: Final = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    "path", ["/imports", "/compose/confirm", "/compose/send", "/login", "/", "/docs", "/static/x"]
)
@pytest.mark.parametrize("declared", [True, False])
def test_e_nothing_is_read_of_a_stranger(web: Web, path: str, *, declared: bool) -> None:
    """Without a session no upload is read, whether it says its length or not: the answer comes before the body."""
    address = urlsplit(web.url)
    length = b"Content-Length: 52428800" if declared else b"Transfer-Encoding: chunked"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as caller:
        caller.sendall(
            b"POST "
            + path.encode()
            + b" HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Expect: 100-continue\r\n" + length + b"\r\n\r\n"
        )
        if path == "/login" and not declared:
            return  # a small form may come in pieces
        status = caller.recv(4096).split(b"\r\n", 1)[0]
    assert re.match(rb"HTTP/1.1 (303|404|405|413)", status), status


@pytest.mark.parametrize(
    "path", ["/imports", "/compose/confirm", "/api/members/import", "/api/notifications/blast"]
)
def test_e_a_stranger_gets_an_answer_beside_the_upload(web: Web, path: str) -> None:
    """An upload without a key is answered like any other request, and nothing of it is kept."""
    answer = plain_post(f"{web.url}{path}", content=multipart(20), headers=MULTIPART, timeout=30)
    assert answer.status_code == (401 if path.startswith("/api") else 303)


def test_e_the_form_for_signing_in_is_small(web: Web) -> None:
    """A sign-in form that is larger than 8 KB is not read, in pieces or as a whole."""
    with plain_client(base_url=web.url) as visitor:
        for content in (b"key=" + b"x" * 100_000, multipart(1)):
            answer = visitor.post("/login", content=content, headers=MULTIPART)
            assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
        assert visitor.post("/login", data={"key": KEY}).status_code == 303


def test_e_sign_out_ends_the_session_everywhere(shop: Shop, web: Web) -> None:
    """A copied cookie is refused after signing out, also by another web process."""
    with plain_client(base_url=web.url) as visitor, Web(shop.url) as other:
        visitor.post("/login", data={"key": KEY})
        stolen = {"Cookie": f"passbell_session={visitor.cookies['passbell_session']}"}
        assert plain_get(f"{other.url}/history", headers=stolen).status_code == 200
        token = re.search(r'"X-CSRF-Token": "(\w+)"', visitor.get("/").text)
        assert token
        assert visitor.post("/logout", headers={"X-CSRF-Token": token[1]}).status_code == 303
        for url in (web.url, other.url):
            assert plain_get(f"{url}/history", headers=stolen).status_code == 303
            spent = {**stolen, "X-CSRF-Token": token[1]}
            assert plain_post(f"{url}/compose/screen", headers=spent).status_code == 303


def test_e_a_session_is_over_after_its_time(shop: Shop, web: Web) -> None:
    """A session whose twelve hours are over opens nothing, whatever the cookie says."""
    with plain_client(base_url=web.url) as visitor:
        visitor.post("/login", data={"key": KEY})
        assert visitor.get("/history").status_code == 200
        shop.conn.execute(
            "update passbell.web_sessions set ends_at = now()"
            " where opened_at = (select max(opened_at) from passbell.web_sessions)"
        )
        assert visitor.get("/history").status_code == 303


def test_e_the_right_key_is_never_locked_out(web: Web, api: Api) -> None:
    """A guesser waits; others behind the same address go on, with the API and at the sign-in."""
    with web.client("no-such-key") as guesser:
        assert {guesser.get("/api/programs").status_code for _ in range(30)} == {401, 429}
    assert api.get("/api/programs").status_code == 200
    with plain_client(base_url=web.url) as visitor:
        assert visitor.post("/login", data={"key": "no-such-key"}).status_code == 429
        assert visitor.post("/login", data={"key": KEY}).status_code == 303


def test_e_an_endless_header_is_refused(web: Web) -> None:
    """A head of more than 32 KB is 431 and the connection is closed, however long the sender goes on."""
    address = urlsplit(web.url)
    answer = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as caller:
        with contextlib.suppress(ConnectionError):
            caller.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Long: ")
            for _ in range(1000):
                caller.sendall(b"a" * 4096)
        with contextlib.suppress(ConnectionError):
            answer = caller.recv(4096)
    assert not answer or answer.startswith(b"HTTP/1.1 431"), answer
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as caller:
        caller.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (connections.HEAD_BYTES + 1))
        assert caller.recv(4096).startswith(b"HTTP/1.1 431")


def test_e_what_is_not_http_is_told_in_the_shape_of_errors(web: Web) -> None:
    """Noise is 400 as JSON, and the connection is closed."""
    address = urlsplit(web.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as caller:
        caller.sendall(b"\x16\x03\x01\r\n\r\n")
        said = b""
        while part := caller.recv(4096):
            said += part
    assert said.startswith(b"HTTP/1.1 400")
    assert b'"success":false' in said


# ── time and number: the real protocol, with short times ────────────────────────────────────────────────────────────


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times a hundred times as short."""
    for name, seconds in {
        "HEAD_SECONDS": 0.3,
        "BODY_GRACE": 0.2,
        "LINGER_SECONDS": 0.2,
        "STALL_SECONDS": 0.3,
        "_TICK": 0.05,
    }.items():
        monkeypatch.setattr(connections, name, seconds)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body by default, and answers with its length; /much answers with 64 MB, /slow never."""
    if scope["type"] != "http":
        return
    if (b"x-api-key", b"known") in scope["headers"]:
        scope["state"]["key_name"] = "known"  # as the gate does
    length, more = 0, scope["path"] != "/unread"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/slow":  # at work until the caller leaves
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/much":
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * MEGABYTE, "more_body": True})
    await send({"type": "http.response.body", "body": str(length).encode()})


class Line:
    """A caller's connection to the application above."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while part := await self.reader.read(65536):
                said += part
        return said


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Callable[[bytes], Awaitable[Line]]]:
    """The application behind the bounds; gives a function that connects and says something."""
    config = uvicorn.Config(application, log_config=None, http=connections.Bounded, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        running = asyncio.create_task(server.serve(sockets=[listening]))

        lines: list[Line] = []

        async def call(words: bytes) -> Line:
            line = Line(*await asyncio.open_connection("127.0.0.1", port))
            lines.append(line)
            line.writer.write(words)
            await line.writer.drain()
            return line

        try:
            yield call
        finally:
            for line in lines:
                line.writer.close()
                with contextlib.suppress(ConnectionError):
                    await line.writer.wait_closed()
            server.should_exit = True
            await running


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"HTTP/1.1 408"),
        (b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 200"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", b"HTTP/1.1 200"),
    ],
    ids=[
        "silent",
        "half a head",
        "half a body",
        "half a chunk",
        "a body that is not read",
        "half a second request",
    ],
)
def test_e_half_sent_requests_are_ended(hasty: None, words: bytes, status: bytes) -> None:
    """A connection that says nothing, half a head or half a body is ended by the server, not kept for ever."""

    async def scenario() -> bytes:
        async with serving() as call:
            return await asyncio.wait_for((await call(words)).rest(), 20)

    said = asyncio.run(scenario())
    assert said.startswith(status)
    assert bool(said) == bool(status)


def test_e_a_trickle_is_ended(hasty: None) -> None:
    """A body that comes byte by byte does not hold a connection: it is ended although it never pauses."""

    async def scenario() -> bytes:
        async with serving() as call:
            line = await call(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
            said = asyncio.create_task(line.rest())
            with contextlib.suppress(ConnectionError):
                while not said.done():
                    line.writer.write(b"x")
                    await asyncio.sleep(0.02)
            return await said

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 408")


def test_e_an_answer_that_is_not_read_is_ended(hasty: None) -> None:
    """A caller who does not read the answer loses the connection; the rest of the answer is not kept."""

    async def scenario() -> int:
        async with serving() as call:
            line = await call(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(1)
            return len(await line.rest())

    assert asyncio.run(scenario()) < 64 * MEGABYTE


@pytest.mark.parametrize(
    "half",
    [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"],
    ids=["heads", "bodies"],
)
def test_e_the_number_is_bounded(monkeypatch: pytest.MonkeyPatch, half: bytes) -> None:
    """Beyond the limit the longest waiting connection is closed: a flood of half requests locks no caller out."""
    monkeypatch.setattr(connections.Bounded, "places", 8)

    async def scenario() -> tuple[bytes, int]:
        async with serving() as call:
            flood = [await call(half) for _ in range(30)]
            ended = [asyncio.create_task(line.rest()) for line in flood]
            person = await call(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            said = await asyncio.wait_for(person.rest(), 20)
            kept = set(ended)
            async with asyncio.timeout(20):
                while len(kept) > 8:
                    _, kept = await asyncio.wait(kept, return_when=asyncio.FIRST_COMPLETED)
            return said, len(kept)

    said, kept = asyncio.run(scenario())
    assert said.startswith(b"HTTP/1.1 200")
    assert kept <= 8


@pytest.mark.parametrize(
    "held",
    [
        b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 9000,
        b"GET / HT",
        b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["answers that are not read", "bodies of which most is sent", "heads", "requests without a pause"],
)
def test_e_strangers_take_no_known_callers_place(monkeypatch: pytest.MonkeyPatch, held: bytes) -> None:
    """All places taken by strangers: a new caller has one at once, and a known caller's upload and line are kept."""
    monkeypatch.setattr(connections.Bounded, "places", 8)
    monkeypatch.setattr(connections, "_TICK", 0.05)

    async def scenario() -> tuple[bytes, bytes, bytes]:
        async with serving() as call:
            key = b"X-API-Key: known\r\nHost: x\r\n"
            upload = await call(b"POST / HTTP/1.1\r\n" + key + b"Content-Length: 2\r\n\r\nx")
            line = await call(b"GET / HTTP/1.1\r\n" + key + b"\r\n")
            await line.reader.readuntil(b"\r\n\r\n")
            flood = []
            for _ in range(20):
                flood.append(await call(held))
                await asyncio.sleep(0.02)
            person = await call(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            said = await asyncio.wait_for(person.rest(), 20)
            line.writer.write(b"GET / HTTP/1.1\r\n" + key + b"Connection: close\r\n\r\n")
            upload.writer.write(b"y")
            again = await asyncio.wait_for(line.rest(), 20)
            return said, again, await asyncio.wait_for(upload.reader.readline(), 20)

    assert all(b"HTTP/1.1 200" in said for said in asyncio.run(scenario()))


def test_e_a_head_in_one_piece_is_bounded_as_well(web: Web, api: Api) -> None:
    """64 KB of address or of headers that arrive at once are refused, and the log does not repeat them."""
    with plain_client(base_url=web.url) as visitor:
        for answer in (
            visitor.get("/" + "a" * 65_000),
            visitor.get("/live", headers={"X-Long": "a" * (64 << 10)}),
            visitor.get("/live", headers={f"X-{n}": "a" * 300 for n in range(200)}),
        ):
            assert answer.status_code == 431
        assert visitor.get("/live", headers={f"X-{n}": "a" for n in range(200)}).status_code == 200
        visitor.get("/" + "b" * 20_000)
    wait_until(lambda: "/bbb" in web.log, "the line")
    assert "b" * 1000 not in web.log
    assert api.get("/api/programs").status_code == 200


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: +4\r\n",
    ],
)
def test_e_a_body_whose_length_is_said_in_two_ways(web: Web, lengths: bytes) -> None:
    """Nothing after such a request is taken for a request: it is refused, and the connection is closed."""
    address = urlsplit(web.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as caller:
        caller.sendall(
            b"POST /api/preview HTTP/1.1\r\nHost: x\r\nX-API-Key: "
            + KEY.encode()
            + b"\r\n"
            + lengths
            + b"\r\n0\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        said = b""
        with contextlib.suppress(ConnectionError):
            while part := caller.recv(4096):
                said += part
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"alive" not in said


def test_e_a_forged_address_is_no_name_in_the_throttle(shop: Shop) -> None:
    """X-Forwarded-For counts only if it is an address; a /64 of IPv6 counts as one caller."""
    with Web(shop.url) as own, own.client("no-such-key") as guesser:
        for forged in ("x" * 20_000, "<script>", "1.2.3.4.5", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9"):
            guesser.get("/api/programs", headers={"X-Forwarded-For": forged})
        refused = wait_until(
            lambda: len(own.events("api_key_refused")) == 5 and own.events("api_key_refused"), ""
        )
        assert [line["address"] for line in refused] == ["unknown"] * 3 + ["2001:db8:1:2::/64"] * 2


def test_e_an_upload_that_is_broken_off_is_no_defect(shop: Shop) -> None:
    """A caller who leaves in the middle of a body is one line of the log, without a traceback."""
    with Web(shop.url) as own:
        address = urlsplit(own.url)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as caller:
            caller.sendall(
                b"POST /api/preview HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: "
                + KEY.encode()
                + b"\r\nContent-Length: 100000\r\n\r\n{"
            )
        wait_until(
            lambda: (
                [line["status"] for line in own.events("request_answered") if line["path"] == "/api/preview"]
                == [400]
            ),
            "the line",
        )
        assert not own.events("request_failed")
        assert "Traceback" not in own.log
