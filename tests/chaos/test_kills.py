"""kill -9 at every named point, at random moments, and of all at once: no member missed, no phone buzzed twice."""

from __future__ import annotations

import random
import signal
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest

from passbell.database.migrate import check
from support.flights import Flights
from support.holdup import Holdup
from support.law import Law
from support.processes import Command
from support.proxy import Proxy
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from conftest import Report
    from support.scene import Scene

AUDIENCE = 120
# The words of each pass depend on a balance, and balances change after every kill: a repeat worded anew would buzz.
WORDS = "Hello {first_name|you}, {points} points"
PROMISE = "lost 0, buzzed twice 0, repeated only what was in flight, byte for byte"


class Act(NamedTuple):
    """A campaign that is about to meet trouble."""

    scene: Scene
    everybody: set[UUID]
    campaign: UUID
    flights: Flights

    def shuffle_balances(self, records: Iterable[str] | None = None) -> None:
        """Change what a text chosen anew would say, of everybody or of some records."""
        self.scene.rows(
            "update passes_master set points_balance = coalesce(points_balance, 0) + 1"
            " where %s::text[] is null or passkit_internal_id = any(%s)",
            [None if records is None else list(records)] * 2,
        )

    def killed(self) -> None:
        """What everybody was killed in the middle of is noted, and balances change."""
        assert not self.scene.violations()
        self.flights.killed()
        self.shuffle_balances()
        assert not self.scene.violations()

    def end(self, report: Report, scenario: str, **settings: Any) -> None:
        """A new daemon brings it to its end; the proof and the figures."""
        with self.scene.daemon(**settings):
            self.scene.until(self.campaign)
        self.prove(report, scenario)

    def prove(self, report: Report, scenario: str) -> None:
        """No member missed, no phone buzzed twice, nothing repeated that need not be."""
        self.scene.everybody_once(self.campaign, self.everybody)
        repeats = self.flights.check()
        report(f"kill, {scenario}", PROMISE, f"{figures(self.flights)}, {repeats} calls repeated")


def figures(flights: Flights) -> str:
    """Passes in flight and times from kill to the first resumed push, in words."""
    sizes, seconds = flights.sizes, flights.recoveries
    text = f"{len(sizes)} kills, {statistics.median(sizes):g} in flight (worst {max(sizes)})"
    if seconds:
        text += f", pushing again after {statistics.median(seconds):.2f} s (worst {max(seconds):.2f} s)"
    return text


def act(scene: Scene, passes: int = AUDIENCE, **columns: Any) -> Act:
    """An order for everybody, just placed."""
    program = scene.plain(passes)
    everybody = {row["id"] for row in scene.rows("select id from passes_master")}
    campaign = scene.campaign(program, WORDS, **columns)
    return Act(scene, everybody, campaign, Flights(scene, campaign))


# ── named points ────────────────────────────────────────────────

POINTS: list[tuple[str, int, dict[str, Any]]] = [
    ("campaign claimed", 1, {}),
    ("chunk claimed", 1, {}),
    ("chunk claimed", 3, {}),
    ("call begins", 1, {}),
    ("call answered", 1, {}),
    ("call answered", 40, {}),
    ("report begins", 1, {}),
    ("reported", 2, {}),
    ("part reported", 1, {"RATE_PER_SECOND": 20}),
    ("lease renewed", 1, {"RATE_PER_SECOND": 20, "LEASE_SECONDS": 2}),
]


@pytest.mark.timeout(300)
def test_killed_at_each_named_point_in_turn(scene: Scene, report: Report) -> None:
    """One campaign, ten daemons: each goes on with what the dead one left, in its words, and dies as well."""
    play = act(scene, 40 * len(POINTS))
    with Law(scene.url):
        for point, nth, settings in POINTS:
            doomed = scene.doomed(point, nth, **{"CHUNK_SIZE": 30, **settings})
            try:
                doomed.start(wait=False)
                doomed.wait_death(deadline=60)
            finally:
                doomed.close()
            play.killed()
        play.end(report, "each named point in turn")


@pytest.mark.skipif(not LONG, reason="the long form; the short one takes the points in turn")
@pytest.mark.parametrize(("point", "nth", "settings"), POINTS, ids=[f"{name}-{n}" for name, n, _ in POINTS])
def test_killed_at_a_named_point(
    scene: Scene, report: Report, point: str, nth: int, settings: dict[str, Any]
) -> None:
    """Each point by itself: a campaign, one death, one successor."""
    play = act(scene)
    with Law(scene.url), scene.doomed(point, nth, **{"CHUNK_SIZE": 30, **settings}) as doomed:
        doomed.wait_death()
        play.killed()
        play.end(report, f"{point} ({nth})")


@pytest.mark.parametrize(
    "point", ["stop begins", "stopped", "reported"] if LONG else ["stop begins", "reported"]
)
def test_killed_while_it_stops(scene: Scene, report: Report, point: str) -> None:
    """SIGTERM, and SIGKILL before the graceful stop has come to its end, as an impatient init does."""
    play = act(scene)
    # Calls take a while, so the drain has something to wait for; a chunk is reported when all of its calls are back.
    scene.remote.fault("slow", seconds=0.3)
    settings = {"CHUNK_SIZE": 120, "RATE_PER_SECOND": 100}
    with Law(scene.url), scene.doomed(point, **settings) as doomed:
        scene.until_pushes(20)
        doomed.signal(signal.SIGTERM)
        doomed.wait_death()
        play.killed()
        scene.remote.faults_off()
        play.end(report, f"during drain, {point}")


@pytest.mark.parametrize(
    "fate", ["arrived", "arrives late", "never arrives"] if LONG else ["arrived", "arrives late"]
)
def test_killed_with_calls_on_the_wire(scene: Scene, report: Report, fate: str) -> None:
    """PassKit has the calls, or gets them long after their sender's death, or never: one buzz each."""
    play = act(scene)
    with Law(scene.url), Proxy.before(scene.sandbox.url) as wire:
        if fate == "arrived":
            scene.remote.fault("slow", seconds=1)
        with scene.doomed(PASSKIT_URL=wire.url(scene.sandbox.url), RATE_PER_SECOND=100) as doomed:
            if fate == "arrived":
                scene.until_pushes(20)
            else:
                scene.until_pushes(5)
                wire.stall()
                # A connection that was made a moment ago may still wait for the slot of its first request.
                wait_until(lambda: wire.held >= 20, "five calls and more are on the wire")
            doomed.kill()
        if fate == "never arrives":
            wire.cut()
        play.killed()
        scene.remote.faults_off()
        if fate == "arrives late":
            with scene.daemon():
                scene.until(play.campaign)
            late = scene.remote.overview()["pushes"]
            wire.flow()
            scene.until_pushes(late + 5)
            scene.until_quiet(0.3)
            # They were on the wire, so they may arrive; the bytes are the same.
            assert scene.remote.repeats()["differing"] == 0
            scene.everybody_once(play.campaign, play.everybody)
            report("kill, mid-HTTP, calls arrive after the takeover", PROMISE, f"{figures(play.flights)}")
        else:
            play.end(report, f"mid-HTTP, {fate}")


# ── in the middle of a transaction ──────────────────────────────


HELD_UP = [
    ("expansion", "committed"),
    ("claim", "committed"),
    ("report", "rolled back"),
    ("commit", "committed"),
]
if LONG:
    HELD_UP += [
        ("expansion", "rolled back"),
        ("claim", "rolled back"),
        ("report", "committed"),
        ("commit", "rolled back"),
    ]


@pytest.mark.parametrize(("place", "ending"), HELD_UP)
def test_killed_in_a_transaction(scene: Scene, report: Report, place: str, ending: str) -> None:
    """Whether the database brings the dead daemon's transaction to its end or not, the next one copes."""
    play = act(scene)
    with Law(scene.url), Holdup(scene.url, place) as holdup, scene.doomed(CHUNK_SIZE=30) as doomed:
        holdup.wait()
        doomed.kill()
        if ending == "committed":
            holdup.release()
        else:
            holdup.terminate()
            holdup.release()
        play.killed()
        play.end(report, f"in {place}, {ending}")


def test_a_claim_that_commits_after_its_daemons_funeral(scene: Scene, report: Report) -> None:
    """The dead one is buried, and only then its last transaction goes through: its chunk is not left for a lease."""
    play = act(scene)
    with Law(scene.url), Holdup(scene.url, "claim") as holdup, scene.doomed(CHUNK_SIZE=30) as doomed:
        holdup.wait()
        doomed.kill()
        with scene.daemon() as successor:
            wait_until(lambda: successor.events("dead_worker_found"), "the dead one is buried")
            holdup.release()
            play.killed()
            scene.until(play.campaign, deadline=30)  # the lease is a minute
    play.prove(report, "in claim, committed after the burial")


def test_nothing_is_claimed_before_the_daemon_is_entered(scene: Scene) -> None:
    """Killed at its first claim, an unregistered daemon could not be recognised as dead."""
    play = act(scene)
    with Holdup(scene.url, "register") as holdup:
        daemon = scene.daemon()
        try:
            daemon.start(wait=False)
            holdup.wait()
            assert not daemon.events("daemon_started")
            assert scene.status(play.campaign) == "PENDING"
            holdup.release()
            scene.until(play.campaign)
        finally:
            daemon.close()


def test_killed_while_it_migrates(scene: Scene) -> None:
    """`passbell migrate` dies with everything done but its commit, in the middle of a campaign: nothing has changed."""
    play = act(scene, 300)
    url = {"PASSBELL_DATABASE_URL": scene.url}
    with Law(scene.url), scene.daemon(RATE_PER_SECOND=100) as daemon:
        scene.until_sent(play.campaign, 50)
        with psycopg.connect(scene.url) as blocker, Command("migrate", settings=url) as migration:
            blocker.execute("lock table passbell.settings in share mode")
            wait_until(
                lambda: scene.value(
                    "select count(*) from pg_locks where not granted and relation = 'passbell.settings'::regclass"
                ),
                "it is about to write the version",
            )
            migration.kill()
        scene.until(play.campaign)
        assert daemon.running
        assert check(scene.url).current
        with Command("migrate", settings=url) as again:
            assert again.wait() == 0
    scene.everybody_once(play.campaign, play.everybody)


# ── during rescue ───────────────────────────────────────────────

RESCUES = [
    ("dead neighbour buried", "neighbour"),
    ("chunk claimed", "lease ran out"),
]
if LONG:
    RESCUES += [
        ("dead neighbour found", "neighbour"),
        ("call answered", "neighbour"),
        ("chunk claimed", "neighbour"),
        ("call answered", "lease ran out"),
        ("report begins", "neighbour"),
        ("report begins", "lease ran out"),
    ]


@pytest.mark.parametrize(("point", "why"), RESCUES)
def test_killed_while_it_takes_over_from_the_dead(scene: Scene, report: Report, point: str, why: str) -> None:
    """The second victim dies while it rescues what the first left; the third brings it to an end."""
    elsewhere = why == "lease ran out"  # from another machine the dead process cannot be seen
    play = act(scene)
    lease = 2 if elsewhere else 60
    scene.remote.fault("slow", seconds=0.5)
    with Law(scene.url):
        first = scene.doomed(elsewhere="one" if elsewhere else "", LEASE_SECONDS=lease, CHUNK_SIZE=60)
        with first:
            scene.until_pushes(30)
            first.kill()
        play.killed()
        scene.remote.faults_off()
        second = scene.doomed(point, elsewhere="two" if elsewhere else "", LEASE_SECONDS=lease, CHUNK_SIZE=60)
        try:
            second.start(wait=False)
            second.wait_death()
        finally:
            second.close()
        play.killed()
        play.end(report, f"during rescue ({why}), {point}")


def test_a_rescuer_that_is_stopped_hands_back_the_dead_ones_words(scene: Scene, report: Report) -> None:
    """Killed mid-chunk, taken over, and a deploy before the successor's first call: the first words still hold.

    The successor had sent nothing itself, but the dead one had; a text chosen anew would buzz those phones again.
    """
    play = act(scene, 60)
    scene.remote.fault("slow", seconds=1)
    with Law(scene.url):
        with scene.doomed(CHUNK_SIZE=60) as first:
            scene.until_pushes(30)
            first.kill()
        play.killed()
        scene.remote.faults_off()
        # The account's own limit lets no daemon send for now, so the successor holds the chunk and waits for its turn.
        scene.rows("update passbell.rate_limits set next_slot = clock_timestamp() + interval '5 s'")
        with scene.daemon(CHUNK_SIZE=60) as second:
            wait_until(
                lambda: scene.value("select count(*) from passbell.chunks where lease_until > now()"),
                "it holds",
            )
            assert second.terminate() == 0
        assert len(play.flights.pushes) == scene.remote.overview()["pushes"], "the successor sent nothing"
        play.shuffle_balances()
        scene.rows("update passbell.rate_limits set next_slot = clock_timestamp()")
        play.end(report, "taken over, then stopped before the first call")


def test_a_stop_between_a_lost_answer_and_the_repeat_keeps_the_words(scene: Scene, report: Report) -> None:
    """PassKit took the calls and their answers were lost; SIGTERM comes before the repeats: same words afterwards."""
    play = act(scene, 60)
    scene.remote.fault("cut_after", method="PUT")
    with Law(scene.url):
        with scene.daemon(CHUNK_SIZE=60) as first:
            scene.until_pushes(10)
            assert first.terminate() == 0
        play.flights.killed()
        assert len(play.flights.pushes) >= 10
        play.shuffle_balances()
        scene.remote.faults_off()
        with scene.daemon():
            scene.until(play.campaign)
    scene.everybody_once(play.campaign, play.everybody)
    report("stop between a lost answer and its repeat", PROMISE, figures(play.flights))


# ── everybody at once, and at random ────────────────────────────


def test_all_daemons_killed_at_once(scene: Scene, report: Report) -> None:
    """If all daemons are killed, new ones on other machines wait for the leases and go on."""
    play = act(scene, 600)
    settings = {"CHUNK_SIZE": 30, "RATE_PER_SECOND": 300, "LEASE_SECONDS": 3}
    with Law(scene.url):
        with (
            scene.doomed(elsewhere="one", **settings) as one,
            scene.doomed(elsewhere="one", **settings) as two,
        ):
            scene.until_sent(play.campaign, 100)
            one.signal(signal.SIGKILL)
            two.signal(signal.SIGKILL)
            one.wait()
            two.wait()
        play.killed()
        with scene.doomed(elsewhere="two", **settings), scene.doomed(elsewhere="two", **settings):
            scene.until(play.campaign)
    play.prove(report, "both daemons at once, lease of 3 s, others go on elsewhere")


@pytest.mark.skipif(not LONG, reason="the long form; being rescued by a neighbour is part of the short one")
def test_a_neighbour_takes_over_from_a_killed_daemon(scene: Scene, report: Report) -> None:
    """On the same machine another daemon takes over at once, without waiting for the lease."""
    play = act(scene, 800)
    with Law(scene.url), scene.daemon(RATE_PER_SECOND=200) as one, scene.daemon(RATE_PER_SECOND=200) as two:
        scene.until_pushes(250)
        one.kill()
        play.flights.killed(settle=False)
        play.shuffle_balances()
        scene.until(play.campaign, deadline=30)
        assert two.events("dead_worker_found")
    scene.everybody_once(play.campaign, play.everybody)
    assert play.flights.check() <= play.flights.sizes[0]
    report("kill, one of two", PROMISE, f"{play.flights.sizes[0]} in flight, {play.flights.check()} repeated")


KILLS, PASSES = (1_000, 10_000) if LONG else (10, 1_500)
SHARE = PASSES / KILLS


@pytest.mark.timeout(120 + 6 * KILLS)
@pytest.mark.parametrize("metadata", ["merge", "replace"] if LONG else ["merge"])
def test_killed_at_random_moments(scene: Scene, report: Report, metadata: str) -> None:
    """Anywhere: while it starts, in a chunk, in a report. The restarted one goes on at once, every time."""
    play = act(scene, PASSES)
    dice = random.Random(metadata)  # noqa: S311 - a run that can be made again
    rate = 10 * SHARE
    daemon = scene.daemon(METADATA=metadata, RATE_PER_SECOND=rate, CHUNK_SIZE=max(10, round(SHARE / 5)))
    with Law(scene.url, pause=0.2 if LONG else 0.05) as law, daemon:
        for _ in range(KILLS):
            if dice.random() < 0.1:  # at any moment of its start
                time.sleep(dice.random())
            else:  # at any moment of the work that is its share
                pushes = scene.remote.overview()["pushes"]
                scene.remote.wait(timeout=30, pushes=pushes + 1)
                time.sleep(dice.random() * 2 * SHARE / rate)
            daemon.kill()
            flying = play.flights.killed()
            play.shuffle_balances(flying)
            daemon.start(wait=False)
            if scene.status(play.campaign) == "COMPLETED":
                break
        scene.until(play.campaign, deadline=60 + PASSES / rate)
    scene.everybody_once(play.campaign, play.everybody)
    repeats = play.flights.check()
    report(
        f"kill, {len(play.flights.sizes)} random moments of {PASSES:,} passes, {metadata}",
        PROMISE,
        f"{figures(play.flights)}, {repeats} calls repeated, law looked at {law.looks:,} times",
    )
