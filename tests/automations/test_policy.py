"""How often is enough: a year with all that sends, and never more than the program wants."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from passbell.devkit.year.messages import Rule
from passbell.devkit.year.restaurant import Restaurant
from support.shop import utc

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from support.shop import Shop

FIRST = utc("2026-09-07T15:00:00")
LONG = bool(os.environ.get("PASSBELL_LONG"))
DAYS = 366 if LONG else 70
SIX = tuple(
    Rule(occasion, occasion, "", f"Words {n}", 0.1, n + 2)
    for n, occasion in enumerate(
        ("DORMANT:10", "AFTER_VISIT:1", "EVERY:MON,FRI", "JOINED:2", "REACHED:20", "ANNIVERSARY")
    )
)


def sent(shop: Shop) -> dict[UUID, list[datetime]]:
    """Per pass, when it was sent something, in order."""
    found: dict[UUID, list[datetime]] = {}
    for row in shop.rows(
        "select pass_id, sent_at from passbell.deliveries where outcome = 'sent' order by sent_at"
    ):
        found.setdefault(row["pass_id"], []).append(row["sent_at"])
    return found


def test_a_year_of_everything_stays_within_the_limits(shop: Shop) -> None:
    """Six automations, weekly broadcasts, birthdays: no pass above 3 in any 14 days, nor two within 36 hours."""
    policy = {"push_max": 3, "push_max_days": 14, "push_min_hours": 36}
    restaurant = Restaurant(shop.conn, 25, rules=SIX, policy=policy)
    restaurant.open()
    always = set(restaurant.life.guests.values())
    for day in range(DAYS):
        restaurant.live(day)
        always = {one for one in always if one.carries and one.opted_in}
    rows = shop.rows("select reason, count(*) as n from passbell.deliveries group by 1")
    counts = {row["reason"]: row["n"] for row in rows}
    kinds = {
        row["kind"] for row in shop.rows("select distinct kind from push_campaigns where sent_count > 0")
    }
    assert kinds == {"BROADCAST", "BIRTHDAY", "AUTOMATION"}
    assert counts["too_often"] > DAYS
    times = sent(shop)
    for guest in always:
        assert len(times[guest.id]) > DAYS / 10, "the limit is used"
    for moments in times.values():
        assert all(later - before >= timedelta(hours=36) for before, later in pairwise(moments))
        assert all(moments[n + 3] - moments[n] >= timedelta(days=14) for n in range(len(moments) - 3))


def test_suppressed_members_get_nothing_until_their_day(shop: Shop) -> None:
    """Staff and complainers are skipped as `suppressed`, and reached again afterwards; a test send reaches them."""
    shop.clock(FIRST)
    program = shop.program()
    shop.member(program, external_id="Staff-1")
    shop.member(program, external_id="guest-1")
    made = shop.row(
        "insert into push_suppressions (program_id, external_id, until, reason) values (%s, ' staff-1 ', %s, ' ')"
        " returning *",
        [program, FIRST + timedelta(days=30)],
    )
    assert (made["external_id"], made["reason"], made["created_at"]) == ("staff-1", None, FIRST)
    first = shop.campaign(program, "One")
    assert shop.send(first)["sent_count"] == 1
    assert sorted(shop.ledger(first).values()) == ["sent", "suppressed"]
    test = shop.value("select push_test(%s, 'Staff-1', 'Hello')", [program])
    assert shop.send(test)["sent_count"] == 1
    shop.clock(FIRST + timedelta(days=30))
    assert shop.send(shop.campaign(program, "Two"))["sent_count"] == 2


def test_a_thousand_skips_hide_no_message(shop: Shop) -> None:
    """With one message a year, that message still counts after a thousand skips."""
    shop.clock(FIRST)
    program = shop.program(push_max=1, push_max_days=365)
    member = shop.member(program)
    assert shop.send(shop.campaign(program, "One"))["sent_count"] == 1
    shop.conn.execute(
        "insert into passbell.deliveries (campaign_id, pass_id, sent_at, attempts, outcome, reason)"
        " select gen_random_uuid(), %s, %s + n * interval '8 hours', 0, 'skipped', 'too_often'"
        "   from generate_series(1, 1050) n",
        [member, FIRST],
    )
    shop.clock(FIRST + timedelta(days=360))
    later = shop.campaign(program, "Later")
    assert shop.send(later)["sent_count"] == 0
    assert shop.ledger(later) == {member: "too_often"}


def test_a_limit_of_no_messages_is_a_limit(shop: Shop) -> None:
    """With push_max 0 no member gets a message, and the count says so; a test send arrives."""
    shop.clock(FIRST)
    program = shop.program(push_max=0, push_max_days=7)
    shop.member(program, external_id="guest-1")
    counted = shop.row("select * from push_preview(%s)", [program])
    assert (counted["in_wallet"], counted["too_often"], counted["reachable"]) == (1, 1, 0)
    first = shop.campaign(program, "One")
    assert shop.send(first)["skipped_count"] == 1
    assert list(shop.ledger(first).values()) == ["too_often"]
    test = shop.value("select push_test(%s, 'guest-1', 'Hello')", [program])
    assert shop.send(test)["sent_count"] == 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"external_id": "  "}, "external_id is empty"),
        ({"external_id": None}, "external_id is empty"),
        ({"program_id": "6f1c9c1e-0d3f-4a0e-9a43-5d1f6f6f3a10"}, "There is no program"),
        ({"program_id": None}, "There is no program"),
    ],
)
def test_a_suppression_that_cannot_be_is_refused(shop: Shop, columns: dict[str, Any], words: str) -> None:
    """A suppression without member or program is refused with a sentence."""
    row = {"program_id": shop.program(), "external_id": "guest-1", **columns}
    with pytest.raises(psycopg.Error, match=words):
        shop.conn.execute(
            "insert into push_suppressions (program_id, external_id) values (%(program_id)s, %(external_id)s)",
            row,
        )


def test_switching_off_works_when_the_rule_is_gone(shop: Shop) -> None:
    """The trigger's row was deleted: the automation can still be switched off, and not on again."""
    program = shop.program()
    shop.conn.execute("insert into passbell.triggers (name, query) values ('MINE', 'select')")
    made = shop.value(
        "insert into push_automations (program_id, occasion, message_text, is_on)"
        " values (%s, 'MINE', 'Hi', true) returning id",
        [program],
    )
    shop.conn.execute("delete from passbell.triggers where name = 'MINE'")
    shop.conn.execute("update push_automations set is_on = false where id = %s", [made])
    with pytest.raises(psycopg.Error, match="Unknown occasion"):
        shop.conn.execute("update push_automations set is_on = true where id = %s", [made])
