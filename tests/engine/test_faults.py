"""A bad day at PassKit: every fault of the sandbox, alone and mixed, and whole outages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.processes import Sandbox
from support.proxy import Proxy
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import MakeDatabase
    from support.scene import Scene

PASSES = 2_000 if LONG else 120
# "Every fault at 20 %": half of them leave the record changed although the client cannot know it.
FAULTS: dict[str, dict[str, Any]] = {
    "503": {"kind": "unavailable", "probability": 0.2, "seconds": 0.001},
    "503 bursts": {"kind": "unavailable", "probability": 0.02, "seconds": 0.25},
    "429": {"kind": "too_many", "probability": 0.2},
    "429 with Retry-After": {"kind": "too_many", "probability": 0.05, "retry_after": 1},
    "502": {"kind": "status", "probability": 0.2, "status": 502, "error": "Bad Gateway"},
    "slow": {"kind": "slow", "probability": 0.2, "seconds": 0.2},
    "drip": {"kind": "drip", "probability": 0.2, "seconds": 0.01},
    "cut before": {"kind": "cut_before", "probability": 0.2},
    "cut after": {"kind": "cut_after", "probability": 0.2},
    "cut during": {"kind": "cut_during", "probability": 0.2},
    "timeout": {"kind": "timeout", "probability": 0.05},
    "malformed": {"kind": "malformed", "probability": 0.2},
}
MIXED = [name for name in FAULTS if name not in {"429 with Retry-After", "503 bursts", "timeout", "slow"}]


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def run(scene: Scene, *names: str, share: float = 1.0, **settings: object) -> dict[str, Any]:
    """A campaign under these faults; the proof that nobody was lost or buzzed twice."""
    program = scene.plain(PASSES)
    for name in names:
        fault = FAULTS[name]
        scene.remote.fault(**{**fault, "probability": fault["probability"] * share})
    with scene.daemon(REQUEST_TIMEOUT=1, MAX_ATTEMPTS=10, **settings):
        campaign = scene.campaign(program, "Hello")
        scene.until(campaign, deadline=90, law=True)
    order = scene.everybody_once(campaign, passes(scene), "Hello")
    calls = scene.remote.overview()["calls"]
    print(f"{'+'.join(names)}: {calls} calls for {PASSES} passes")  # noqa: T201 - a measurement, shown with -s
    return order


# The others of these are in the mixture; alone they take part in the long form only.
ALONE = list(FAULTS) if LONG else ["503", "503 bursts", "429", "cut after", "timeout", "malformed"]


@pytest.mark.parametrize("name", ALONE)
def test_no_single_fault_loses_or_doubles_anybody(scene: Scene, name: str) -> None:
    """20 % of all calls fail in one way; everybody is buzzed exactly once."""
    run(scene, name, METADATA="merge")


def test_500_at_random_loses_nobody(scene: Scene) -> None:
    """A 500 may be a validation in disguise, but bad luck fails nobody: it is repeated within each attempt."""
    program = scene.plain(PASSES)
    scene.remote.fault("error", probability=0.2)
    with scene.daemon():
        campaign = scene.campaign(program, "Hello")
        scene.until(campaign, deadline=90, law=True)
    scene.everybody_once(campaign, passes(scene), "Hello")


def test_all_faults_together_lose_and_double_nobody(scene: Scene) -> None:
    """The same with a mixture of faults."""
    run(scene, *MIXED, share=1 / len(MIXED) * 1.5)


def test_a_500_that_never_heals_fails_that_pass_and_no_other(scene: Scene) -> None:
    """A few tries, then that pass is failed with the reason."""
    program = scene.plain(60)
    victim = scene.row("select id, passkit_internal_id as name from passes_master limit 1")
    scene.remote.fault("error", records=[victim["name"]], method="PUT")
    with scene.daemon():
        campaign = scene.campaign(program)
        order = scene.until(campaign)
    assert (order["sent_count"], order["failed_count"]) == (59, 1)
    assert scene.ledger(campaign)[victim["id"]] == "attempts_exhausted"
    assert len(scene.remote.calls(status=500)) == 9  # three attempts of three requests


def test_a_pass_that_always_times_out_fails_alone(scene: Scene) -> None:
    """One record hangs for ever: its campaign ends all the same."""
    program = scene.plain(60)
    victim = scene.row("select id, passkit_internal_id as name from passes_master limit 1")
    scene.remote.fault("cut_before", records=[victim["name"]], method="PUT")
    with scene.daemon(MAX_ATTEMPTS=2):
        campaign = scene.campaign(program)
        order = scene.until(campaign)
    assert (order["sent_count"], order["failed_count"]) == (59, 1)
    assert scene.ledger(campaign)[victim["id"]] == "attempts_exhausted"


@pytest.mark.parametrize("settings", [{"METADATA": "replace"}, {"RATE_PER_SECOND": 40}], ids=str)
def test_a_wrong_region_pauses_the_campaign_by_itself(scene: Scene, settings: dict[str, Any]) -> None:
    """Everything is 404: the campaign holds, nobody is failed; after the mistake is mended a resume reaches all."""
    program = scene.plain(80)
    fault = scene.remote.fault("wrong_region")["number"]
    with scene.daemon(**settings):
        campaign = scene.campaign(program)
        order = scene.until(campaign, "PAUSED", "COMPLETED")
        assert (order["status"], order["failed_count"]) == ("PAUSED", 0), order
        assert "region" in order["status_detail"]
        scene.until_quiet()
        assert scene.order(campaign)["failed_count"] == 0
        assert not scene.violations()
        scene.remote.faults_off(fault)
        scene.verb("resume", campaign)
        scene.until(campaign)
    scene.everybody_once(campaign, passes(scene))


OUTAGES = [("unavailable", 1), ("cut_before", 3), ("status", 500)]
if LONG:
    OUTAGES = [
        (kind, audience) for kind in ("unavailable", "cut_before", "status") for audience in (1, 3, 500)
    ]


@pytest.mark.parametrize(("kind", "audience"), OUTAGES)
def test_an_outage_of_passkit_burns_nobody(scene: Scene, audience: int, kind: str) -> None:
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


def test_passkit_that_is_not_there_at_all_burns_nobody(scene: Scene) -> None:
    """Connections are refused for a while in the middle of a campaign."""
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
    """Another PassKit that knows nobody (a wrong account) pauses the campaign instead of failing everybody."""
    program = scene.plain(100)
    with Sandbox() as other, scene.daemon(PASSKIT_URL=other.url):
        campaign = scene.campaign(program)
        order = scene.until(campaign, "PAUSED", "COMPLETED")
        assert (order["status"], order["failed_count"]) == ("PAUSED", 0), order


def test_a_clock_that_is_wrong_is_forgiven(scene: Scene) -> None:
    """PassKit's clock is two minutes off: tokens are signed by its clock, nobody is failed."""
    program = scene.plain(20)
    for seconds in (120, -120):
        scene.remote.reset("history", "faults")
        scene.remote.fault("clock_skew", seconds=seconds)
        with scene.daemon(DAILY_CAP=0):
            campaign = scene.campaign(program, f"Off by {seconds}")
            assert scene.until(campaign)["sent_count"] == 20
