"""The daemon's part: it works off what is due, and bounds what a rule may take."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from passbell.database.pool import Database
from passbell.delivery.automations import Automations
from support.shop import utc
from support.wait import wait_until

if TYPE_CHECKING:
    from support.shop import Shop

EVERY_DAY = "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN"


def test_a_rule_waits_for_no_other_that_looks_at_the_wallets(shop: Shop) -> None:
    """A run whose rule hangs holds the program's look at its wallets: the others go on without one."""
    program = shop.program(timezone="UTC")
    shop.members(program, 3)
    shop.conn.execute(
        "insert into push_automations (program_id, occasion, message_text, is_on, send_at)"
        " values (%s, %s, 'Hi', true, '00:00')",
        [program, EVERY_DAY],
    )

    async def work() -> int:
        async with Database(shop.url, size=1) as database:
            automations = Automations(database, shop.url, uuid4(), statement_seconds=5)
            await automations.fire()
            return automations.fired

    with psycopg.connect(shop.url) as hanging:
        assert hanging.execute("select 1 from passbell.sighted_programs for update").fetchall()
        assert asyncio.run(work()) == 3


def test_a_rule_that_hangs_in_a_new_program_holds_up_no_other_run(shop: Shop) -> None:
    """If the first run of a new program hangs, its other automation runs."""
    program = shop.program(timezone="UTC")
    shop.members(program, 3)
    shop.conn.execute(
        "insert into passbell.triggers (name, query) values ('HANGS', 'select null::uuid, null::text, null::date,"
        " null::timestamptz from (select pg_advisory_xact_lock(4711) offset 0) h')"
    )
    made = {}
    for occasion in ("HANGS", EVERY_DAY):
        made[occasion] = shop.value(
            "insert into push_automations (program_id, occasion, message_text, is_on, send_at)"
            " values (%s, %s, 'Hi', true, '00:00') returning id",
            [program, occasion],
        )
    batch = "select fired from passbell.automation_batch(%s, %s, %s)"
    runs = {}
    for _ in made:
        row = shop.row("select * from passbell.claim_automation_run(%s)", [shop.worker])
        runs[row["automation_id"]] = [row["automation_id"], row["local_date"], shop.worker]
    with psycopg.connect(shop.url, autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        shop.conn.execute("select pg_advisory_lock(4711)")
        hanging = pool.submit(other.execute, batch, runs[made["HANGS"]])
        try:
            wait_until(
                lambda: shop.value(
                    "select count(*) from pg_locks where locktype = 'advisory' and not granted"
                ),
                "the rule hangs",
            )
            shop.conn.execute("set statement_timeout = '5s'")
            assert shop.value(batch, runs[made[EVERY_DAY]]) == 3
        finally:
            shop.conn.execute("reset statement_timeout")
            shop.conn.execute("select pg_advisory_unlock(4711)")
        hanging.result(20)


def test_slow_and_wrong_rules_stop_only_themselves(shop: Shop) -> None:
    """A slow and a wrong trigger each get a sentence and a pause; the other automations run."""
    program = shop.program(timezone="UTC")
    members = shop.members(program, 3)
    shop.conn.execute(
        "insert into passbell.triggers (name, query) values ('WRONG', 'select 1/0'),"
        " ('SLOW', 'select null::uuid, null::text, null::date, null::timestamptz from pg_sleep(60)')"
    )
    for occasion in ("WRONG", "SLOW", EVERY_DAY):
        shop.conn.execute(
            "insert into push_automations (program_id, occasion, message_text, is_on, send_at)"
            " values (%s, %s, 'Hi', true, '00:00')",
            [program, occasion],
        )

    async def work() -> list[int]:
        async with Database(shop.url, size=1) as database:
            automations = Automations(database, shop.url, uuid4(), statement_seconds=5)
            await automations.fire()
            first = automations.fired
            await automations.fire()
            return [first, automations.fired - first]

    assert asyncio.run(work()) == [3, 0]
    rows = shop.rows("select occasion, status_detail from push_automations")
    said = {row["occasion"]: row["status_detail"] for row in rows}
    assert "division by zero" in said["WRONG"]
    assert said["SLOW"] == "The rule took longer than 5 seconds."
    assert said[EVERY_DAY].endswith(": 3 members were due; the message goes to all of them.")
    assert shop.value("select array_agg(pass_id order by pass_id) from passbell.occasions") == members
    assert shop.value("select count(*) from passbell.automation_runs where not_before > now()") == 2


def test_wallets_are_looked_at_between_runs(shop: Shop) -> None:
    """A pass that comes in while JOINED is on is seen within the hour, not with the next day's run."""
    program = shop.program(timezone="UTC")
    insert = (
        "insert into push_automations (program_id, occasion, message_text, is_on)"
        " values (%s, 'JOINED:2', 'Hi', true)"
    )
    shop.clock("2026-06-01 12:00+00")
    shop.conn.execute(insert, [program])
    new = shop.member(program)
    assert shop.value("select passbell.watch_wallets()") is False, "looked at when it was switched on"
    shop.clock("2026-06-01 13:01+00")
    assert shop.value("select passbell.watch_wallets()") is True
    assert shop.value("select passbell.watch_wallets()") is False
    seen = shop.value("select seen_at from passbell.sightings where pass_id = %s", [new])
    assert seen == utc("2026-06-01T13:01:00")
