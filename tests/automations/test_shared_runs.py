"""What birthdays and automations share: waiting for locks, the order of paying, a dead daemon's run."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from support.shop import utc

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop

NOON = utc("2026-06-01T12:00:00")
"""A Monday."""
BATCH = {
    "automation": "select fired as given, failed, remaining from passbell.automation_batch(%s, %s, %s, 50, 60)",
    "birthday": "select gifted as given, failed, remaining from passbell.gift_batch(%s, %s, %s, 50, 60)",
}
CLAIM = {
    "automation": "select automation_id as rule, local_date from passbell.claim_automation_run(%s)",
    "birthday": "select program_id as rule, local_date from passbell.claim_birthday_run(%s)",
}


@pytest.fixture(params=["automation", "birthday"])
def kind(request: pytest.FixtureRequest, shop: Shop) -> str:
    """Twenty-four members, each of them due 7 points at noon, by an automation or by the birthday bot."""
    shop.clock(NOON)
    birthday = request.param == "birthday"
    program = shop.program(
        timezone="UTC", birthday_bot_enabled=birthday, birthday_reward_points=7, birthday_message="Hi"
    )
    for _ in range(24):
        shop.member(program, points=0, user={"birth_date": "1990-06-01"})
    if not birthday:
        shop.conn.execute(
            "insert into push_automations (program_id, occasion, message_text, is_on, reward_points)"
            " values (%s, 'EVERY:MON', 'Hi', true, 7)",
            [program],
        )
    return str(request.param)


def members(shop: Shop) -> list[UUID]:
    return [row["id"] for row in shop.rows("select id from passes_master order by id")]


def balances(shop: Shop) -> list[int]:
    return [
        row["points_balance"] for row in shop.rows("select points_balance from passes_master order by id")
    ]


def test_twelve_locked_members_are_waited_for_together_not_each(shop: Shop, kind: str) -> None:
    """Half of the members are open in another transaction: the others have their points within one wait."""
    locked = members(shop)[::2]
    (run,) = shop.rows(CLAIM[kind], [shop.worker])
    with psycopg.connect(shop.url) as other:
        other.execute("select from passes_master where id = any (%s) for update", [locked])
        began = time.monotonic()
        done = shop.row(BATCH[kind], [run["rule"], run["local_date"], shop.worker])
        took = time.monotonic() - began
        other.rollback()
    assert (done["given"], done["failed"], done["remaining"]) == (12, 12, 0)
    assert took < 12 * 3, "each of them had been waited for"
    assert sorted(balances(shop)) == [0] * 12 + [7] * 12
    shop.clock(NOON + timedelta(hours=2))
    shop.rows("select * from run_automations()" if kind == "automation" else "select * from run_birthdays()")
    assert balances(shop) == [7] * 24


def test_members_are_paid_in_the_order_of_their_passes(shop: Shop, kind: str) -> None:
    """Two runs that reward the same members do it in one order, so neither is cut as a deadlock."""
    shop.conn.execute("create table paid (n bigserial, id uuid)")
    shop.conn.execute(
        "create function paid() returns trigger language plpgsql as $$ begin"
        " insert into paid (id) values (new.id); return null; end $$;"
        "create trigger paid after update on passes_master for each row execute function paid()"
    )
    (run,) = shop.rows(CLAIM[kind], [shop.worker])
    shop.row(BATCH[kind], [run["rule"], run["local_date"], shop.worker])
    assert [row["id"] for row in shop.rows("select distinct on (id) id, n from paid order by id")] == members(
        shop
    )
    order = [row["id"] for row in shop.rows("select id, min(n) from paid group by id order by min(n)")]
    assert order == members(shop)


def test_a_dead_daemons_run_is_free_at_once(shop: Shop, kind: str) -> None:
    """If another daemon sees that the run's daemon was killed, it goes on without waiting for the lease."""
    other = uuid4()
    assert len(shop.rows(CLAIM[kind], [shop.worker])) == 1
    assert shop.rows(CLAIM[kind], [other]) == []
    shop.rows("select passbell.bury_workers(%s)", [[shop.worker]])
    assert len(shop.rows(CLAIM[kind], [other])) == 1


def test_a_person_who_has_the_automation_open_stops_nothing(shop: Shop) -> None:
    """A session edits the row, and waits for what the run holds: both come through, and the run is completed later."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    shop.members(program, 3)
    made = shop.value(
        "insert into push_automations (program_id, occasion, message_text, is_on)"
        " values (%s, 'EVERY:MON', 'Hi', true) returning id",
        [program],
    )
    (run,) = shop.rows(CLAIM["automation"], [shop.worker])
    with psycopg.connect(shop.url, autocommit=True) as editor:
        shop.conn.execute("begin")
        shop.rows("select passbell.look_at_wallets(%s)", [program])  # what a run holds to its end
        waits = threading.Thread(
            target=editor.execute,
            args=["update push_automations set occasion = 'DORMANT:3' where id = %s", [made]],
        )
        waits.start()
        blocked = (
            "select count(*) from pg_stat_activity"
            " where wait_event_type = 'Lock' and datname = current_database()"
        )
        with psycopg.connect(shop.url, autocommit=True) as watcher:
            while not (watcher.execute(blocked).fetchone() or (0,))[0]:
                assert waits.is_alive()
        done = shop.row(BATCH["automation"], [made, run["local_date"], shop.worker])
        shop.conn.execute("commit")
        waits.join(30)
        assert not waits.is_alive()
    assert (done["given"], done["remaining"]) == (3, 0)
    assert shop.value("select completed_at from passbell.automation_runs") is None
    assert shop.rows(CLAIM["automation"], [shop.worker]) == []
    shop.clock(NOON + timedelta(seconds=6))
    assert len(shop.rows(CLAIM["automation"], [shop.worker])) == 1
    shop.row(BATCH["automation"], [made, run["local_date"], shop.worker])
    assert shop.value("select completed_at from passbell.automation_runs") is not None
    assert shop.value("select occasion from push_automations") == "DORMANT:3"
