"""A daemon that stands still for longer than its lease, and then goes on as if nothing had happened."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from passbell.database.rows import ClaimedChunk
from passbell.delivery.held import HeldChunk, lease_clock
from support.holdup import Holdup
from support.law import Law
from support.proxy import Proxy
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import Report
    from support.doomed import Doomed
    from support.scene import Scene

PROMISE = "the first gets LeaseLost, sends no further push, writes nothing"
# Everything that a report could change.
STATE = """
select (select jsonb_agg(d order by d.campaign_id, d.pass_id) from passbell.deliveries d) as ledger,
       (select jsonb_agg(k order by k.campaign_id, k.chunk_no) from passbell.chunks k) as chunks,
       (select jsonb_agg(c order by c.id) from push_campaigns c) as campaigns,
       (select jsonb_agg(n order by n.id) from notification_logs n) as logs
"""
LEASE = 2.0


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def stalls_holding_calls(scene: Scene, frozen: Doomed, moment: str) -> None:
    """Freeze the daemon in the middle of a chunk: between two calls, with calls unanswered, or with calls answered."""
    scene.until_pushes(20)
    if moment == "answers unread":
        wait_until(lambda: scene.remote.overview()["pushes"] >= 25, "calls are under way")
    frozen.freeze()


@pytest.mark.parametrize("moment", ["between calls", "answers unread"] if LONG else ["answers unread"])
def test_the_first_owner_wakes_after_the_second_has_finished(
    scene: Scene, report: Report, moment: str
) -> None:
    """SIGSTOP past the lease, another finishes, SIGCONT: not one byte more to PassKit, not one row changed."""
    program = scene.plain(150)
    everybody = passes(scene)
    if moment == "answers unread":
        scene.remote.fault("slow", seconds=0.3)
    with (
        Law(scene.url),
        Proxy.before(scene.sandbox.url) as wire,
        scene.doomed(
            elsewhere="one",
            PASSKIT_URL=wire.url(scene.sandbox.url),
            LEASE_SECONDS=LEASE,
            RATE_PER_SECOND=50,
            CHUNK_SIZE=50,
        ) as frozen,
    ):
        campaign = scene.campaign(program, "Hello {first_name|you} {points}")
        stalls_holding_calls(scene, frozen, moment)
        scene.remote.faults_off()
        assert scene.value("select count(*) from passbell.chunks where lease_until is not null")
        scene.rows("update passes_master set points_balance = 7")
        with scene.doomed(elsewhere="two", LEASE_SECONDS=60):
            scene.until(campaign)
        scene.everybody_once(campaign, everybody)
        state, said = scene.row(STATE), wire.sent
        frozen.thaw()
        wait_until(lambda: frozen.events("lease_lost"), "the frozen one notices")
        scene.until_quiet()
        late = wire.sent - said
        assert scene.row(STATE) == state
        assert not late, f"{late} bytes to PassKit after the thaw"
        scene.everybody_once(campaign, everybody)
        # And it is of use again.
        assert frozen.running
        again = scene.campaign(program, "Again")
        scene.until(again)
        lost = len(frozen.events("lease_lost"))
    report(f"stalled owner, {moment}", PROMISE, f"{lost} chunks lost, 0 bytes sent, 0 rows changed")


def test_the_first_owner_wakes_while_the_second_is_at_it(scene: Scene, report: Report) -> None:
    """Both live and hold the same chunk by their own lights; only the second's report counts."""
    program = scene.plain(60)
    everybody = passes(scene)
    with (
        Law(scene.url),
        Proxy.before(scene.sandbox.url) as wire,
        scene.doomed(
            elsewhere="one",
            PASSKIT_URL=wire.url(scene.sandbox.url),
            LEASE_SECONDS=LEASE,
            RATE_PER_SECOND=50,
            CHUNK_SIZE=60,
        ) as frozen,
    ):
        campaign = scene.campaign(program, "Hello {points}")
        scene.until_pushes(20)
        frozen.freeze()
        scene.rows("update passes_master set points_balance = 7")
        with scene.doomed(elsewhere="two", LEASE_SECONDS=60, RATE_PER_SECOND=20, CHUNK_SIZE=60) as second:
            scene.until_sent(campaign, 10)
            said = wire.sent
            frozen.thaw()
            wait_until(lambda: frozen.events("lease_lost"), "the frozen one notices")
            assert scene.status(campaign) == "PROCESSING", "the second one was still at it"
            scene.until(campaign)
            assert not second.events("lease_lost")
        assert wire.sent == said
    scene.everybody_once(campaign, everybody)
    assert {row["attempts"] for row in scene.rows("select attempts from passbell.deliveries")} == {1}
    report("stalled owner, wakes while the second is at it", PROMISE, "0 bytes sent, 0 rows changed")


def test_stalled_while_the_audience_was_frozen_into_chunks(scene: Scene) -> None:
    """The expansion commits without its daemon; another works the chunks off before the first has heard of it."""
    program = scene.plain(100)
    with Holdup(scene.url, "expansion") as holdup, scene.doomed(elsewhere="one") as frozen:
        campaign = scene.campaign(program)
        holdup.wait()
        frozen.freeze()
        holdup.release()
        with scene.doomed(elsewhere="two"):
            scene.until(campaign)
        state = scene.row(STATE)
        frozen.thaw()
        wait_until(lambda: frozen.events("campaign_expanded"), "it hears of its own deed")
        scene.until_quiet(0.3)
        assert scene.row(STATE) == state
    scene.everybody_once(campaign, passes(scene))


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that counts sleep")
def test_a_machine_that_slept_knows_that_its_leases_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its monotonic clock stood still meanwhile, and only the clock that counts sleep as well tells."""
    chunk = ClaimedChunk(uuid4(), 1, uuid4(), 0, uuid4(), "BROADCAST", None, [], [], [], [], "p", [])
    held = HeldChunk(chunk, 60, lease_clock())
    assert not held.is_over()
    awake = time.clock_gettime

    def woken(clock: int) -> float:
        return awake(clock) + (3_600 if clock == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime", woken)
    assert held.is_over()
    assert held.lost


STALLS = 40 if LONG else 3


@pytest.mark.timeout(120 + 20 * STALLS)
def test_stalled_at_random_moments_again_and_again(scene: Scene, report: Report) -> None:
    """Two daemons on two machines, one of them frozen past its lease at any moment, in turns."""
    dice = random.Random(STALLS)  # noqa: S311 - a run that can be made again
    program = scene.plain(250 * STALLS)
    everybody = passes(scene)
    settings: dict[str, Any] = {"LEASE_SECONDS": 1, "RATE_PER_SECOND": 100, "CHUNK_SIZE": 20}
    with (
        Law(scene.url),
        scene.doomed(elsewhere="one", **settings) as one,
        scene.doomed(elsewhere="two", **settings) as two,
    ):
        campaign = scene.campaign(program, "Hello {points}")
        for stall in range(STALLS):
            frozen = dice.choice([one, two])
            wait_until(partial(_sent, scene, campaign, 240 * stall), "it gets that far")
            time.sleep(dice.random() * 0.3)
            frozen.freeze()
            scene.rows("update passes_master set points_balance = coalesce(points_balance, 0) + 1")
            time.sleep(1.2 + dice.random())
            frozen.thaw()
        scene.until(campaign, deadline=60 + 3 * STALLS)
        lost = len(one.events("lease_lost") + two.events("lease_lost"))
    scene.everybody_once(campaign, everybody)
    repeats = scene.remote.repeats()["repeatedCalls"]
    report(
        f"stalled owner, {STALLS} random stalls of {len(everybody):,} passes",
        "lost 0, buzzed twice 0, repeats byte for byte",
        f"{lost} chunks lost to the other, {repeats} calls repeated",
    )


def _sent(scene: Scene, campaign: UUID, at_least: int) -> bool:
    order = scene.order(campaign)
    return order["status"] == "COMPLETED" or order["sent_count"] >= at_least
