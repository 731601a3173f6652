from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import jwt
import pytest

from support.plain import plain_async_client

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from passbell.devkit.sandbox import Sandbox
    from passbell.devkit.sandbox.remote import AsyncRemote

pytestmark = pytest.mark.usefixtures("members")


def token(
    secret: str = "sandbox-secret",  # noqa: S107 - the sandbox's own, known to everybody
    age: float = 5,
    life: float = 50,
    **claims: object,
) -> str:
    now = time.time()
    body = {"uid": "sandbox-key", "iat": int(now - age), "exp": int(now + life), **claims}
    return jwt.encode(body, secret.ljust(32, "\0"), algorithm="HS256")  # HMAC pads with zeros anyway


async def get(sandbox: Sandbox, header: str | None) -> httpx.Response:
    headers = {} if header is None else {"Authorization": header}
    async with plain_async_client() as client:
        return await client.get(f"{sandbox.url}/members/member/id/id-1", headers=headers)


@pytest.mark.parametrize("scheme", ["", "Bearer "])
async def test_a_signed_token_is_let_in(sandbox: Sandbox, scheme: str) -> None:
    """A fresh JWT is accepted bare and after Bearer."""
    assert (await get(sandbox, scheme + token())).status_code == 200


async def test_the_long_lived_token_needs_bearer(sandbox: Sandbox) -> None:
    """The long-lived token is accepted after Bearer and refused without."""
    assert (await get(sandbox, "Bearer sandbox-token")).status_code == 200
    assert (await get(sandbox, "sandbox-token")).status_code == 401


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (None, "authorization header is missing"),
        ("PKAuth abc", "illegal base64 data at input byte 6"),
        (lambda: token(age=60), "jwt was issued too long ago"),
        (lambda: token(age=-30), "Token used before issued"),
        (lambda: token(life=-1), "Token is expired"),
        (lambda: token(secret="another"), "signature is invalid"),
        (lambda: token(uid="somebody"), "api key is not known"),
        ("a.b.c", "token is malformed"),
        ("abc", "token contains an invalid number of segments"),
        (jwt.encode({"uid": "sandbox-key"}, "sandbox-secret".ljust(32, "\0")), "token lacks iat"),
        (jwt.encode({"uid": "sandbox-key"}, "x" * 64, algorithm="HS512"), "signing method is not HS256"),
    ],
)
async def test_a_bad_token_is_refused_with_a_reason(
    sandbox: Sandbox, header: str | Callable[[], str] | None, text: str
) -> None:
    """A bad token is 401 with the reason, in PassKit's words where they are known."""
    # A token is made now: the collection of a long session is minutes ago.
    answer = await get(sandbox, header() if callable(header) else header)
    assert answer.status_code == 401
    assert answer.json() == {"error": text}


async def test_the_limits_on_tokens_are_switches(sandbox: Sandbox, remote: AsyncRemote) -> None:
    """The age limit can be lifted, and a cap on the expiry switched on."""
    assert (await get(sandbox, token(age=600))).status_code == 401
    await remote.options(age_limit=0, exp_cap=60)
    assert (await get(sandbox, token(age=600))).status_code == 200
    assert (await get(sandbox, token(life=3600))).json() == {"error": "jwt expires too far in the future"}


async def test_every_answer_carries_the_date(sandbox: Sandbox, api: httpx.AsyncClient) -> None:
    """Successes, refusals and unknown paths tell the time, so a client can see its own clock's error."""
    for path in ("/members/member/id/id-1", "/members/member/id/nobody", "/nowhere"):
        date = parsedate_to_datetime((await api.get(path)).headers["date"])
        assert abs(date.timestamp() - time.time()) < 5
    assert "date" in (await get(sandbox, None)).headers


async def test_a_skewed_clock_shows_in_date_and_in_judgement(
    sandbox: Sandbox, remote: AsyncRemote, members: Callable[[int], str]
) -> None:
    """When PassKit's clock is 30 s behind, a token of now comes from its future, and Date says why."""
    assert members(1) == "id-1"
    await remote.fault("clock_skew", seconds=-30)
    answer = await get(sandbox, token())
    assert answer.json() == {"error": "Token used before issued"}
    date = parsedate_to_datetime(answer.headers["date"])
    assert 25 < time.time() - date.timestamp() < 35
    assert (await get(sandbox, token(age=40))).status_code == 200
