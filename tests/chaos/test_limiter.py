"""One limit for all daemons: never above it in any sliding second, and nearly all of it used while work waits.

Every call counts, reads and repeats as well. Utilisation is measured while nobody is killed: a kill costs the dead
daemon's slots until somebody draws them anew. The highest sliding second is measured throughout.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from support.scene import LONG

if TYPE_CHECKING:
    from conftest import Report
    from support.processes import Daemon
    from support.scene import Scene

SECONDS = 30 if LONG else 3
"""Of undisturbed work that utilisation is measured over."""

TROUBLED = 30 if LONG else 2
"""Further seconds in which a daemon is killed every now and then."""

MOMENTS = random.Random()  # noqa: S311 - moments, not secrets

CASES = [(2, 50, "replace"), (4, 500, "replace")]
if LONG:
    CASES = [(daemons, rate, "replace") for rate in (50, 500) for daemons in (1, 2, 4)]
    CASES += [(2, 50, "merge"), (2, 500, "merge")]


@pytest.mark.parametrize(("daemons", "limit", "metadata"), CASES)
def test_daemons_stay_under_one_limit(
    scene: Scene, report: Report, daemons: int, limit: int, metadata: str
) -> None:
    """The sandbox never counts more calls than the limit in a sliding second, kills or not."""
    program = scene.plain(limit * (SECONDS + TROUBLED + 10))
    settings = {"RATE_PER_SECOND": limit, "CHUNK_SIZE": limit, "METADATA": metadata}
    with ExitStack() as stack:
        team = [scene.daemon(**settings) for _ in range(daemons)]
        for daemon in team:
            stack.callback(daemon.close)
            daemon.start(wait=False)
        for daemon in team:
            daemon.wait_ready()
        campaign = scene.campaign(program)
        scene.until_pushes(limit)
        calm = window(scene, limit, SECONDS)
        troubled = kill_for_a_while(scene, team, limit)
        assert scene.order(campaign)["status"] == "PROCESSING", "there was work all the time"
    whole = scene.remote.window(limit=limit, count="all")
    report(
        f"limit, {daemons} x {limit}/s, {metadata}",
        f"at most {limit} calls in a sliding second, kills or not; at least 98 % used while work waits",
        f"peak {whole['peak']} (certain {whole['certainPeak']}), {100 * calm['utilisation']:.1f} % used; "
        f"{troubled['kills']} kills: {100 * troubled['utilisation']:.1f} %; "
        f"sandbox held up for at most {1000 * whole['worstStall']:.0f} ms",
    )
    assert whole["certainPeak"] <= limit
    # Slots that a busy machine misses are forfeited, so utilisation is judged where the long form runs, in quiet.
    if LONG:
        assert calm["utilisation"] > 0.98


def window(scene: Scene, limit: int, seconds: float) -> dict[str, Any]:
    """What the sandbox saw in the next seconds of its monotonic clock, which is ours."""
    since = time.monotonic()
    scene.remote.wait(timeout=seconds, pushes=10**9)
    return scene.remote.window(limit=limit, since=since, until=time.monotonic(), count="all")


def kill_for_a_while(scene: Scene, team: list[Daemon], limit: int) -> dict[str, Any]:
    """Kill -9 at random moments, and at once a new one in the dead one's place."""
    since, kills = time.monotonic(), 0
    while time.monotonic() < since + TROUBLED:
        scene.remote.wait(timeout=MOMENTS.uniform(0.2, 2), pushes=10**9)
        victim = MOMENTS.choice(team)
        victim.kill()
        victim.start()
        kills += 1
    seen = scene.remote.window(limit=limit, since=since, until=time.monotonic(), count="all")
    return {**seen, "kills": kills}
