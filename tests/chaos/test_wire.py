"""The database goes away in every way it can: the daemon keeps its process and goes on by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from passbell.database.migrate import migrate
from passbell.devkit.postgres import EmbeddedPostgres, PostgresUnavailableError
from support.databases import load_host
from support.feast import feast, gifts
from support.files import FileHost
from support.holdup import Holdup
from support.law import Law
from support.proxy import Proxy
from support.scene import LONG
from support.storm import Storm, terminate_all
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from conftest import Report
    from support.processes import Daemon
    from support.scene import Scene

HALF: dict[str, Any] = {"RATE_PER_SECOND": 200, "CHUNK_SIZE": 50}
PROMISE = "lost 0, buzzed twice 0, the process stays, goes on by itself"
ROUNDS = 10 if LONG else 1


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def recovered(scene: Scene, begun: float) -> float:
    """Wait for the next push; seconds since `begun`."""
    scene.until_pushes(scene.remote.overview()["pushes"] + 1, deadline=45)
    return time.monotonic() - begun


def in_words(seconds: list[float]) -> str:
    """Times from the end of a trouble to the next push."""
    found = sorted(seconds)
    return f"{len(found)} times, pushing again after {found[len(found) // 2]:.2f} s (worst {found[-1]:.2f} s)"


def unavailable(daemon: Daemon) -> list[str]:
    """Why the daemon could not reach the database, so far."""
    return [event["reason"] for event in daemon.events("database_unavailable")]


# ── connections end ─────────────────────────────────────────────


def test_every_connection_is_terminated_again_and_again(scene: Scene, report: Report) -> None:
    """If all sessions are ended several times a second, each phone buzzes once."""
    program = scene.plain(400 * ROUNDS)
    with (
        Law(scene.url) as law,
        scene.daemon(**HALF) as daemon,
        Storm(lambda: terminate_all(scene.url), calm=0.3) as storm,
    ):
        campaign = scene.campaign(program, "Hello {points}")
        wait_until(lambda: storm.strikes >= 12 * ROUNDS, "it storms", 60 * ROUNDS)
        storm.end()
        scene.until(campaign, deadline=60 * ROUNDS)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    repeats = scene.remote.repeats()["repeatedCalls"]
    report(
        "every connection terminated",
        PROMISE,
        f"{storm.strikes} times in {400 * ROUNDS:,} passes, {repeats} calls repeated, {law.looks:,} looks at the law",
    )


def test_the_wire_to_the_database_is_cut(scene: Scene, report: Report) -> None:
    """Cut, and refused for a while: sending goes on by itself each time."""
    program = scene.plain(600 * ROUNDS)
    seconds: list[float] = []
    with Law(scene.url), Proxy.before(scene.url) as wire, scene.daemon(wire.url(scene.url), **HALF) as daemon:
        campaign = scene.campaign(program, "Hello {points}")
        for turn in range(2 * ROUNDS):
            scene.until_sent(campaign, 100 + 250 * turn)
            if turn % 2:
                troubles = len(unavailable(daemon))
                wire.refuse()
                wait_until(lambda troubles=troubles: len(unavailable(daemon)) > troubles + 1, "it notices")
                wire.accept()
            else:
                wire.cut()
            seconds.append(recovered(scene, time.monotonic()))
        scene.until(campaign)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    report("wire to the database cut, or refused", PROMISE, in_words(seconds))


def test_the_wire_to_the_database_is_half_open(scene: Scene, report: Report) -> None:
    """Connections stand and no byte moves: every call has a deadline, and afterwards sending goes on by itself."""
    program = scene.plain(600 * ROUNDS)
    seconds: list[float] = []
    with Law(scene.url), Proxy.before(scene.url) as wire, scene.daemon(wire.url(scene.url), **HALF) as daemon:
        campaign = scene.campaign(program, "Hello {points}")
        for turn in range(ROUNDS):
            scene.until_sent(campaign, 100 + 500 * turn)
            known = len(unavailable(daemon))
            wire.stall()
            wait_until(
                lambda known=known: [one for one in unavailable(daemon)[known:] if "did not answer" in one],
                "a deadline passes",
                40,
            )
            wire.flow()
            seconds.append(recovered(scene, time.monotonic()))
        scene.until(campaign)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    report("wire to the database half open for 10 s", PROMISE, in_words(seconds))


def test_answers_of_the_database_are_lost(scene: Scene, report: Report) -> None:
    """A statement takes effect and its answer is lost: claims, reports and slots, one after the other."""
    turns = 12 * ROUNDS
    program = scene.plain(50 * turns)
    with Law(scene.url), Proxy.before(scene.url) as wire, scene.daemon(wire.url(scene.url), **HALF) as daemon:
        campaign = scene.campaign(program, "Hello {points}")
        for turn in range(turns):
            scene.until_sent(campaign, 40 * turn)
            wire.lose_answers()
            time.sleep(0.05)
            wire.cut()
            scene.rows("update passes_master set points_balance = coalesce(points_balance, 0) + 1")
        scene.until(campaign, deadline=90)
        lost = len(daemon.events("lease_lost"))
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    repeats = scene.remote.repeats()["repeatedCalls"]
    report(
        "answers of the database lost",
        PROMISE,
        f"{turns} times, {lost} chunks given up, {repeats} calls repeated",
    )


@pytest.mark.skipif(not LONG, reason="the long form: on a busy machine a share of the rate says little")
def test_a_long_way_to_the_database_costs_little_of_the_rate(scene: Scene, report: Report) -> None:
    """With 60 or 120 ms to the database and back, the rate is still used."""
    limit, used = 100, {}
    program = scene.plain(10 * limit)
    with Proxy.before(scene.url) as wire:
        for trip in (0, 60, 120):
            wire.delay = trip / 2000
            scene.remote.reset("history")
            with scene.daemon(wire.url(scene.url), RATE_PER_SECOND=limit, DAILY_CAP=0, METADATA="replace"):
                campaign = scene.campaign(program, f"Hello {trip}")
                scene.until(campaign)
            scene.everybody_once(campaign, passes(scene), f"Hello {trip}")
            seen = scene.remote.window(limit=limit, count="all")
            assert seen["certainPeak"] <= limit
            used[trip] = seen["utilisation"]
    # Before blocks knew of the way, half of the rate was left at 120 ms.
    assert used[120] > 0.7 * used[0], used
    report(
        "a long way to the database",
        "the limit is held, the rate is used",
        ", ".join(f"{trip} ms there and back: {100 * share:.0f} % used" for trip, share in used.items()),
    )


def test_a_daemon_may_start_before_the_database(scene: Scene) -> None:
    """A machine that boots in the wrong order: the daemon waits."""
    program = scene.plain(10)
    campaign = scene.campaign(program)
    with Proxy.before(scene.url) as wire:
        wire.refuse()
        daemon = scene.daemon(wire.url(scene.url))
        try:
            daemon.start(wait=False)
            wait_until(lambda: unavailable(daemon), "it waits")
            wire.accept()
            scene.until(campaign)
        finally:
            daemon.close()


# ── the server refuses ──────────────────────────────────────────


@contextlib.contextmanager
def setting(url: str, name: str, value: str) -> Iterator[None]:
    """A setting of the database for new sessions, as an administrator makes it; all old ones are ended."""
    database = sql.Identifier(urlsplit(url).path.lstrip("/"))
    with psycopg.connect(url, autocommit=True) as conn:
        # The administrator's own session may undo it.
        conn.execute("set default_transaction_read_only = off")
        conn.execute(
            sql.SQL("alter database {} set {} = {}").format(
                database, sql.Identifier(name), sql.Literal(value)
            )
        )
        terminate_all(url)
        try:
            yield
        finally:
            conn.execute(sql.SQL("alter database {} reset {}").format(database, sql.Identifier(name)))
            terminate_all(url)


def test_a_read_only_database_is_waited_for(scene: Scene, report: Report) -> None:
    """As after a failover to a standby: writing is refused for some seconds, then it works again."""
    program = scene.plain(400 * ROUNDS)
    seconds = []
    with Law(scene.url), scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello {points}")
        for turn in range(ROUNDS):
            scene.until_sent(campaign, 50 + 350 * turn)
            known = len(unavailable(daemon))
            with setting(scene.url, "default_transaction_read_only", "on"):
                wait_until(
                    lambda known=known: [one for one in unavailable(daemon)[known:] if "25006" in one],
                    "it notices",
                )
            seconds.append(recovered(scene, time.monotonic()))
            assert daemon.running
        scene.until(campaign)
    scene.everybody_once(campaign, passes(scene))
    report("database read-only, as after a failover", PROMISE, in_words(seconds))


REFUSALS: dict[str, LiteralString] = {
    "disk full": "53100",
    "out of memory": "53200",
    "deadlock": "40P01",
    "serialization": "40001",
    "cancelled by an administrator": "57014",
    "lock time-out": "55P03",
    "disk error": "58030",
}
_REFUSE: LiteralString = """
create or replace function public.test_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'refused for a test' using errcode = {};
end $$;
create trigger test_refuse before insert or update or delete on {} execute function public.test_refuse();
"""


@pytest.mark.parametrize("table", ["passbell.deliveries", "passbell.chunks"])
@pytest.mark.parametrize("why", REFUSALS if LONG else ["disk full"])
def test_a_server_that_cannot_write_is_waited_for(scene: Scene, report: Report, why: str, table: str) -> None:
    """The server refuses what it is asked to write, for a while, in the middle of a campaign."""
    program = scene.plain(200)
    schema, name = table.split(".")
    with Law(scene.url), scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello {points}")
        scene.until_sent(campaign, 50)
        scene.rows(sql.SQL(_REFUSE).format(sql.Literal(REFUSALS[why]), sql.Identifier(schema, name)))
        wait_until(lambda: [one for one in unavailable(daemon) if REFUSALS[why] in one], "it notices")
        scene.rows(sql.SQL("drop trigger test_refuse on {}").format(sql.Identifier(schema, name)))
        begun = time.monotonic()
        scene.until(campaign)
        seconds = time.monotonic() - begun
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    report(
        f"server refuses ({why}, {table})", PROMISE, f"completed {seconds:.2f} s after it took writes again"
    )


# ── the server goes down ────────────────────────────────────────


class Downfall:
    """A server of the test's own behind a proxy, so that it may come back on another port."""

    def __init__(self, server: EmbeddedPostgres, wire: Proxy) -> None:
        self.server = server
        self.wire = wire

    def url(self) -> str:
        """The database, through the proxy."""
        return self.wire.url(self.server.url())

    def stop(self, how: int) -> None:
        """End the server by a signal, and wait until it is gone."""
        os.kill(self.server.pid, how)
        self._let_go()

    def _let_go(self) -> None:
        leash = self.server._leash
        assert leash is not None
        assert leash.stdin is not None
        leash.wait(30)
        leash.stdin.close()

    def start(self) -> None:
        """Start it again on the same data, with crash recovery if it needs that."""
        wait_until(self._starts, "the sessions of the killed server have ended")
        self.wire._target = ("127.0.0.1", self.server.port)

    def _starts(self) -> bool:
        # PostgreSQL refuses while sessions of a killed postmaster still hold its shared memory.
        try:
            self.server._run()
        except PostgresUnavailableError as error:
            if "still in use" not in str(error):
                raise
            self._let_go()
            return False
        return True


@pytest.fixture(scope="module")
def downfall() -> Iterator[Downfall]:
    with EmbeddedPostgres(durable=True) as server, Proxy("127.0.0.1", server.port) as wire:
        yield Downfall(server, wire)


@pytest.fixture
def fallible(downfall: Downfall, make_scene: Callable[..., Scene], request: pytest.FixtureRequest) -> Scene:
    """A scene in an empty database of the server that may fall."""
    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(downfall.url(), autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = urlsplit(downfall.url())._replace(path=f"/{name}").geturl()
    load_host(url, "2")
    migrate(url)
    return make_scene("2", url)


FALLS = {"restarted": signal.SIGINT, "stopped at once": signal.SIGQUIT, "killed": signal.SIGKILL}


@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize("fall", FALLS if LONG else ["killed"])
def test_postgresql_itself_goes_down(downfall: Downfall, fallible: Scene, report: Report, fall: str) -> None:
    """Stopped, or kill -9, in a campaign, and started again: what was committed stands, the rest is done again."""
    scene = fallible
    program = scene.plain(400 * ROUNDS)
    seconds = []
    with Law(scene.url), scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello {points}")
        for turn in range(ROUNDS):
            scene.until_sent(campaign, 100 + 400 * turn)
            known = len(unavailable(daemon))
            downfall.stop(FALLS[fall])
            wait_until(lambda known=known: len(unavailable(daemon)) > known, "it notices")
            downfall.start()
            begun = time.monotonic()
            reconnect(scene)
            assert not scene.violations()
            seconds.append(recovered(scene, begun))
        scene.until(campaign)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    report(f"PostgreSQL {fall}", PROMISE, in_words(seconds))


def reconnect(scene: Scene) -> None:
    """The test's own connection has fallen with the server."""
    scene.conn.close()
    scene.conn = psycopg.connect(scene.url, autocommit=True)


@pytest.mark.parametrize("victim", ["the server", "one backend"] if LONG else ["one backend"])
def test_killed_while_a_report_commits(
    downfall: Downfall, fallible: Scene, report: Report, victim: str
) -> None:
    """Kill -9 of the server, or of the one backend (then the server restarts itself), in finish_chunk's commit."""
    scene = fallible
    program = scene.plain(200)
    with scene.daemon(**HALF) as daemon:
        with Holdup(scene.url, "commit") as holdup:
            campaign = scene.campaign(program, "Hello {points}")
            backend = holdup.wait()
            if victim == "the server":
                downfall.stop(signal.SIGKILL)
                downfall.start()
            else:
                os.kill(backend, signal.SIGKILL)
                wait_until(lambda: unavailable(daemon), "it notices")
        begun = time.monotonic()
        wait_until(lambda: _answers(scene), "the server is there again")
        reconnect(scene)
        assert not scene.violations()
        scene.until(campaign)
        seconds = time.monotonic() - begun
        assert daemon.running
    scene.everybody_once(campaign, passes(scene))
    report(f"kill -9 of {victim} in a report's commit", PROMISE, f"completed {seconds:.2f} s later")


def _answers(scene: Scene) -> bool:
    try:
        psycopg.connect(scene.url).close()
    except psycopg.OperationalError:
        return False
    return True


# ── birthdays and imports ───────────────────────────────────────

GUESTS, ROWS = (3_000, 60_000) if LONG else (300, 4_000)
_IMPORT = "insert into member_imports (program_id, csv_upload_url) values (%s, %s) returning id"
WEATHERS: dict[str, Callable[[str, Proxy], object]] = {
    "connections terminated": lambda url, _wire: terminate_all(url),
    "wire cut": lambda _url, wire: wire.cut(),
    "answers lost": lambda _url, wire: (wire.lose_answers(), time.sleep(0.05), wire.cut()),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("weather", WEATHERS if LONG else ["answers lost"])
def test_birthdays_and_imports_get_through(scene: Scene, report: Report, weather: str) -> None:
    """Gifts once, greetings once, every row of the import once, while the database goes away again and again."""
    party = feast(scene, GUESTS)
    club = scene.program("Newcomers")
    scene.publish()
    lines = "".join(f"new{n}@example.com,New,{n:05d}\n" for n in range(ROWS))
    with (
        FileHost() as host,
        Proxy.before(scene.url) as wire,
        scene.daemon(wire.url(scene.url), CSV_ALLOW_PRIVATE=True, **HALF) as daemon,
    ):
        host.files["new.csv"] = f"email,first_name,zip\n{lines}".encode()
        with Storm(lambda: WEATHERS[weather](scene.url, wire), calm=0.4) as storm:
            order = scene.value(_IMPORT, [club, host.link("new.csv")])
            scene.rows("update programs set birthday_bot_enabled = true where id = %s", [party])
            wait_until(lambda: storm.strikes >= 8 * ROUNDS, "it storms", 120)
        begun = time.monotonic()
        ended = wait_until(lambda: _ended(scene, order, party), "both come to their end", 150)
        seconds = time.monotonic() - begun
        campaign = scene.value(
            "select campaign_id from passbell.birthday_runs where completed_at is not null"
        )
        scene.until(campaign)
        assert daemon.running
    given = gifts(scene, party)
    assert (given["once"], given["wrong"], given["logged"]) == (GUESTS, 0, GUESTS)
    assert (ended["status"], ended["created_count"], ended["rejected_count"]) == ("COMPLETED", ROWS, 0), ended
    assert scene.value("select count(*) from users where email like 'new%%'") == ROWS
    assert scene.value("select count(*) from passbell.import_rows") == ROWS
    assert not scene.violations()
    summary = scene.remote.summary(text="Happy Birthday Guest: 50!")
    assert (summary["buzzes"], summary["buzzedOnce"], summary["wrongText"]) == (GUESTS, GUESTS, 0), summary
    report(
        f"birthdays and imports, {weather}",
        "every gift, greeting and row once",
        f"{storm.strikes} times; {GUESTS:,} gifts and {ROWS:,} rows done {seconds:.1f} s after the last",
    )


def _ended(scene: Scene, order: UUID, party: UUID) -> dict[str, Any] | None:
    row = scene.row("select * from member_imports where id = %s", [order])
    return row if row["completed_at"] is not None and gifts(scene, party)["done"] else None
