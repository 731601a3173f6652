"""Runs by hand in a transaction that is left open: the daemons' runs of the other programs go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from support.due import automation
from support.wait import wait_until

if TYPE_CHECKING:
    from support.shop import Shop


@pytest.mark.parametrize("known", [True, False], ids=["known to the bot", "seen for the first time"])
def test_birthdays(shop: Shop, *, known: bool) -> None:
    """While a person's psql holds one program's gifts uncommitted, another program's run is claimed."""
    today = shop.born_today()
    programs = sorted(
        shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
        for _ in range(2)
    )
    for program in programs:
        shop.member(program, user={"birth_date": today})
    if known:
        shop.conn.execute("select passbell.note_birthday_programs()")
    with psycopg.connect(shop.url) as person:
        person.execute("select * from run_birthdays(%s)", [programs[0]])
        claimed = shop.rows("select program_id from passbell.claim_birthday_run(%s)", [shop.worker])
        assert [row["program_id"] for row in claimed] == programs[1:]


def test_automations(shop: Shop) -> None:
    """The same with automations: those of the program in the transaction are passed over."""
    programs = [shop.program(), shop.program("Other")]
    made = {
        program: [automation(shop, program, "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN") for _ in range(3)]
        for program in programs
    }
    guilty, other = sorted(programs, key=lambda program: min(made[program]))
    for program in programs:
        shop.members(program, 2)
    with psycopg.connect(shop.url) as person:
        person.execute("select * from run_automations(%s)", [guilty])
        claimed = shop.rows("select automation_id from passbell.claim_automation_run(%s)", [shop.worker])
        assert [row["automation_id"] for row in claimed] == [min(made[other])]


def test_the_first_runs_of_a_program_wait_for_each_other_in_one_order(shop: Shop) -> None:
    """Birthdays are given beside an automation's first message of the program: one waits, and no deadlock ends it."""
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
    today = shop.born_today()
    member = shop.member(program, user={"birth_date": today})
    automation(shop, program, "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN")
    gifted: list[int] = []

    def give() -> None:
        with psycopg.connect(shop.url, autocommit=True) as other:
            row = other.execute("select gifted from run_birthdays(%s)", [program]).fetchone()
            gifted.extend(row or ())

    thread = threading.Thread(target=give)
    with psycopg.connect(shop.url) as person:
        person.execute("select * from run_automations(%s)", [program])
        thread.start()
        waits = (
            "select count(*) from pg_stat_activity"
            " where wait_event_type = 'Lock' and strpos(query, 'run_birthdays') > 0"
        )
        wait_until(lambda: shop.value(waits), "the gifts wait")
        person.execute("update passes_master set last_updated = now() where id = %s", [member])
    thread.join(30)
    assert gifted == [1]
