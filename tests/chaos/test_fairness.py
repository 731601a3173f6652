"""Beside a huge campaign: a small one starts and ends at once, and pause and cancel stop it within a second.

The clock is the sandbox's own: what PassKit saw, after the moment at which a person's order was committed. The short
form counts the huge campaign's pushes in between instead of seconds: at 50/s, 50 are a second, whatever the machine.
"""

from __future__ import annotations

import random
import signal
import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from support.holdup import Holdup
from support.law import Law
from support.scene import LONG, Scene
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from conftest import Report
    from support.databases import Databases
    from support.processes import Sandbox

PASSES = 1_000_000 if LONG else 50_000
RATE = 50
SMALL = 50
TIMES = 10 if LONG else 1
TESTS = 20 if LONG else 2
SETTINGS = {"RATE_PER_SECOND": RATE, "CHUNK_SIZE": 50, "DAILY_CAP": 0, "POLL_SECONDS": 2}
MOMENTS = random.Random()  # noqa: S311 - moments, not secrets
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


class Huge(NamedTuple):
    """A program of a million passes and a small one, on phones."""

    scene: Scene
    program: UUID
    small: UUID

    def order(self, text: str) -> UUID:
        """A campaign to everybody in the huge program."""
        return self.scene.campaign(self.program, text)

    def under_way(self, text: str) -> UUID:
        """The same, with pushes going out."""
        before = self.scene.remote.overview()["pushes"]
        campaign = self.order(text)
        self.scene.until(campaign, "PROCESSING", deadline=120)
        self.scene.until_pushes(before + RATE)
        return campaign

    def records(self, program: UUID, count: int) -> dict[str, str]:
        """Some passes of a program: external id by PassKit id."""
        return {
            row["passkit_internal_id"]: row["external_id"]
            for row in self.scene.rows(
                "select passkit_internal_id, external_id from passes_master where program_id = %s"
                " order by md5(id::text) limit %s",
                [program, count],
            )
        }


@pytest.fixture(scope="module")
def million(databases: Databases, sandbox: Sandbox) -> Iterator[Huge]:
    """Made once: a million passes take a minute."""
    url = databases.create("2")
    scene = Scene(url, "2", sandbox)
    program, small = scene.program("Huge"), scene.program("Small")
    scene.members(program, PASSES)
    scene.members(small, SMALL)
    scene.conn.execute("analyze")
    scene.remote.seed(
        {"owner": owner, "id": record, "externalId": name}
        for owner, record, name in scene.conn.execute(
            "select g.passkit_program_id, p.passkit_internal_id, p.external_id"
            "  from passes_master p join programs g on g.id = p.program_id"
        )
    )
    yield Huge(scene, program, small)
    scene.close()
    databases.drop(url.rpartition("/")[2])


@pytest.fixture
def huge(million: Huge) -> Iterator[Huge]:
    """The same for each test, with no campaign under way."""
    yield million
    million.scene.conn.execute(
        "update push_campaigns set status = 'CANCELLED' where status in ('PENDING', 'PROCESSING', 'PAUSED')"
    )


class Seen(NamedTuple):
    """What PassKit saw of a small campaign after it was ordered."""

    start: float
    end: float
    others_before: int
    others_until: int


def watch(scene: Scene, after: int, ordered: float, records: set[str], what: str) -> Seen:
    """Wait until each of the records was pushed; calls from number `after` on count."""

    def all_there() -> bool:
        calls = scene.remote.calls(after=after, method="PUT")
        return records <= {call["record"] for call in calls}

    wait_until(all_there, what, deadline=60)
    calls = scene.remote.calls(after=after, method="PUT")
    times = [call["time"] for call in calls if call["record"] in records]
    others = [call["time"] for call in calls if call["record"] not in records and call["time"] > ordered]
    return Seen(
        min(times) - ordered,
        max(times) - ordered,
        sum(at < min(times) for at in others),
        sum(at < max(times) for at in others),
    )


def sum_up(report: Report, scenario: str, seen: list[Seen], size: int) -> None:
    """Report; and judge seconds in the long form, and the other campaign's pushes in both."""
    starts, ends = [one.start for one in seen], [one.end for one in seen]
    report(
        f"fairness, {scenario}, beside {PASSES:,} passes",
        "starts within 2 s, ends within 5 s",
        f"{len(seen)} campaigns of {size}: start {statistics.median(starts):.2f} s (worst {max(starts):.2f} s),"
        f" end {statistics.median(ends):.2f} s (worst {max(ends):.2f} s)",
    )
    assert max(one.others_before for one in seen) <= 2 * RATE
    assert max(one.others_until for one in seen) <= 5 * RATE
    if LONG:
        assert max(starts) < 2
        assert max(ends) < 5


# ── a small one beside it ───────────────────────────────────────


@pytest.mark.parametrize("daemons", [1, 2] if LONG else [1])
def test_a_small_campaign_of_another_program(huge: Huge, report: Report, daemons: int) -> None:
    """50 passes of another program start and end at once, however much the first still has before it."""
    scene, seen = huge.scene, []
    with ExitStack() as stack:
        for _ in range(daemons):
            stack.enter_context(scene.daemon(**SETTINGS))
        campaign = huge.under_way(f"Huge, {daemons} daemons")
        records = set(huge.records(huge.small, SMALL))
        for n in range(TIMES):
            scene.remote.wait(timeout=MOMENTS.uniform(0, 2), pushes=10**9)
            after, ordered = scene.remote.overview()["calls"], time.monotonic()
            small = scene.campaign(huge.small, f"Small {n} of {daemons}")
            seen.append(watch(scene, after, ordered, records, "the small campaign ends"))
            scene.until(small, "COMPLETED")
        assert scene.status(campaign) == "PROCESSING"
        scene.verb("cancel", campaign)
        closed(scene, campaign)
    sum_up(report, f"another program, {daemons} daemons", seen, SMALL)


def test_test_sends_of_the_same_program_go_first(huge: Huge, report: Report) -> None:
    """A test send does not wait for a huge campaign of the same program."""
    scene, seen = huge.scene, []
    with scene.daemon(**SETTINGS):
        campaign = huge.under_way("Huge, tests beside it")
        for n, (one, name) in enumerate(huge.records(huge.program, TESTS).items()):
            scene.remote.wait(timeout=MOMENTS.uniform(0, 2), pushes=10**9)
            after, ordered = scene.remote.overview()["calls"], time.monotonic()
            scene.conn.execute("select push_test(%s, %s, %s)", [huge.program, name, f"Try {n}"])
            seen.append(watch(scene, after, ordered, {one}, "the test send arrives"))
        assert scene.status(campaign) == "PROCESSING"
        scene.verb("cancel", campaign)
        closed(scene, campaign)
    sum_up(report, "a test send of the same program", seen, 1)


def test_a_small_campaign_ordered_together_with_a_huge_one(huge: Huge, report: Report) -> None:
    """While the huge audience is still being frozen, the small one does not wait for it."""
    scene, seen = huge.scene, []
    with scene.daemon(**SETTINGS):
        for n in range(min(TIMES, 3)):
            records = set(huge.records(huge.small, SMALL))
            after = scene.remote.overview()["calls"]
            campaign = huge.order(f"Huge, together {n}")
            scene.remote.wait(timeout=0.3, pushes=10**9)
            ordered = time.monotonic()
            small = scene.campaign(huge.small, f"Small, together {n}")
            seen.append(watch(scene, after, ordered, records, "the small campaign ends"))
            scene.until(small, "COMPLETED")
            scene.until(campaign, "PROCESSING", deadline=120)
            scene.verb("cancel", campaign)
            closed(scene, campaign)
    sum_up(report, "another program, ordered 0.3 s after", seen, SMALL)


def test_a_small_campaign_ordered_while_a_huge_audience_is_frozen(huge: Huge, report: Report) -> None:
    """The freezing is held up until the small one has ended: it cannot have waited for it."""
    scene = huge.scene
    records = set(huge.records(huge.small, SMALL))
    with scene.daemon(**SETTINGS) as daemon, Holdup(scene.url, "large expansion") as hold:
        campaign = huge.order("Huge, held up")
        hold.wait()
        after, ordered = scene.remote.overview()["calls"], time.monotonic()
        small = scene.campaign(huge.small, "Small, beside a freezing")
        seen = watch(scene, after, ordered, records, "the small campaign ends")
        scene.until(small, "COMPLETED")
        assert scene.status(campaign) == "PENDING"
        assert not scene.violations()
        hold.release()
        scene.until(campaign, "PROCESSING", deadline=120)
        scene.verb("cancel", campaign)
        closed(scene, campaign)
        assert daemon.events("loop_failed") == []
    sum_up(report, "another program, while the huge one is frozen", [seen], SMALL)


def test_a_daemon_stops_at_once_in_the_middle_of_freezing(huge: Huge) -> None:
    """A stop in the middle of freezing ends with 0 and stores nothing; the next daemon freezes that audience."""
    scene = huge.scene
    with Holdup(scene.url, "large expansion") as hold:
        with scene.daemon(**SETTINGS) as daemon:
            campaign = huge.order("Huge, stopped while it is frozen")
            hold.wait()
            began = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert time.monotonic() - began < 5
        hold.release()
    assert not scene.violations()
    with scene.daemon(**SETTINGS):
        scene.until(campaign, "PROCESSING", deadline=120)
        scene.verb("cancel", campaign)
        closed(scene, campaign)


# ── stopping it ─────────────────────────────────────────────────


STOPS = [("pause", "polling"), ("cancel", "listen")]
if LONG:
    STOPS += [("pause", "listen"), ("cancel", "polling")]


@pytest.mark.parametrize(("verb", "told_by"), STOPS)
def test_pause_and_cancel_take_effect_within_a_second(
    huge: Huge, report: Report, verb: str, told_by: str
) -> None:
    """From the commit of the order to the last push that PassKit saw, with notifications and without."""
    scene, lasts = huge.scene, []
    wire: dict[str, Any] = {} if told_by == "listen" else {"LISTEN_URL": NOWHERE}
    with Law(scene.url, pause=1), scene.daemon(**SETTINGS, **wire):
        times = TIMES if verb == "pause" else min(TIMES, 3)
        campaign = huge.under_way(f"Huge, {verb}, {told_by}")
        for n in range(times):
            scene.remote.wait(timeout=MOMENTS.uniform(0.1, 2), pushes=10**9)
            scene.verb(verb, campaign)
            committed = time.monotonic()
            scene.until_quiet(1.2)
            calls = [
                call["time"]
                for call in scene.remote.calls(after=max(0, scene.remote.overview()["calls"] - 500))
            ]
            late = [at - committed for at in calls if at > committed]
            lasts.append((max(late, default=0.0), len(late)))
            assert not scene.violations()
            if verb == "pause" and n + 1 < times:
                scene.verb("resume", campaign)
                scene.until_pushes(scene.remote.overview()["pushes"] + 20)
            elif n + 1 < times:
                closed(scene, campaign)
                campaign = huge.under_way(f"Huge, {verb}, {told_by}, {n}")
        if verb == "pause":
            scene.verb("cancel", campaign)
        closed(scene, campaign)
    last, most = [seconds for seconds, _ in lasts], max(count for _, count in lasts)
    report(
        f"{verb} of {PASSES:,} passes at {RATE}/s, told by {told_by}",
        "no push later than 1 s after the commit",
        f"{len(last)} times: last push after {statistics.median(last):.2f} s (worst {max(last):.2f} s),"
        f" at most {most} pushes",
    )
    assert most <= RATE
    if LONG:
        assert max(last) < 1


def closed(scene: Scene, campaign: UUID) -> None:
    """Wait until everybody left of a cancelled campaign is in the ledger."""
    wait_until(lambda: scene.logs(campaign), "the cancelled campaign is closed", deadline=180)
    order = scene.order(campaign)
    assert order["status"] == "CANCELLED"
    assert order["sent_count"] + order["failed_count"] + order["skipped_count"] == PASSES
