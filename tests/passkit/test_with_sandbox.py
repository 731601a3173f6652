"""The client and the sandbox together: phones ring, and nothing else on the record moves."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passbell.passkit import Answer, Credentials, PassKit, Recipient, Verdict

pytest.importorskip("passbell.devkit.sandbox.running")

from passbell.devkit.sandbox import Sandbox
from passbell.devkit.sandbox.remote import AsyncRemote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIGNED = Credentials("sandbox-key", "sandbox-secret")
PROTOCOLS = {"member": "MEMBERSHIP", "coupon": "COUPON", "ticket": "EVENT_TICKET"}
BENCH = Path(__file__).resolve().parents[2] / "bench"
EACH = 105  # more than one list request


def recipients(*, by_id: bool) -> list[Recipient]:
    """All records of the fixture `remote`, by PassKit id or by external id."""
    return [
        Recipient(f"{kind}-{n}", protocol, identity(kind, n) if by_id else None, f"{kind}{n}", owner(kind))
        for kind, protocol in PROTOCOLS.items()
        for n in range(EACH)
    ]


def identity(kind: str, n: int) -> str:
    """An id in PassKit's form."""
    return f"{kind}{n}".rjust(22, "0")


def owner(kind: str) -> str:
    """Id of the program, campaign or production."""
    return kind.rjust(22, "P")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def remote(sandbox: Sandbox) -> AsyncIterator[AsyncRemote]:
    """A sandbox with members, coupons and tickets, one phone each."""
    async with AsyncRemote(sandbox.url) as remote:
        await remote.seed(
            [
                {
                    "owner": owner(kind),
                    "kind": kind,
                    "id": identity(kind, n),
                    "externalId": f"{kind}{n}",
                    "metaData": {"n": str(n), "barcode": f"*{n}*"},
                }
                for kind in PROTOCOLS
                for n in range(EACH)
            ],
            [{"id": owner(kind), "kind": kind} for kind in PROTOCOLS],
        )
        yield remote


@pytest.mark.parametrize(
    ("by_id", "filter_by_id", "credentials"),
    [
        pytest.param(True, True, SIGNED, id="id"),
        pytest.param(True, False, SIGNED, id="id without lists"),
        pytest.param(False, True, Credentials(token="sandbox-token"), id="external id and token"),
    ],
)
async def test_every_phone_rings_once(
    sandbox: Sandbox,
    remote: AsyncRemote,
    http_client: str,
    *,
    by_id: bool,
    filter_by_id: bool,
    credentials: Credentials,
) -> None:
    """Each phone shows the text once, a repeat rings no phone, and the other keys of the record stay."""
    await remote.options(filter_by_id=filter_by_id)
    people = recipients(by_id=by_id)
    async with PassKit(sandbox.url, credentials, http_client=http_client) as passkit:
        assert (await passkit.probe()).verdict is Verdict.SENT
        for _ in range(2):
            maps = await passkit.read_metadata(people)
            pushes = [
                passkit.push(person, "Half price today", metadata)
                for person in people
                if isinstance(metadata := maps[person.pass_id], dict)
            ]
            assert await asyncio.gather(*pushes) == [Answer(Verdict.SENT, 200)] * len(people)
        assert abs(passkit.clock_skew) < 1

    summary = await remote.summary(text="Half price today")
    assert (summary["buzzes"], summary["buzzedOnce"], summary["wrongText"]) == (len(people),) * 2 + (0,)
    for kind in PROTOCOLS:
        record = (await remote.record(identity(kind, 7)))["record"]
        assert record["metaData"] == {"n": "7", "barcode": "*7*", "marketingMessage": "Half price today"}


async def test_lists_save_requests(sandbox: Sandbox, remote: AsyncRemote, http_client: str) -> None:
    """Members and coupons are read a hundred at a time, tickets one by one."""
    async with PassKit(sandbox.url, SIGNED, http_client=http_client) as passkit:
        await passkit.read_metadata(recipients(by_id=True))
    assert len(await remote.calls()) == 2 + 2 + EACH


@pytest.mark.parametrize(
    ("fault", "values", "verdict"),
    [
        ("unavailable", {"seconds": 60}, Verdict.RETRY),
        ("too_many", {"retry_after": 2}, Verdict.THROTTLED),
        ("error", {}, Verdict.SERVER_ERROR),
        ("cut_before", {}, Verdict.RETRY),
        ("cut_after", {}, Verdict.RETRY),
        ("cut_during", {}, Verdict.RETRY),
        ("drip", {}, Verdict.RETRY),
        ("timeout", {}, Verdict.RETRY),
        ("malformed", {}, Verdict.RETRY),
        ("unauthorized", {}, Verdict.REFUSED),
        ("clock_skew", {"seconds": 600}, Verdict.SENT),
        ("wrong_region", {}, Verdict.NOT_FOUND),
    ],
)
async def test_a_bad_day(
    sandbox: Sandbox,
    remote: AsyncRemote,
    http_client: str,
    *,
    fault: str,
    values: dict[str, Any],
    verdict: Verdict,
) -> None:
    """Every fault that the sandbox knows has the verdict it should; afterwards the same push rings once."""
    person = recipients(by_id=True)[0]
    await remote.fault(fault, **values)
    patience = 0.6 if fault in {"drip", "timeout"} else 30.0
    async with PassKit(sandbox.url, SIGNED, http_client=http_client, timeout=patience) as passkit:
        assert (await passkit.push(person, "Hello", {"n": "0"})).verdict is verdict
    await remote.faults_off()
    async with PassKit(sandbox.url, SIGNED, http_client=http_client) as passkit:
        assert (await passkit.push(person, "Hello", {"n": "0"})).verdict is Verdict.SENT
    assert (await remote.summary(text="Hello"))["buzzes"] == 1


async def test_the_benchmarks_sink_is_believed(monkeypatch: pytest.MonkeyPatch, http_client: str) -> None:
    """The benchmarks' server answers as PassKit does, so no request of theirs is a repeat."""
    monkeypatch.syspath_prepend(BENCH)
    sink = importlib.import_module("stand.sink").Sink
    with sink() as one:
        async with PassKit(one.url, SIGNED, http_client=http_client) as passkit:
            for by_id in (True, False):
                answers = [await passkit.push(person, "Hi", {}) for person in recipients(by_id=by_id)[::EACH]]
                assert {answer.verdict for answer in answers} == {Verdict.SENT}
