"""Telling one pass something."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from passbell.passkit import Answer, Credentials, PassKit, Recipient, Verdict
from passbell.passkit.wire import Unpaced
from support.scripted import MakeClient, Reply, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable

MEMBER = Recipient("p1", "MEMBERSHIP", "3x7gWmSnhRBeeLtkZRDWwS", "card-1", "prog-1")


@pytest.mark.parametrize(
    ("recipient", "path", "names"),
    [
        (MEMBER, "/members/member", {"id": "3x7gWmSnhRBeeLtkZRDWwS"}),
        (
            Recipient("p", "MEMBERSHIP", None, "card-1", "prog"),
            "/members/member",
            {"externalId": "card-1", "programId": "prog"},
        ),
        (Recipient("p", "COUPON", "abc", "c-1", "camp"), "/coupon/singleUse/coupon", {"id": "abc"}),
        (
            Recipient("p", "COUPON", None, "c-1", "camp"),
            "/coupon/singleUse/coupon",
            {"externalId": "c-1", "campaignId": "camp"},
        ),
        (Recipient("p", "EVENT_TICKET", "abc", "t-1", "show"), "/eventTickets/ticket", {"id": "abc"}),
        (
            Recipient("p", "EVENT_TICKET", None, "t-1", "show"),
            "/eventTickets/ticket",
            {"ticketNumber": "t-1", "event": {"production": {"id": "show"}}},
        ),
    ],
)
async def test_each_protocol_has_its_endpoint(
    client: MakeClient, server: Server, recipient: Recipient, path: str, names: dict[str, Any]
) -> None:
    """A member, a coupon and a ticket each go to their own endpoint; only names and text are sent."""
    answer = await client().push(recipient, "Hello", {"tier": "gold"})

    assert answer == Answer(Verdict.SENT, 200)
    (request,) = server.requests
    assert (request.method, request.path) == ("PUT", path)
    assert request.json == {**names, "metaData": {"tier": "gold", "marketingMessage": "Hello"}}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("passbell/")


async def test_other_metadata_is_kept_in_its_order(client: MakeClient, server: Server) -> None:
    """Other keys of metaData keep their place and a new message goes last, so a repeat has the same bytes."""
    passkit = client(message_key="promo")
    await passkit.push(MEMBER, "Grüße 🎉", {"b": "2", "a": "1"})
    await passkit.push(MEMBER, "Grüße 🎉", {"b": "2", "promo": "old", "a": "1"})
    await passkit.push(MEMBER, "Grüße 🎉", {"b": "2", "promo": "Grüße 🎉", "a": "1"})
    await passkit.push(MEMBER, "Grüße 🎉", None)

    maps = [list(request.json["metaData"].items()) for request in server.requests]
    assert maps[0] == [("b", "2"), ("a", "1"), ("promo", "Grüße 🎉")]
    assert maps[1] == [("b", "2"), ("promo", "Grüße 🎉"), ("a", "1")]
    assert server.requests[1].body == server.requests[2].body
    assert maps[3] == [("promo", "Grüße 🎉")]


async def test_the_map_handed_in_is_not_changed(client: MakeClient) -> None:
    """The caller's map stays as it was read."""
    metadata = {"a": "1"}
    await client().push(MEMBER, "Hello", metadata)
    assert metadata == {"a": "1"}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.REJECTED),
        (401, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (404, Verdict.NOT_FOUND),
        (407, Verdict.RETRY),
        (408, Verdict.RETRY),
        (409, Verdict.REJECTED),
        (418, Verdict.REJECTED),
        (429, Verdict.THROTTLED),
        (500, Verdict.SERVER_ERROR),
        (501, Verdict.REJECTED),
        (502, Verdict.RETRY),
        (503, Verdict.RETRY),
        (504, Verdict.RETRY),
        (520, Verdict.RETRY),
    ],
)
async def test_a_status_means_one_thing(
    client: MakeClient, server: Server, status: int, verdict: Verdict
) -> None:
    """Each status gives one verdict and keeps PassKit's words."""
    server.script = lambda _: Reply(status, {"error": "the reason"})
    answer = await client().push(MEMBER, "Hello", None)

    assert answer == Answer(verdict, status, f"PassKit answered {status}: the reason")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "plain"}, "plain"),
        ({"message": "first", "error": "second", "code": 5, "details": []}, "first"),
        ({"error": {"code": 5, "message": "nested"}}, "nested"),
        (b"not json at all", "not json at all"),
        (b"<html><body>nginx</body></html>", "an HTML page"),
        (b'["a list"]', '["a list"]'),
        (b"two\r\nlines\x00\x1b[31m\xe2\x80\xaered", "two lines [31m red"),
    ],
)
async def test_error_texts_in_any_shape(client: MakeClient, server: Server, body: Any, text: str) -> None:
    """Whatever shape an error has, its sentence reaches the person, on one printable line."""
    server.script = lambda _: Reply(400, body)
    answer = await client().push(MEMBER, "Hello", None)
    assert answer.detail == f"PassKit answered 400: {text}"


async def test_an_empty_error_still_says_something(client: MakeClient, server: Server) -> None:
    """An error without a body is told by its number."""
    server.script = lambda _: Reply(404, b"")
    assert (await client().push(MEMBER, "Hello", None)).detail == "PassKit answered 404"


async def test_long_errors_are_cut(client: MakeClient, server: Server) -> None:
    """A detail never exceeds 300 characters."""
    server.script = lambda _: Reply(400, {"error": "x" * 5000})
    detail = (await client().push(MEMBER, "Hello", None)).detail
    assert len(detail) == 300
    assert detail.endswith("…")


@pytest.mark.parametrize("kind", ["signed", "long-lived"])
async def test_secrets_never_show(client: MakeClient, server: Server, kind: str) -> None:
    """A server that echoes our headers or secrets does not get them into our tables."""
    secret = "s3cr3t-of-passkit"
    given = Credentials("key", secret) if kind == "signed" else Credentials(token=secret)
    server.script = lambda request: Reply(400, {"error": f"bad: {request.token} {secret}"})
    passkit = client(credentials=given)
    detail = (await passkit.push(MEMBER, "Hello", None)).detail

    assert secret not in detail
    assert server.requests[0].token not in detail
    assert secret not in repr(given)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'"ok"', b"<html>hotel wifi</html>", b'{"error":"half done"}']
)
async def test_a_success_nobody_can_read_is_repeated(client: MakeClient, server: Server, body: Any) -> None:
    """A 200 with a body that is not PassKit's does not count as sent."""
    server.script = lambda _: Reply(200, body)
    answer = await client().push(MEMBER, "Hello", None)
    assert (answer.verdict, answer.http_status, answer.answered) == (Verdict.RETRY, 200, True)


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "7", 7.0),
        (429, "0.25", 0.25),
        (429, "", None),
        (429, "soon", None),
        (429, "-5", None),
        (429, "9" * 400, None),
        (429, "9" * 40, 86_400.0),
        (503, "3", 3.0),
        (429, "Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        (429, "Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
    ],
)
async def test_retry_after_is_kept(
    client: MakeClient, server: Server, status: int, header: str, seconds: float | None
) -> None:
    """Retry-After is handed on in seconds, as a date too, measured on PassKit's own clock."""
    headers = {"Retry-After": header, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.script = lambda _: Reply(status, {"error": "slow down"}, headers)
    answer = await client().push(MEMBER, "Hello", None)
    assert answer.retry_after == seconds
    assert answer.verdict is (Verdict.THROTTLED if status == 429 else Verdict.RETRY)


async def test_nobody_listens(client: MakeClient) -> None:
    """PassKit down: retried, and told apart from an answer."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        passkit = client(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        answer = await passkit.push(MEMBER, "Hello", None)
    assert (answer.verdict, answer.http_status, answer.answered) == (Verdict.RETRY, None, False)
    assert answer.detail.startswith("PassKit could not be reached: ")


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"',
        b"HELLO THERE\r\n\r\n",
    ],
)
async def test_cut_connections_are_retried(client: MakeClient, server: Server, wire: bytes) -> None:
    """A connection that ends early, or an answer that is not HTTP, counts as no answer and is retried."""
    server.script = lambda _: Reply(raw=wire, cut=True)
    answer = await client().push(MEMBER, "Hello", None)
    assert (answer.verdict, answer.http_status, answer.answered) == (Verdict.RETRY, None, False)
    assert len(server.requests) == 1


async def test_cut_before_the_request_is_read(client: MakeClient, server: Server) -> None:
    """A server that hangs up at once is retried by the engine, not here."""
    server.refuse_reading = True
    answer = await client().push(MEMBER, "Hello", None)
    assert (answer.verdict, answer.answered) == (Verdict.RETRY, False)


async def test_no_silent_repeat_on_a_kept_connection(client: MakeClient, server: Server) -> None:
    """A kept connection that breaks on the next request costs one request, not two: each has a rate slot."""
    passkit = client()
    assert (await passkit.push(MEMBER, "One", None)).verdict is Verdict.SENT
    server.script = lambda _: Reply(raw=b"", cut=True)
    answer = await passkit.push(MEMBER, "Two", None)
    assert (answer.verdict, answer.answered) == (Verdict.RETRY, False)
    assert [request.json["metaData"]["marketingMessage"] for request in server.requests] == ["One", "Two"]
    server.script = lambda _: Reply()
    assert (await passkit.push(MEMBER, "Three", None)).verdict is Verdict.SENT


@pytest.mark.parametrize("how", ["silent", "drip", "half"])
async def test_slow_answers_end_at_the_deadline(client: MakeClient, server: Server, how: str) -> None:
    """No answer, an answer byte by byte, or half an answer: all end when the time is up."""
    half = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"id"'
    server.script = lambda _: {
        "silent": Reply(raw=b"", hang=True),
        "drip": Reply(drip=True),
        "half": Reply(raw=half, hang=True),
    }[how]
    passkit = client(timeout=0.4)
    answer = await asyncio.wait_for(passkit.push(MEMBER, "Hello", None), 10)
    assert answer == Answer(Verdict.RETRY, None, "PassKit did not answer within 0.4 seconds", answered=False)


@pytest.mark.parametrize("status", [200, 400, 429])
async def test_huge_answers_are_not_read_to_their_end(
    client: MakeClient, server: Server, status: int
) -> None:
    """An endless answer does not fill the memory, and its status counts."""
    endless = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    server.script = lambda _: Reply(raw=endless + b"200000\r\n" + b" " * 0x110000, hang=True)
    answer = await client(timeout=60.0).push(MEMBER, "Hello", None)
    expected = {200: Verdict.RETRY, 400: Verdict.REJECTED, 429: Verdict.THROTTLED}[status]
    assert (answer.verdict, answer.http_status) == (expected, status)


async def test_redirects_are_not_followed(client: MakeClient, server: Server) -> None:
    """A redirect, which would carry the token elsewhere, is not followed; the pass is tried again."""
    server.script = lambda _: Reply(302, b"", {"Location": f"{server.url}/elsewhere"})
    answer = await client().push(MEMBER, "Hello", None)
    assert (answer.verdict, answer.http_status) == (Verdict.RETRY, 302)
    assert "redirect" in answer.detail
    assert len(server.requests) == 1


async def test_cookies_are_not_kept(client: MakeClient, server: Server) -> None:
    """A cookie of a load balancer is not sent back."""
    server.script = lambda _: Reply(headers={"Set-Cookie": "lb=1; Path=/"})
    passkit = client()
    await passkit.push(MEMBER, "One", None)
    await passkit.push(MEMBER, "Two", None)
    assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        (Recipient("p", "FLIGHT", "abc", None, None), "FLIGHT"),
        (Recipient("p", "MEMBERSHIP", None, None, "prog"), "neither"),
        (Recipient("p", "MEMBERSHIP", "", "", "prog"), "neither"),
        (Recipient("p", "COUPON", None, "c-1", None), "program"),
        (Recipient("p", "MEMBERSHIP", "..", None, "prog"), "not one"),
    ],
)
async def test_a_pass_nobody_can_name(
    client: MakeClient, server: Server, recipient: Recipient, words: str
) -> None:
    """A pass without usable identifiers is rejected with a reason, and nothing leaves the machine."""
    passkit = client()
    answer = await passkit.push(recipient, "Hello", None)
    assert (answer.verdict, answer.http_status, answer.answered) == (Verdict.REJECTED, None, False)
    assert words in answer.detail
    assert await passkit.read_metadata([recipient]) == {"p": answer}
    assert server.requests == []


async def test_text_that_json_cannot_carry(client: MakeClient, server: Server) -> None:
    """Half a character is rejected before anything leaves."""
    answer = await client().push(MEMBER, "half \ud83c", None)
    assert (answer.verdict, answer.answered) == (Verdict.REJECTED, False)
    assert server.requests == []


async def test_a_slot_is_taken_before_every_request(client: MakeClient, server: Server) -> None:
    """Updates, reads, probes and the repeat with a new token all take their rate slot first."""
    seen: list[int] = []

    class Slots(Unpaced):
        def take_slot(self) -> None:
            seen.append(len(server.requests))

    passkit = client(caller=Slots())
    await passkit.push(MEMBER, "Hello", None)
    await passkit.probe()
    server.script = lambda _: Reply(401, {"error": "jwt was issued too long ago"})
    await passkit.push(MEMBER, "Hello", None)
    server.script = lambda _: Reply(501, {"error": "Method Not Allowed"})
    await passkit.read_metadata([MEMBER])
    assert seen == list(range(6))
    assert len(server.requests) == 6


async def test_what_the_slot_raises_comes_through(client: MakeClient, server: Server) -> None:
    """A daemon that stops while it waits for a slot gets its own error back, from reads as well."""

    class Stopping(Exception):
        pass

    class Stopped(Unpaced):
        async def wait(self) -> None:
            raise Stopping

        def take_slot(self) -> Awaitable[None]:  # type: ignore[override]
            return self.wait()

    for passkit, caller in (client(caller=Stopped()), None), (client(), Stopped()):
        with pytest.raises(Stopping):
            await passkit.push(MEMBER, "Hello", None, caller)
        with pytest.raises(Stopping):
            await passkit.read_metadata([MEMBER], caller)
    assert server.requests == []


async def test_never_more_in_flight_than_allowed(client: MakeClient, server: Server) -> None:
    """With room for three, a fourth request waits."""
    full, go = asyncio.Event(), asyncio.Event()

    async def script(_: Any) -> Any:
        if server.in_flight == 3:
            full.set()
        await go.wait()
        return Reply()

    server.script = script
    passkit = client(concurrency=3)
    pushes = [asyncio.create_task(passkit.push(MEMBER, str(n), None)) for n in range(9)]
    await asyncio.wait_for(full.wait(), 10)
    go.set()
    assert {(await push).verdict for push in pushes} == {Verdict.SENT}
    assert server.most_in_flight == 3


async def test_a_cancelled_push_leaves_a_working_client(client: MakeClient, server: Server) -> None:
    """After a request was cut, as by a second signal, the next one succeeds."""
    arrived = asyncio.Event()

    def script(_: Any) -> Any:
        arrived.set()
        return Reply(raw=b"", hang=True)

    server.script = script
    passkit = client(concurrency=1)
    push = asyncio.create_task(passkit.push(MEMBER, "One", None))
    await asyncio.wait_for(arrived.wait(), 10)
    push.cancel()
    with pytest.raises(asyncio.CancelledError):
        await push
    server.script = lambda _: Reply()
    assert (await passkit.push(MEMBER, "Two", None)).verdict is Verdict.SENT


async def test_connections_are_kept(client: MakeClient, server: Server) -> None:
    """One after the other, requests share one connection."""
    passkit = client()
    for n in range(5):
        await passkit.push(MEMBER, str(n), None)
    assert server.connections == 1


async def test_a_base_url_with_a_path(client: MakeClient, server: Server) -> None:
    """A gateway in front of PassKit may add a path."""
    await client(base_url=f"{server.url}/passkit/").push(MEMBER, "Hello", None)
    assert server.requests[0].path == "/passkit/members/member"


@pytest.mark.parametrize("url", ["api.pub1.passkit.io", "ftp://host", "https://", "https://host/?a=b", ""])
def test_a_bad_base_url_is_told_at_once(url: str) -> None:
    """A URL that cannot work is refused when the daemon starts."""
    with pytest.raises(ValueError, match="must look like"):
        PassKit(url, Credentials(token="t"))


async def test_numbers_in_the_map_come_from_nowhere(client: MakeClient, server: Server) -> None:
    """What is sent as metaData is a JSON object of texts."""
    await client().push(MEMBER, "1", {"n": "2"})
    assert orjson.loads(server.requests[0].body)["metaData"] == {"n": "2", "marketingMessage": "1"}
