"""Half an hour of mixed work with faults: no member missed, no phone buzzed twice, and nothing in the daemon grows.

Two daemons. One lives through all of it and is looked at; the other is stopped, killed and started again. The short
form is the same for some seconds, without judging growth.
"""

from __future__ import annotations

import random
import signal
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest

from passbell.passkit.wire import KEEP_ALIVE
from support.files import FileHost
from support.law import Law
from support.pages import free_port
from support.scene import LONG
from support.town import Town
from support.vitals import Vitals, growth, vitals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Report
    from support.processes import Daemon
    from support.scene import Scene

SECONDS = 1_800 if LONG else 6
WARM_UP = 300
LOOK_SECONDS = 5 if LONG else 2
MEMBERS = 150 if LONG else 30
SETTINGS = {
    "RATE_PER_SECOND": 300,
    "CHUNK_SIZE": 50,
    "POLL_SECONDS": 0.5,
    "REQUEST_TIMEOUT": 1,
    "MAX_ATTEMPTS": 10,
    "DAILY_CAP": 0,
    "CSV_ALLOW_PRIVATE": True,
}
WEATHER: list[dict[str, Any]] = [
    {"kind": "unavailable", "seconds": 0.25},
    {"kind": "too_many"},
    {"kind": "too_many", "retry_after": 1},
    {"kind": "error"},
    {"kind": "status", "status": 502, "error": "Bad Gateway"},
    {"kind": "unauthorized"},
    {"kind": "slow", "seconds": 0.4},
    {"kind": "drip", "seconds": 0.01},
    {"kind": "cut_before"},
    {"kind": "cut_after"},
    {"kind": "cut_during"},
    {"kind": "timeout"},
    {"kind": "malformed"},
    {"kind": "clock_skew", "seconds": 90},
    {"kind": "wrong_region"},
]
BOUNDS = {"descriptors": 2, "rss": 6, "threads": 1, "tasks": 2, "connections": 1}
"""What may be more at the end than after the warm-up; `rss` in MB."""


class Storm:
    """Faults at PassKit, connections cut, the second daemon ended and started, each at random moments."""

    def __init__(self, scene: Scene, second: Daemon) -> None:
        self._scene = scene
        self._second = second
        self._dice = random.Random(11)  # noqa: S311 - a run that can be made again
        self.faults = self.cuts = self.ends = 0

    def blow(self) -> None:
        """Perhaps something happens."""
        chance = self._dice.random()
        if chance < 0.1:
            fault = self._dice.choice(WEATHER)
            share = (
                {} if fault["kind"] == "clock_skew" else {"probability": self._dice.choice([0.02, 0.2, 1.0])}
            )
            self._scene.remote.fault(**fault, **share, duration=self._dice.uniform(0.2, 3))
            self.faults += 1
        elif chance < 0.105:
            self._scene.conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name = 'passbell'"
            )
            self.cuts += 1
        elif chance < 0.115:
            if self._dice.random() < 0.5:
                self._second.signal(signal.SIGTERM)
                self._second.wait()
            else:
                self._second.kill()
            self._second.start()
            self.ends += 1


@pytest.fixture
def files() -> Iterator[FileHost]:
    """Where the lists and imports are fetched from."""
    with FileHost() as host:
        yield host


@pytest.mark.timeout(SECONDS + 900)
def test_a_long_time_of_everything(scene: Scene, files: FileHost, report: Report) -> None:
    """Under random faults, mixed work of every kind misses no member and buzzes no phone twice."""
    town = Town(scene, files, MEMBERS)
    port = free_port()
    pause = 2 if LONG else 0.05
    with (
        Law(scene.url, pause),
        scene.daemon(**SETTINGS, METRICS_PORT=port) as steady,
        scene.daemon(**SETTINGS) as second,
    ):
        storm = Storm(scene, second)
        looks: list[Vitals] = []
        begun, idle = time.monotonic(), None
        next_birthday = begun + 180
        while (now := time.monotonic()) < begun + SECONDS:
            town.act()
            storm.blow()
            if now > next_birthday:
                town.birthday()
                next_birthday = now + 180
            if not looks or now - looks[-1].at > LOOK_SECONDS:
                looks.append(vitals(steady.pid, port, scene.url))
            if idle is None and now > begun + WARM_UP:
                idle = at_rest(scene, town, steady, port)
            scene.remote.wait(timeout=0.15, pushes=10**9)
        last = at_rest(scene, town, steady, port)
        assert steady.running
        assert not [event for event in steady.events() if event["level"] in {"error", "critical"}]
    counted = town.prove()
    report(
        f"soak, {SECONDS} s",
        "lost 0, buzzed twice 0",
        f"{counted['campaigns']:,} campaigns, {scene.remote.overview()['pushes']:,} pushes,"
        f" {storm.faults:,} faults, {storm.cuts} times all connections cut, {storm.ends} daemons ended;"
        f" {', '.join(f'{number} {what}' for what, number in sorted(town.done.items()))};"
        f" {counted['unknown when cancelled']} of cancelled campaigns had rung,"
        f" {counted['after a retry']} rang again because a person retried",
    )
    if idle is not None:
        judge(report, [look for look in looks if look.at > begun + WARM_UP], idle, last)


def at_rest(scene: Scene, town: Town, daemon: Daemon, port: int) -> Vitals:
    """What the daemon holds when nothing is left to do, and its idle connections to PassKit are closed."""
    scene.remote.faults_off()
    town.bring_to_an_end()
    scene.remote.wait(timeout=KEEP_ALIVE + 3 if LONG else 3, pushes=10**9)
    return vitals(daemon.pid, port, scene.url)


def judge(report: Report, looks: list[Vitals], idle: Vitals, last: Vitals) -> None:
    """Flat while it works, by the slope, and the same at rest as half an hour before."""
    times = [look.at for look in looks]
    figures, broken = [], []
    for name, bound in BOUNDS.items():
        seen = [getattr(look, name) for look in looks]
        grown = growth(times, seen)
        before, after = getattr(idle, name), getattr(last, name)
        figures.append(
            f"{name} {statistics.median(seen):.0f} at work ({grown:+.1f}), at rest {before:.0f} → {after:.0f}"
        )
        if max(grown, after - before) > bound:
            broken.append(name)
    report(
        f"soak, the steady daemon, {(times[-1] - times[0]) / 60:.0f} min after the warm-up",
        f"nothing grows by more than {BOUNDS}",
        "; ".join(figures),
    )
    assert not broken, figures
