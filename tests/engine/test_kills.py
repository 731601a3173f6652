"""kill -9, frozen processes, several daemons: nobody lost, nobody buzzed twice."""

from __future__ import annotations

import random
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from support.processes import Daemon
    from support.scene import Scene

PASSES, KILLS = (5_000, 40) if LONG else (1_500, 5)


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def resumed_after(scene: Scene, daemon: Daemon) -> float:
    """Seconds from the restart of a killed daemon to its first push; 0 when nothing was left."""
    pushes = scene.remote.overview()["pushes"]
    begun = time.monotonic()
    daemon.start(wait=False)
    if not scene.remote.wait(timeout=30, pushes=pushes + 1):
        return 0.0
    return time.monotonic() - begun


def far_enough(scene: Scene, campaign: UUID, sent: float) -> bool:
    """Whether so many were sent, or all is over."""
    order = scene.order(campaign)
    return order["status"] == "COMPLETED" or order["sent_count"] >= sent


@pytest.mark.timeout(60 + 12 * KILLS)
@pytest.mark.parametrize("seed", range(3 if LONG else 1))
def test_kill_9_at_random_moments_loses_and_doubles_nobody(
    scene: Scene, seed: int, record_property: Callable[..., None]
) -> None:
    """The law holds at every look, repeats carry identical bytes, and the restarted daemon goes on at once."""
    program = scene.plain(PASSES)
    everybody = passes(scene)
    dice = random.Random(seed)  # noqa: S311 - a run that can be made again
    recoveries: list[float] = []
    daemon = scene.daemon(LEASE_SECONDS=60)
    with daemon:
        campaign = scene.campaign(program, "Hello {first_name|you} {points}")
        for kill in range(KILLS):
            target = PASSES * (kill + dice.random()) / KILLS
            wait_until(partial(far_enough, scene, campaign, target), "it gets that far")
            time.sleep(dice.random() * 0.1)  # anywhere inside a chunk, not always at its report
            if scene.status(campaign) == "COMPLETED":
                break
            daemon.kill()
            assert not scene.violations()
            recoveries.append(resumed_after(scene, daemon))
            assert not scene.violations()
        scene.until(campaign, law=True)
    scene.everybody_once(campaign, everybody, "Hello you 0")
    repeats = scene.remote.repeats()
    assert repeats["repeatedCalls"] <= len(recoveries) * 50  # in flight at most, per kill
    seconds = [one for one in recoveries if one]
    assert seconds
    print(  # noqa: T201 - a measurement, shown with -s
        f"{len(recoveries)} kills: {repeats['repeatedCalls']} calls repeated, resumed after"
        f" {statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (worst)"
    )
    record_property("recovery_median_s", statistics.median(seconds))


def test_a_frozen_daemon_sends_nothing_after_another_took_over(scene: Scene) -> None:
    """SIGSTOP past the lease: the other one finishes; the thawed one notices, sends nothing more, writes nothing."""
    program = scene.plain(150)
    everybody = passes(scene)
    # The fleet is on two machines: no telling from outside that the frozen one is not dead.
    with scene.daemon(LEASE_SECONDS=5, RATE_PER_SECOND=50, CHUNK_SIZE=50) as frozen:
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 20)
        frozen.freeze()
        held = scene.value("select count(*) from passbell.chunks where lease_until is not null")
        assert held
        with scene.daemon(LEASE_SECONDS=60):
            scene.until(campaign)
            scene.everybody_once(campaign, everybody, "Hello")
            ledger = scene.rows("select * from passbell.deliveries order by pass_id")
            pushes = scene.remote.overview()["pushes"]
            frozen.thaw()
            wait_until(lambda: frozen.events("lease_lost"), "the frozen one notices")
            scene.until_quiet()
            # What had been handed to the kernel before the freeze may still arrive; nothing is started afterwards.
            assert scene.remote.overview()["pushes"] - pushes <= 2
            assert scene.rows("select * from passbell.deliveries order by pass_id") == ledger
            scene.everybody_once(campaign, everybody, "Hello")
            assert frozen.running
            # And it is of use again.
            second = scene.campaign(program, "Again")
            scene.until(second)


def test_two_daemons_share_the_work_and_one_may_die(scene: Scene) -> None:
    """Both send; when one is killed the other finishes its part, soon, because it sees the process is gone."""
    program = scene.plain(800)
    everybody = passes(scene)
    with scene.daemon(RATE_PER_SECOND=200) as one, scene.daemon(RATE_PER_SECOND=200) as two:
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 200)
        one.kill()
        scene.until(campaign, deadline=30, law=True)  # the lease of 60 s is not waited for
        assert two.events("dead_worker_found")
    scene.everybody_once(campaign, everybody, "Hello")


def window(scene: Scene, limit: int, since: float, until: float, count: str = "all") -> dict[str, Any]:
    """What the sandbox saw in a span of its monotonic clock."""
    return scene.remote.window(limit=limit, since=since, until=until, count=count)


@pytest.mark.parametrize("metadata", ["replace", "merge"] if LONG else ["replace"])
def test_two_daemons_stay_under_one_limit(
    scene: Scene, metadata: str, record_property: Callable[..., None]
) -> None:
    """The sandbox never counts more calls than the limit in any sliding second, and most of it is used."""
    limit = 50
    seconds = 30 if LONG else 8
    program = scene.plain(limit * (seconds + 8))
    settings = {"RATE_PER_SECOND": limit, "CHUNK_SIZE": 50, "METADATA": metadata}
    with scene.daemon(**settings), scene.daemon(**settings):
        scene.campaign(program)
        scene.until_pushes(2 * limit)
        since = time.monotonic()
        scene.remote.wait(timeout=seconds, pushes=10**9)
        seen = window(scene, limit, since, since + seconds)
    print(  # noqa: T201 - a measurement, shown with -s
        f"two daemons at {limit}/s: peak {seen['peak']} (certain {seen['certainPeak']}),"
        f" {100 * seen['utilisation']:.1f} % used, {seen['stalls']} stalls, worst {seen['worstStall'] * 1000:.0f} ms"
    )
    record_property("utilisation", seen["utilisation"])
    assert seen["certainPeak"] <= limit
    assert seen["utilisation"] > (0.98 if LONG else 0.6)
