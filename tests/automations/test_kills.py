"""kill -9 at every step of a run, two daemons, a snapshot that is restored, thousands of rewards: the proof holds."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from passbell.database.pool import Database
from passbell.delivery.automations import Automations
from support.flights import Flights
from support.law import Law
from support.scene import LONG
from support.scenes import make_scene, sandbox, scene
from support.shop import Shop, utc
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from conftest import MakeDatabase
    from support.scene import Scene

__all__ = ["make_scene", "sandbox", "scene"]

EVERY_DAY = "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN"
NOON = utc("2026-06-01T12:00:00")
"""A Monday."""
STEPS = [
    ("run claimed", 1),
    ("batch begins", 1),
    ("batch not committed", 1),
    ("batch done", 1),
    ("batch not committed", 2),
    ("batch done", 1),
    ("chunk claimed", 1),
    ("call answered", 5),
    ("report begins", 1),
]
"""In the order in which a run comes to them; each daemon goes on where the one before it died."""


def automation(shop: Shop, program: UUID, **columns: Any) -> UUID:
    columns = {
        "occasion": EVERY_DAY,
        "message_text": "Hello",
        "is_on": True,
        "holdout_percent": 0,
        "send_at": "00:00",
        **columns,
    }
    found: UUID = shop._insert("push_automations", {"program_id": program, **columns})
    return found


BATCH = "select * from passbell.automation_batch(%s, %s, %s, 2)"


def end_run(shop: Shop, made: UUID, worker: UUID) -> None:
    """Work off what is left of the run."""
    while shop.row(BATCH, [made, NOON.date(), worker])["remaining"]:
        pass


def midday() -> str:
    """A zone in which it is about noon, so that no test meets midnight."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def paid(shop: Shop) -> dict[UUID, int]:
    """The balance of every pass."""
    return {
        row["id"]: row["points_balance"] for row in shop.rows("select id, points_balance from passes_master")
    }


def proofs(shop: Shop) -> list[UUID]:
    """The pass of every proof, as often as there is one."""
    return [row["pass_id"] for row in shop.rows("select pass_id from passbell.occasions order by pass_id")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("points", [5, 0] if LONG else [5])
def test_daemons_are_killed_at_every_step_of_a_run(scene: Scene, points: int) -> None:
    """One run, a daemon dead at each step, then two at once: everybody has the points once and is buzzed once."""
    program = scene.program("Club", timezone=midday())
    members = sorted(scene.member(program, points=0) for _ in range(130))
    scene.publish()
    made = automation(scene, program, reward_points=points)
    flights = None
    with Law(scene.url):
        for step, nth in STEPS:
            if not points and nth > 1:
                continue  # a run without rewards has one batch
            if not points and step == "batch done" and scene.value("select count(*) from passbell.chunks"):
                continue
            doomed = scene.doomed(step, nth, CHUNK_SIZE=30)
            try:
                doomed.start(wait=False)
                doomed.wait_death(60)
            finally:
                doomed.close()
            for row in scene.rows("select id from push_campaigns"):
                flights = flights or Flights(scene, row["id"])
                flights.killed()
            assert not scene.violations()
            assert len(proofs(scene)) == len(set(proofs(scene)))
        with scene.daemon(), scene.daemon():
            wait_until(
                lambda: scene.value("select completed_at is not null from passbell.automation_runs"),
                "the run is completed",
                60,
            )
            campaign = scene.value("select campaign_id from passbell.automation_runs")
            scene.until(campaign)
    assert proofs(scene) == members
    assert paid(scene) == dict.fromkeys(members, points)
    scene.everybody_once(campaign, set(members))
    assert scene.value("select fired_count from push_automations where id = %s", [made]) == 130
    assert flights is not None
    flights.check()


CUT = """
    create schema fault;
    create sequence fault.writes;
    create table fault.at (n bigint);
    insert into fault.at values (0);
    create function fault.cut() returns trigger language plpgsql as $$
    begin
        if nextval('fault.writes') = (select n from fault.at) then
            perform pg_terminate_backend(pg_backend_pid());
        end if;
        return null;
    end $$;
"""
WRITTEN = (
    "passbell.automation_runs",
    "passbell.occasions",
    "passbell.chunks",
    "passbell.awards",
    "public.passes_master",
    "public.push_campaigns",
    "public.push_automations",
)


@pytest.mark.parametrize("points", [0, 7])
def test_the_connection_is_cut_at_every_write_of_a_run(shop: Shop, points: int) -> None:
    """The server ends the session at the first write, at the second, and so on: a reward cannot catch that."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    members = sorted(shop.member(program, points=0) for _ in range(5))
    made = automation(shop, program, occasion="EVERY:MON", reward_points=points)
    shop.conn.execute(CUT)
    for table in WRITTEN:
        shop.conn.execute(
            f"create trigger fault after insert or update or delete on {table}"
            " for each row execute function fault.cut()"
        )
    worker, cuts, now, through = uuid4(), 0, NOON, False
    while not through:
        shop.conn.execute("select setval('fault.writes', 1, false)")
        shop.conn.execute("update fault.at set n = %s", [cuts + 1])
        with closing(Shop(shop.url)) as session:
            session.clock(now)
            try:
                if session.rows("select * from passbell.claim_automation_run(%s)", [worker]):
                    end_run(session, made, worker)
                through = bool(shop.value("select completed_at is not null from passbell.automation_runs"))
            except psycopg.OperationalError:
                cuts += 1
        assert not shop.violations()
        now += timedelta(minutes=3)  # the lease is over
        assert now < NOON + timedelta(hours=11), "it comes to an end"
    assert cuts > 8
    assert proofs(shop) == members
    assert paid(shop) == dict.fromkeys(members, points)
    waiting = shop.rows("select unnest(pass_ids) as pass_id from passbell.chunks order by 1")
    assert [row["pass_id"] for row in waiting] == members


@pytest.mark.timeout(900 if LONG else 120)
def test_thousands_of_rewards_at_once_and_two_daemons(shop: Shop) -> None:
    """Ten thousand (here fewer) are due 3 points twice, to two daemons: each gift is given once."""
    count = 10_000 if LONG else 600
    program = shop.program(timezone=midday())
    members = shop.members(program, count)
    shop.conn.execute("update passes_master set points_balance = 0")
    for _ in range(2):  # a run each, over the same members
        automation(shop, program, reward_points=3)

    async def work() -> int:
        async with Database(shop.url, size=1) as database:
            automations = Automations(database, shop.url, uuid4())
            while (
                shop_value("select count(*) from passbell.automation_runs where completed_at is not null") < 2
            ):
                await automations.fire()
                await asyncio.sleep(0.05)
            return automations.fired

    def shop_value(query: str) -> int:
        with psycopg.connect(shop.url, autocommit=True) as other:
            row = other.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    async def both() -> list[int]:
        return list(await asyncio.gather(work(), work()))

    fired = asyncio.run(both())
    assert sum(fired) == 2 * count, "the runs, side by side, waited for each other in no circle"
    assert paid(shop) == dict.fromkeys(members, 6)
    assert shop.rows("select * from passbell.occasion_failures") == []
    assert proofs(shop) == sorted(members * 2)
    recipients = shop.rows("select recipient_count from push_campaigns")
    assert [row["recipient_count"] for row in recipients] == [count, count]


@contextmanager
def copied(url: str) -> Iterator[str]:
    """A copy of a database to which nobody is connected; its URL."""
    name = urlsplit(url).path.removeprefix("/")
    admin = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    with psycopg.connect(admin, autocommit=True) as conn:
        copy = sql.Identifier(f"{name}_snapshot")
        conn.execute(sql.SQL("create database {} template {}").format(copy, sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}_snapshot"))
        finally:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(copy))


def end(shop: Shop, made: UUID, worker: UUID) -> None:
    """Work off what is left of the run, and send what may be sent."""
    end_run(shop, made, worker)
    shop.send_chunks()


@pytest.mark.parametrize("points", [0, 5])
def test_a_snapshot_of_the_middle_of_a_run_is_restored(database: MakeDatabase, points: int) -> None:
    """Back to the middle of a run that was sent meanwhile: nothing goes out until a person says so."""
    url = database("2")
    dead, worker = uuid4(), uuid4()
    with closing(Shop(url, "2")) as shop:
        shop.clock(NOON)
        program = shop.program(timezone="UTC")
        members = sorted(shop.member(program, points=0) for _ in range(6))
        made = automation(shop, program, reward_points=points, occasion="EVERY:MON")
        assert len(shop.rows("select * from passbell.claim_automation_run(%s)", [dead])) == 1
        if points:
            shop.row(BATCH, [made, NOON.date(), dead])
    with copied(url) as snapshot:
        with closing(Shop(url, "2")) as shop:
            shop.clock(NOON)
            end(shop, made, dead)
            assert shop.value("select sent_count from push_campaigns") == 6
        with closing(Shop(snapshot, "2")) as restored:
            restored.clock(NOON + timedelta(hours=1))
            held = restored.rows("select * from passbell.after_restore(%s)", [NOON])
            assert {row["status"] for row in held} == {"PAUSED"}
            with pytest.raises(psycopg.Error, match="lease"):
                restored.row(BATCH, [made, NOON.date(), dead])
            if restored.rows("select * from passbell.claim_automation_run(%s)", [worker]):
                end(restored, made, worker)
            assert restored.send_chunks() == []
            assert proofs(restored) == members
            assert paid(restored) == dict.fromkeys(members, points)
            for row in restored.rows("select id from push_campaigns where status = 'PAUSED'"):
                restored.verb("resume", row["id"])
            restored.send_chunks()
            assert restored.value("select sum(sent_count) from push_campaigns") == 6
            assert not restored.violations()
