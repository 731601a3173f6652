"""A bad day at PassKit: every fault of the sandbox, alone and mixed, on reads and writes, and whole outages.

No member missed, no phone buzzed twice, the other keys of a record never wiped, an audience never failed; and how many
calls it cost. The least is one call per pass, and with `merge` one list per chunk.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from passbell.devkit.demo.members import passkit_records
from support.law import Law
from support.processes import Sandbox
from support.proxy import Proxy
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import MakeDatabase, Report
    from support.scene import Scene

PASSES = 1_000 if LONG else 120
CHUNK = 100
SHARE = 0.2
"""Of all calls that a fault hits."""

FAULTS: dict[str, dict[str, Any]] = {
    "503": {"kind": "unavailable", "seconds": 0.001},
    "503 bursts": {"kind": "unavailable", "seconds": 0.25},
    "429": {"kind": "too_many"},
    "429 with Retry-After": {"kind": "too_many", "retry_after": 1},
    "500": {"kind": "error"},
    "502": {"kind": "status", "status": 502, "error": "Bad Gateway"},
    "401": {"kind": "unauthorized"},
    "slow": {"kind": "slow", "seconds": 0.2},
    "drip": {"kind": "drip", "seconds": 0.01},
    "cut before": {"kind": "cut_before"},
    "cut after": {"kind": "cut_after"},
    "cut during": {"kind": "cut_during"},
    "timeout": {"kind": "timeout"},
    "malformed": {"kind": "malformed"},
}
# One call of five opens the breaker or a pause for everybody: hardly more than an attempt a second is left.
HALTING = {"429": 300, "503 bursts": 100, "429 with Retry-After": 100, "401": 30}
PROMISE = "lost 0, buzzed twice 0, failed 0, nothing else in a record wiped"


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def nothing_wiped(scene: Scene) -> None:
    """What the platform itself keeps in the records' metaData is still there."""
    records = list(passkit_records(scene.conn))
    for record in random.sample(records, min(200, len(records))):
        now = scene.remote.record(record.passkit_id)["record"]["metaData"]
        kept = {key: text for key, text in now.items() if key != "marketingMessage"}
        assert kept == {key: text for key, text in record.meta_data.items() if key != "marketingMessage"}


def cost(scene: Scene, passes: int, *, merge: bool) -> str:
    """How many calls were made for each push, and the least that it takes."""
    calls = scene.remote.overview()["calls"]
    least = passes + (math.ceil(passes / CHUNK) if merge else 0)
    return f"{passes} passes, {calls / passes:.2f} calls each (least {least / passes:.2f})"


def run(
    scene: Scene, report: Report, scenario: str, *faults: dict[str, Any], count: int = PASSES, **settings: Any
) -> None:
    """A campaign under these faults, and the proof."""
    program = scene.plain(count)
    for fault in faults:
        scene.remote.fault(**fault)
    merge = settings.setdefault("METADATA", "merge") == "merge"
    settings = {"REQUEST_TIMEOUT": 1, "MAX_ATTEMPTS": 10, "CHUNK_SIZE": CHUNK, **settings}
    with Law(scene.url), scene.daemon(**settings):
        campaign = scene.campaign(program, "Hello")
        scene.until(campaign, deadline=1_200 if LONG else 90)
    scene.everybody_once(campaign, passes(scene), "Hello")
    if merge:
        nothing_wiped(scene)
    report(f"PassKit's faults, {scenario}", PROMISE, cost(scene, count, merge=merge))


# ── each alone, all together ────────────────────────────────────

# The others are in the mixture; alone they take part in the long form only.
ALONE = list(FAULTS) if LONG else ["503 bursts"]


@pytest.mark.parametrize("metadata", ["merge", "replace"] if LONG else ["merge"])
@pytest.mark.parametrize("name", ALONE)
def test_no_single_fault_loses_or_doubles_anybody(
    scene: Scene, report: Report, name: str, metadata: str
) -> None:
    """If 20 % of all calls fail in one way, each phone buzzes exactly once."""
    count = min(PASSES, HALTING.get(name, PASSES)) if LONG else 40
    fault = {**FAULTS[name], "probability": SHARE}
    run(scene, report, f"{name} at 20 %, {metadata}", fault, count=count, METADATA=metadata)


@pytest.mark.parametrize("metadata", ["merge", "replace"] if LONG else ["merge"])
def test_all_faults_together_lose_and_double_nobody(scene: Scene, report: Report, metadata: str) -> None:
    """20 % of all calls fail, each in another way."""
    names = [name for name in FAULTS if LONG or name not in HALTING]
    faults = [{**FAULTS[name], "probability": SHARE / len(names)} for name in names]
    run(scene, report, f"all mixed, 20 %, {metadata}", *faults, METADATA=metadata)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in HALTING] if LONG else ["500"])
def test_reads_that_fail_lose_nothing(scene: Scene, report: Report, name: str) -> None:
    """If every second list of records fails, no record loses its other keys."""
    fault = {**FAULTS[name], "probability": 0.5, "method": "POST"}
    run(scene, report, f"{name} at 50 % of the lists", fault, CHUNK_SIZE=20)


def test_reads_one_by_one_that_fail_lose_nothing(scene: Scene, report: Report) -> None:
    """If records are read one by one under all faults at once, no member is missed."""
    scene.remote.options(filter_by_id=False)
    names = [name for name in FAULTS if name not in HALTING]
    faults = [{**FAULTS[name], "probability": SHARE / len(names), "method": "GET"} for name in names]
    try:
        run(scene, report, "all mixed, 20 % of single reads", *faults, count=PASSES if LONG else 60)
    finally:
        scene.remote.options(filter_by_id=True)


# ── what never heals ────────────────────────────────────────────


def test_passes_that_never_work_fail_alone_and_a_retry_reaches_them(scene: Scene, report: Report) -> None:
    """500 for ever, hanging up for ever, 20 % of the records: those fail with the reason, the others get theirs.

    When it has healed, a retry reaches exactly those, with the same words.
    """
    program = scene.plain(PASSES)
    everybody = sorted(passes(scene))
    broken = everybody[: len(everybody) // 10]
    hanging = everybody[-len(everybody) // 10 :]
    for kind, victims in (("error", broken), ("cut_before", hanging)):
        scene.remote.fault(kind, records=list(scene.records(victims).values()), method="PUT")
    with Law(scene.url), scene.daemon(MAX_ATTEMPTS=2, CHUNK_SIZE=CHUNK):
        campaign = scene.campaign(program)
        order = scene.until(campaign, deadline=120)
        bad = {*broken, *hanging}
        ledger = scene.ledger(campaign)
        assert {one for one, what in ledger.items() if what == "attempts_exhausted"} == bad
        assert (order["sent_count"], order["failed_count"]) == (PASSES - len(bad), len(bad))
        # Two attempts of three requests each.
        assert len(scene.remote.calls(status=500)) == 6 * len(broken)
        wasted = scene.remote.overview()["calls"] - PASSES
        scene.remote.faults_off()
        scene.verb("retry_failed", campaign)
        scene.until(campaign)
    scene.until_quiet(0.1)
    seen = scene.remote.summary()
    assert (seen["phonesBuzzed"], seen["buzzedMore"]) == (PASSES, 0)
    assert scene.order(campaign)["sent_count"] == PASSES
    report(
        "PassKit's faults, 20 % of the records never heal",
        "only those fail, a retry reaches them",
        f"{len(bad)} of {PASSES} failed and reached later; {wasted / len(bad):.1f} calls wasted on each",
    )


def test_random_404s_fail_those_passes_and_a_retry_reaches_them(scene: Scene, report: Report) -> None:
    """If 20 % of calls answer 404, those passes fail, and a retry reaches them."""
    program = scene.plain(PASSES)
    scene.remote.fault("wrong_region", probability=SHARE, method="PUT")
    with Law(scene.url), scene.daemon(CHUNK_SIZE=CHUNK):
        campaign = scene.campaign(program, "Hello")
        order = scene.until(campaign, "PAUSED", "COMPLETED")
        ledger = scene.ledger(campaign)
        assert order["status"] == "COMPLETED", order
        assert set(ledger.values()) == {"sent", "not_found"}
        failed = order["failed_count"]
        scene.remote.faults_off()
        scene.verb("retry_failed", campaign)
        scene.until(campaign)
    order = scene.order(campaign)
    assert (order["sent_count"], order["failed_count"]) == (PASSES, 0)
    seen = scene.remote.summary(text="Hello")
    assert (seen["phonesBuzzed"], seen["buzzedMore"], seen["wrongText"]) == (PASSES, 0, 0)
    report(
        "PassKit's faults, 404 at 20 %",
        "exactly those fail, a retry reaches them",
        f"{failed} of {PASSES} failed and reached later; {cost(scene, PASSES, merge=True)}",
    )


# ── trouble of the whole account ────────────────────────────────

REGIONS = [{"METADATA": "replace"}, {"RATE_PER_SECOND": 40}]


@pytest.mark.parametrize("settings", REGIONS if LONG else REGIONS[:1], ids=str)
def test_a_wrong_region_pauses_the_campaign_by_itself(
    scene: Scene, report: Report, settings: dict[str, Any]
) -> None:
    """If every pass is 404, the campaign pauses and fails none; once corrected, a resume reaches all."""
    program = scene.plain(80)
    fault = scene.remote.fault("wrong_region")["number"]
    with scene.daemon(**settings):
        campaign = scene.campaign(program)
        order = scene.until(campaign, "PAUSED", "COMPLETED")
        assert (order["status"], order["failed_count"]) == ("PAUSED", 0), order
        assert "region" in order["status_detail"]
        wasted = scene.until_quiet(0.5)
        assert scene.order(campaign)["failed_count"] == 0
        assert not scene.violations()
        scene.remote.faults_off(fault)
        scene.verb("resume", campaign)
        scene.until(campaign)
    scene.everybody_once(campaign, passes(scene))
    report("PassKit's faults, wrong region", "paused by itself, failed 0", f"after {wasted} pushes in vain")


def test_refused_credentials_for_a_while_fail_nobody(scene: Scene, report: Report) -> None:
    """401 for a minute in the middle of a campaign: it says why, hardly asks meanwhile, and goes on by itself."""
    seconds = 60.0 if LONG else 2.0
    count = 2_000 if LONG else 300
    program = scene.plain(count)
    with Law(scene.url), scene.daemon(MAX_ATTEMPTS=2, RATE_PER_SECOND=200):
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 60)
        scene.remote.fault("unauthorized", duration=seconds)
        wait_until(lambda: "401" in (scene.order(campaign)["status_detail"] or ""), "it says why")
        assert scene.order(campaign)["failed_count"] == 0
        order = scene.until(campaign, deadline=120)
    assert order["failed_count"] == 0
    scene.everybody_once(campaign, passes(scene), "Hello")
    refused = len(scene.remote.calls(status=401))
    report(
        f"PassKit's faults, 401 for {seconds:g} s",
        PROMISE,
        f"{refused} calls refused meanwhile, probes included",
    )


def test_a_lone_refusal_stops_nobody_else(scene: Scene, report: Report) -> None:
    """All faults mixed: one 401 now and then, from one of PassKit's nodes, held up everybody for 30 s each time."""
    count = 2_000 if LONG else 300
    program = scene.plain(count)
    scene.remote.fault("unauthorized", probability=0.02)
    with Law(scene.url), scene.daemon(REQUEST_TIMEOUT=1) as daemon:
        campaign = scene.campaign(program, "Hello")
        scene.until(campaign, deadline=120)
        opened = len(daemon.events("breaker_opened"))
    scene.everybody_once(campaign, passes(scene), "Hello")
    refused = len(scene.remote.calls(status=401))
    assert refused > opened
    assert opened <= refused // 4
    report(
        "PassKit's faults, 401 at 2 %", PROMISE, f"{refused} calls refused, the breaker opened {opened} times"
    )


def test_a_record_that_is_always_refused_fails_alone(scene: Scene) -> None:
    """403 for one record for ever: the campaign goes on and ends, no other pass waits for it."""
    program = scene.plain(120)
    (victim,) = sorted(passes(scene))[60:61]
    scene.remote.fault(
        "status", status=403, error="no", records=list(scene.records([victim]).values()), method="PUT"
    )
    with scene.daemon(MAX_ATTEMPTS=2) as daemon:
        campaign = scene.campaign(program)
        order = scene.until(campaign)
        assert not daemon.events("breaker_opened")
    assert (order["sent_count"], order["failed_count"]) == (119, 1)
    assert scene.ledger(campaign)[victim] == "attempts_exhausted"


OUTAGES = [("unavailable", 1)]
if LONG:
    OUTAGES = [
        (kind, audience) for kind in ("unavailable", "cut_before", "status") for audience in (1, 3, 500)
    ]


@pytest.mark.parametrize(("kind", "audience"), OUTAGES)
def test_an_outage_of_passkit_burns_nobody(scene: Scene, report: Report, audience: int, kind: str) -> None:
    """PassKit is away for some seconds: nothing is failed, the campaign says why and goes on by itself."""
    program = scene.plain(audience)
    rest = {"unavailable": {"seconds": 60}, "status": {"status": 504, "error": "Gateway Timeout"}}.get(
        kind, {}
    )
    fault = scene.remote.fault(kind, **rest)["number"]
    with scene.daemon(MAX_ATTEMPTS=2):
        campaign = scene.campaign(program, "Hello")
        wait_until(lambda: "does not answer" in (scene.order(campaign)["status_detail"] or ""), "it says why")
        calls = scene.remote.overview()["calls"]
        wait_until(lambda: scene.remote.overview()["calls"] > calls + 1, "it asks again now and then")
        assert scene.order(campaign)["failed_count"] == 0
        assert scene.value("select coalesce(max(attempt), 0) from passbell.chunks") == 0
        scene.remote.faults_off(fault)
        order = scene.until(campaign)
        assert order["failed_count"] == 0
    scene.everybody_once(campaign, passes(scene), "Hello")
    report(
        f"PassKit's faults, outage ({kind}), {audience} passes",
        PROMISE,
        f"{calls} calls until the breaker was open",
    )


def test_passkit_that_is_not_there_at_all_burns_nobody(scene: Scene) -> None:
    """If PassKit refuses connections for a while in a campaign, no pass is failed."""
    program = scene.plain(300)
    with (
        Proxy.before(scene.sandbox.url) as wire,
        scene.daemon(PASSKIT_URL=wire.url(scene.sandbox.url), MAX_ATTEMPTS=2),
    ):
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 50)
        wire.refuse()
        wait_until(lambda: "does not answer" in (scene.order(campaign)["status_detail"] or ""), "it says why")
        assert scene.order(campaign)["failed_count"] == 0
        wire.accept()
        scene.until(campaign)
    scene.everybody_once(campaign, passes(scene), "Hello")


def test_passkit_restarted_with_empty_hands_is_noticed(database: MakeDatabase, scene: Scene) -> None:
    """A PassKit without any of the records (a wrong account) pauses the campaign instead of failing all passes."""
    program = scene.plain(100)
    with Sandbox() as other, scene.daemon(PASSKIT_URL=other.url):
        campaign = scene.campaign(program)
        order = scene.until(campaign, "PAUSED", "COMPLETED")
        assert (order["status"], order["failed_count"]) == ("PAUSED", 0), order


@pytest.mark.parametrize("seconds", [120, -120] if LONG else [-120])
def test_a_clock_that_is_wrong_is_forgiven(scene: Scene, seconds: int) -> None:
    """PassKit's clock is two minutes off: tokens are signed by its clock, no pass is failed."""
    program = scene.plain(20)
    scene.remote.fault("clock_skew", seconds=seconds)
    with scene.daemon():
        campaign = scene.campaign(program, "Hello")
        assert scene.until(campaign)["sent_count"] == 20
