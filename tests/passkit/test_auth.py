"""Tokens that PassKit accepts, and clocks that are wrong."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from structlog.testing import capture_logs

from passbell.passkit import Credentials, Recipient, Verdict
from support.scripted import MakeClient, Reply, Request, Script, Server

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBER = Recipient("p1", "MEMBERSHIP", "abc", None, None)
SECRET = "a secret of PassKit, any length"


class Clock:
    """A clock that a test sets."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead
        self.at: float | None = None

    def __call__(self) -> float:
        """Our unix seconds."""
        return (time.time() if self.at is None else self.at) + self.ahead


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token, SECRET.ljust(32), ["HS256"], options={"verify_signature": False}
    )
    return claims


def gatekeeper(now: Callable[[], float] = time.time) -> Script:
    """PassKit's own rules about the age of a token."""

    def script(request: Request) -> Reply:
        claims = claims_of(request.token)
        if claims["iat"] > now():
            return Reply(401, {"error": "Token used before issued"})
        if now() - claims["iat"] >= 60:
            return Reply(401, {"error": "jwt was issued too long ago"})
        return Reply()

    return script


@pytest.mark.parametrize("secret", [SECRET, "short"])
async def test_token_is_signed_as_passkit_wants_it(client: MakeClient, server: Server, secret: str) -> None:
    """The header is a bare HS256 JWT of key and secret that began ten seconds ago and lasts a minute."""
    clock = Clock()
    clock.at = time.time()
    await client(credentials=Credentials("the-key", secret), clock=clock).push(MEMBER, "Hello", None)

    token = server.requests[0].token
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert claims_of(token) == {"uid": "the-key", "iat": int(clock.at) - 10, "exp": int(clock.at) + 50}
    head, _, signature = token.rpartition(".")
    algorithm = jwt.get_algorithm_by_name("HS256")
    assert algorithm.verify(head.encode(), secret.encode(), jwt.utils.base64url_decode(signature))


async def test_tokens_are_reused_for_seconds_only(client: MakeClient, server: Server) -> None:
    """A token serves for up to five seconds and never outlives a clock that is set back."""
    clock = Clock()
    clock.at = 1_800_000_000.0
    passkit = client(clock=clock)
    for step in (0.0, 4.9, 0.2, -30.0):
        clock.at += step
        await passkit.push(MEMBER, "Hello", None)
    issued = [claims_of(request.token)["iat"] - 1_800_000_000 for request in server.requests]
    assert issued == [-10, -10, -5, -35]


async def test_long_lived_token(client: MakeClient, server: Server) -> None:
    """A long-lived token travels as Bearer, and a 401 is final: there is nothing to sign again."""
    server.script = lambda _: Reply(401, {"error": "jwt was issued too long ago"})
    answer = await client(credentials=Credentials(token="opaque")).push(MEMBER, "Hello", None)
    assert [request.token for request in server.requests] == ["Bearer opaque"]
    assert answer.verdict is Verdict.REFUSED


@pytest.mark.parametrize("given", [{}, {"api_key": "k"}, {"api_secret": "s"}, {"api_key": "", "token": ""}])
def test_half_credentials_are_refused(given: dict[str, str]) -> None:
    """A key without a secret is told when the daemon starts, not by a 401 in the night."""
    with pytest.raises(ValueError, match="API key and its secret"):
        Credentials(**given)


@pytest.mark.parametrize("ahead", [-300.0, -55.0, 30.0, 3600.0])
async def test_a_wrong_clock_is_corrected_by_passkits(
    client: MakeClient, server: Server, ahead: float
) -> None:
    """With our clock minutes wrong, the first 401 teaches the time and all later messages go through."""
    server.script = gatekeeper()
    passkit = client(clock=Clock(ahead))
    with capture_logs() as logs:
        answers = [await passkit.push(MEMBER, "Hello", None) for _ in range(3)]

    assert [answer.verdict for answer in answers] == [Verdict.SENT] * 3
    assert len(server.requests) == 4
    assert passkit.clock_skew == pytest.approx(ahead, abs=2.5)
    assert [log["event"] for log in logs] == ["clock_skew"]
    assert logs[0]["seconds"] == pytest.approx(ahead, abs=2.5)


async def test_a_clock_that_jumps_later_is_corrected_too(client: MakeClient, server: Server) -> None:
    """A correction that has become wrong is replaced by a new one."""
    server.script = gatekeeper()
    clock = Clock(600.0)
    passkit = client(clock=clock)
    assert (await passkit.push(MEMBER, "One", None)).verdict is Verdict.SENT
    clock.ahead = 0.0
    assert (await passkit.push(MEMBER, "Two", None)).verdict is Verdict.SENT
    clock.ahead = -600.0
    assert (await passkit.push(MEMBER, "Three", None)).verdict is Verdict.SENT


async def test_signed_again_only_once(client: MakeClient, server: Server) -> None:
    """A server that finds every token too old gets two of them, and then the account is refused."""
    server.script = lambda _: Reply(401, {"error": "jwt was issued too long ago"})
    answer = await client().push(MEMBER, "Hello", None)
    assert answer.verdict is Verdict.REFUSED
    assert len(server.requests) == 2


@pytest.mark.parametrize("text", ["illegal base64 data at input byte 6", "unknown key", ""])
async def test_other_401s_are_not_repeated(client: MakeClient, server: Server, text: str) -> None:
    """Wrong credentials are not tried twice."""
    server.script = lambda _: Reply(401, {"error": text})
    assert (await client().push(MEMBER, "Hello", None)).verdict is Verdict.REFUSED
    assert len(server.requests) == 1


async def test_without_a_date_the_token_is_still_fresh(client: MakeClient, server: Server) -> None:
    """A 401 about time without a Date header is answered with a new token on our own clock."""
    answers = [Reply(401, {"error": "jwt was issued too long ago"}, {"Date": ""}), Reply()]
    server.script = lambda _: answers.pop(0)
    assert (await client().push(MEMBER, "Hello", None)).verdict is Verdict.SENT


async def test_skew_is_zero_with_a_right_clock(client: MakeClient, server: Server) -> None:
    """Rounding of the Date header and a slow answer never look like a wrong clock."""

    async def slow(_: Any) -> Any:
        await asyncio.sleep(0.3)
        return Reply()

    passkit = client()
    for _ in range(5):
        await passkit.push(MEMBER, "Hello", None)
    server.script = slow
    await passkit.push(MEMBER, "Hello", None)
    assert passkit.clock_skew == pytest.approx(0.0, abs=0.05)


async def test_small_skew_is_measured_and_not_reported(client: MakeClient) -> None:
    """Four seconds of skew are known to `passbell check`, and no alert is raised."""
    passkit = client(clock=Clock(4.0))
    with capture_logs() as logs:
        await passkit.push(MEMBER, "Hello", None)
    assert passkit.clock_skew == pytest.approx(3.5, abs=1.0)
    assert logs == []


async def test_large_skew_is_reported_once(client: MakeClient, server: Server) -> None:
    """A wrong clock is told once, not with every message."""
    passkit = client(clock=Clock(8.0))
    clock = Clock()
    server.now = clock
    with capture_logs() as logs:
        for second in range(4):
            clock.ahead = second / 100
            await passkit.push(MEMBER, "Hello", None)
    assert [log["event"] for log in logs] == ["clock_skew"]


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Foo 2015 07:28:00 GMT"])
async def test_bad_dates_are_ignored(client: MakeClient, server: Server, date: str) -> None:
    """A missing or broken Date header teaches nothing."""
    server.script = lambda _: Reply(headers={"Date": date})
    passkit = client()
    assert (await passkit.push(MEMBER, "Hello", None)).verdict is Verdict.SENT
    assert passkit.clock_skew == 0.0


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (404, Verdict.SENT),
        (400, Verdict.SENT),
        (200, Verdict.SENT),
        (401, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (429, Verdict.THROTTLED),
        (500, Verdict.SERVER_ERROR),
        (501, Verdict.REJECTED),
        (503, Verdict.RETRY),
        (302, Verdict.RETRY),
    ],
)
async def test_probe(client: MakeClient, server: Server, status: int, verdict: Verdict) -> None:
    """The probe asks for a member that cannot exist and tells whether PassKit is up and accepts the credentials."""
    server.script = lambda _: Reply(
        status, {"message": "member does not exist"} if status != 200 else {"id": ""}
    )
    answer = await client().probe()
    assert (answer.verdict, answer.http_status) == (verdict, status)
    (request,) = server.requests
    assert (request.method, request.path, request.body) == (
        "GET",
        "/members/member/id/0000000000000000000000",
        b"",
    )


async def test_probe_of_a_program(client: MakeClient, server: Server) -> None:
    """A probe of a program returns what PassKit says about it."""
    server.script = lambda _: Reply(404, {"error": "program [uuid:x] does not exist"})
    answer = await client().probe("pro g/1")
    assert answer.verdict is Verdict.SENT
    assert "program [uuid:x] does not exist" in answer.detail
    assert server.requests[0].path == "/members/member/externalId/pro%20g%2F1/0000000000000000000000"


async def test_probe_when_nobody_answers(client: MakeClient, server: Server) -> None:
    """A dead server is not well."""
    server.script = lambda _: Reply(raw=b"", cut=True)
    answer = await client().probe()
    assert (answer.verdict, answer.answered) == (Verdict.RETRY, False)
