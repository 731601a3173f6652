from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from passbell.devkit.sandbox.remote import AsyncRemote, SandboxError
from support.plain import plain_async_client

if TYPE_CHECKING:
    from passbell.devkit.sandbox import Sandbox

Push = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("members")


async def statuses(push: Push, times: int) -> list[int]:
    return [(await push("id-1", f"text {number}")).status_code for number in range(times)]


async def test_a_burst_of_503_recovers(remote: AsyncRemote, push: Push) -> None:
    """Once hit, every call is refused without a commit until the burst is over; then all is well."""
    await remote.fault("unavailable", count=1)
    refused = await push("id-1", "Hi")
    assert (refused.status_code, set(refused.json())) == (503, {"error"})
    began = time.monotonic()
    while (await push("id-1", "Hi")).status_code == 503:
        assert time.monotonic() - began < 5
    assert len(await remote.buzzes()) == 1


async def test_429_with_and_without_retry_after(remote: AsyncRemote, push: Push) -> None:
    """The header carries the seconds, or is absent."""
    fault = await remote.fault("too_many", retry_after=2)
    answer = await push("id-1", "Hi")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    await remote.faults_off(fault["number"])
    await remote.fault("too_many")
    answer = await push("id-1", "Hi")
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers


async def test_429_above_a_rate(remote: AsyncRemote, push: Push) -> None:
    """With `above`, only what exceeds so many calls in the last second is refused."""
    await remote.fault("too_many", above=3, method="PUT")
    assert 429 in await statuses(push, 8)
    assert (await remote.window(count="PUT"))["calls"] == 8
    assert [call["status"] for call in await remote.calls()][:3] == [200, 200, 200]


async def test_500_that_never_heals_for_some_records(remote: AsyncRemote, push: Push) -> None:
    """The fault `error` with `records` refuses those records at every try; the others are answered."""
    await remote.fault("error", records=["id-2"])
    assert [(await push(name, "Hi")).status_code for name in ("id-1", "id-2", "id-3", "id-2")] == [
        200,
        500,
        200,
        500,
    ]


async def test_any_status_can_be_given(remote: AsyncRemote, push: Push) -> None:
    """For example 502 with a text of its own, for a number of calls."""
    await remote.fault("status", status=502, error="bad gateway", count=2)
    assert await statuses(push, 3) == [502, 502, 200]


async def test_a_slow_answer_commits_first(remote: AsyncRemote, push: Push) -> None:
    """The phone buzzes at once, the answer comes later."""
    await remote.fault("slow", seconds=0.3, count=1)
    assert (await push("id-1", "Hi")).status_code == 200
    answered = time.monotonic()
    (buzz,) = await remote.buzzes()
    assert answered - buzz["time"] >= 0.3


async def test_a_drip_is_slow_but_whole(remote: AsyncRemote, push: Push) -> None:
    """Byte by byte, the answer arrives complete."""
    await remote.fault("drip", seconds=0.001)
    assert (await push("id-1", "Hi")).json() == {"id": "id-1"}


@pytest.mark.parametrize(("kind", "buzzes"), [("cut_before", 0), ("cut_after", 1), ("cut_during", 1)])
async def test_a_cut_connection(remote: AsyncRemote, push: Push, kind: str, buzzes: int) -> None:
    """`cut_before` stores nothing; after `cut_after` the phone has buzzed, and a repeat is silent."""
    await remote.fault(kind, count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await push("id-1", "Hi")
    assert len(await remote.buzzes()) == buzzes
    (call,) = await remote.calls()
    assert (call["status"], call["committed"]) == (0, buzzes == 1)
    assert (await push("id-1", "Hi")).status_code == 200
    assert len(await remote.buzzes()) == 1
    assert (await remote.repeats())["repeatedCalls"] == buzzes


async def test_a_time_out_after_acceptance(remote: AsyncRemote, sandbox: Sandbox) -> None:
    """The fault `timeout` stores the update and never answers."""
    await remote.fault("timeout")
    headers = {"Authorization": "Bearer sandbox-token"}
    body = {"id": "id-1", "metaData": {"marketingMessage": "Hi"}}
    async with plain_async_client(base_url=sandbox.url, headers=headers, timeout=0.2) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.put("/members/member", json=body)
    assert await remote.wait(buzzes=1)
    assert [buzz["text"] for buzz in await remote.buzzes()] == ["Hi"]


async def test_malformed_json(remote: AsyncRemote, push: Push) -> None:
    """The fault `malformed` answers 200 with a body that does not parse."""
    await remote.fault("malformed")
    answer = await push("id-1", "Hi")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        answer.json()


async def test_401_for_everybody_for_a_while(remote: AsyncRemote, push: Push) -> None:
    """Every call is refused while the fault lasts, and nothing is committed meanwhile."""
    lasting = await remote.fault("unauthorized", duration=3600)
    assert await statuses(push, 2) == [401, 401]
    await remote.faults_off(lasting["number"])
    assert (await push("id-1", "Hi")).status_code == 200
    assert len(await remote.buzzes()) == 1


async def test_a_401_ends_by_itself(remote: AsyncRemote, push: Push) -> None:
    """With a duration the fault is over without being switched off (`test_fault_times.py` has the moments)."""
    await remote.fault("unauthorized", duration=0.2)
    began = time.monotonic()
    while (await push("id-1", "Hi")).status_code == 401:
        assert time.monotonic() - began < 5
    assert len(await remote.buzzes()) == 1


async def test_401_for_old_tokens_only(remote: AsyncRemote, api: httpx.AsyncClient) -> None:
    """Tokens from before the fault are refused, also the long-lived one; a freshly signed one works."""
    await remote.fault("unauthorized", old_tokens=True)
    answer = await api.get("/members/member/id/id-1")
    assert answer.status_code == 401
    await remote.options(age_limit=0)
    now = int(time.time()) + 1
    while time.time() < now:
        await remote.overview()
    secret = "sandbox-secret".ljust(32, "\0")
    fresh = jwt.encode({"uid": "sandbox-key", "iat": now, "exp": now + 50}, secret, algorithm="HS256")
    answer = await api.get("/members/member/id/id-1", headers={"Authorization": fresh})
    assert answer.status_code == 200


async def test_the_wrong_region(remote: AsyncRemote, api: httpx.AsyncClient) -> None:
    """Credentials are accepted, then every object is unknown; bad credentials are still 401."""
    await remote.fault("wrong_region")
    assert (await api.get("/members/member/id/id-1")).status_code == 404
    assert (await api.post("/members/member/list/program-1", json={})).status_code == 404
    refused = await api.get("/members/member/id/id-1", headers={"Authorization": "nonsense"})
    assert refused.status_code == 401


async def test_faults_match_method_and_route(remote: AsyncRemote, api: httpx.AsyncClient, push: Push) -> None:
    """Only updates fail; reading goes on."""
    await remote.fault("error", method="PUT", route="/members/member")
    assert (await push("id-1", "Hi")).status_code == 500
    assert (await api.get("/members/member/id/id-1")).status_code == 200


async def test_a_fault_may_begin_later(remote: AsyncRemote, push: Push) -> None:
    """`after` seconds from now."""
    await remote.fault("error", after=600)
    assert (await push("id-1", "Hi")).status_code == 200


async def test_the_same_seed_gives_the_same_faults(remote: AsyncRemote, push: Push) -> None:
    """A run with probabilities can be made again."""
    runs = []
    for _ in range(2):
        await remote.reset("faults", seed=7)
        await remote.fault("error", probability=0.5)
        runs.append(await statuses(push, 20))
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}
    faults = await remote.call("GET /faults")
    assert faults["on"][0]["hits"] == runs[0].count(500)


async def test_a_fault_that_is_not_known_is_refused(remote: AsyncRemote) -> None:
    """The error lists the known kinds."""
    with pytest.raises(SandboxError, match="kind is one of unavailable, too_many"):
        await remote.fault("earthquake")
    with pytest.raises(SandboxError, match="a fault has no 'chance'"):
        await remote.fault("error", chance=1)
    with pytest.raises(SandboxError, match="cannot be 'often'"):
        await remote.fault("error", probability="often")


async def test_faults_do_not_touch_the_control_endpoint(remote: AsyncRemote) -> None:
    """However bad the day, the sandbox can be asked and healed."""
    for kind in ("cut_before", "timeout", "unauthorized"):
        await remote.fault(kind)
    assert (await remote.faults_off())["on"] == []
