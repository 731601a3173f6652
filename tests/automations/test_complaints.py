"""What other tools are complained about: a test per complaint, named after the issue of Mautic that tells of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from support.due import automation, run, visit
from support.shop import utc

if TYPE_CHECKING:
    from support.shop import Shop

NOON = utc("2026-06-01T12:00:00")


def days(count: float) -> timedelta:
    return timedelta(days=count)


def test_mautic_3340_publishing_sends_nothing_overdue(shop: Shop) -> None:
    """When an automation is switched on, members whose occasion was weeks or years ago get nothing, then or later."""
    shop.clock(NOON)
    program = shop.program()
    for n, one in enumerate(shop.members(program, 40)):
        visit(shop, one, NOON - days(31 + n * n))
    automation(shop, program, "DORMANT:30")
    assert [run(shop, NOON + days(n)) for n in range(10)] == [0] * 10


@pytest.mark.parametrize("occasion", ["JOINED:0", "JOINED:2", "REACHED:10", "ALMOST:10", "ENTERS:WHALE:10"])
def test_mautic_3340_whoever_was_there_already_is_not_new(shop: Shop, occasion: str) -> None:
    """Passes in a wallet and balances above the mark before switching on get no message."""
    shop.clock(NOON)
    program = shop.program()
    for _ in range(5):
        shop.member(program, points=50)
    made = automation(shop, program, occasion)
    assert [run(shop, NOON + days(n)) for n in range(4)] == [0] * 4
    shop.conn.execute("update push_automations set is_on = false where id = %s", [made])
    shop.member(program, points=50)
    shop.clock(NOON + days(20))
    shop.conn.execute("update push_automations set is_on = true where id = %s", [made])
    assert [run(shop, NOON + days(20 + n)) for n in range(4)] == [0] * 4
    new = shop.member(program, points=0)
    assert run(shop, NOON + days(24)) == (occasion == "JOINED:0")
    shop.conn.execute("update passes_master set points_balance = 50 where id = %s", [new])
    later = [run(shop, NOON + days(n)) for n in (25, 26, 27)]
    assert sum(later) == (occasion != "JOINED:0")


def test_mautic_6062_a_late_joiner_gets_one_reminder(shop: Shop) -> None:
    """A ticket bought hours before the event, with reminders at seven, three and one days: one of them, not three."""
    shop.conn.execute("alter table protocol_event_ticket add event_date date")
    shop.conn.execute("select passbell.build_occasion_adapters()")
    shop.clock(NOON - days(30))
    program = shop.program(protocol="EVENT_TICKET", push_min_hours=24)
    for before in (7, 3, 1):
        automation(shop, program, f"EVENT:-{before}", message_text=f"{before} days", catch_up_days=0)
    late = shop.member(program, protocol="EVENT_TICKET")
    shop.conn.execute(
        "insert into protocol_event_ticket (pass_id, event_date) values (%s, %s)",
        [late, NOON.date() + days(1)],
    )
    assert run(shop, NOON) == 1
    assert len(shop.send_chunks()) == 1
    assert run(shop, NOON + days(1)) == 0


def test_mautic_6062_what_is_overdue_together_is_one_message(shop: Shop) -> None:
    """After an outage over two Fridays and a Monday a member gets one message of the automation."""
    shop.clock(NOON)
    program = shop.program()
    shop.members(program, 3)
    automation(shop, program, "EVERY:MON,FRI", catch_up_days=14)
    assert run(shop, NOON) == 3
    assert run(shop, NOON + days(9)) == 3
    assert run(shop, NOON + days(10)) == 0


def test_mautic_5279_anniversaries_come_every_year(shop: Shop) -> None:
    """Once a year, every year; 29 February is kept on the 28th in common years."""
    shop.clock(NOON)
    program = shop.program()
    joined = [utc("2020-02-29T12:00:00"), utc("2021-07-01T12:00:00")]
    for at in joined:
        shop.member(program, user={"created_at": at})
    automation(shop, program, "ANNIVERSARY")
    wanted = {"2026-07-01", "2027-02-28", "2027-07-01", "2028-02-29", "2028-07-01"}
    looked = {*wanted, "2026-06-30", "2026-07-02", "2027-02-27", "2027-03-01", "2028-02-28", "2028-03-01"}
    told = {day: run(shop, utc(f"{day}T15:00:00")) for day in sorted(looked)}
    assert told == {day: int(day in wanted) for day in looked}


def test_mautic_7881_reentry_sends_nothing_again(shop: Shop) -> None:
    """The same absence, the same sighting, the same expiry date: told once, whatever leaves and comes in again."""
    shop.clock(NOON)
    program = shop.program()
    automation(shop, program, "JOINED:0")
    made = automation(shop, program, "DORMANT:3")
    one = shop.member(program, user={})
    visit(shop, one, NOON - days(1))
    assert [run(shop, NOON + days(n)) for n in range(4)] == [1, 0, 1, 0]
    execute = shop.conn.execute
    execute("update passes_master set status = 'UNINSTALLED' where id = %s", [one])
    assert run(shop, NOON + days(4)) == 0
    execute("update passes_master set status = 'INSTALLED' where id = %s", [one])
    execute("update push_automations set is_on = false where id = %s", [made])
    execute("update push_automations set is_on = true, switched_on_on = null where id = %s", [made])
    assert [run(shop, NOON + days(n)) for n in (5, 6, 7)] == [0, 0, 0]


@pytest.mark.parametrize("occasion", ["REACHED:100", "ALMOST:100", "ENTERS:WHALE:99"])
def test_mautic_16026_16075_reentry_fires(shop: Shop, occasion: str) -> None:
    """A member who falls below the mark and crosses it again gets the message again: once per crossing."""
    shop.clock(NOON)
    program = shop.program()
    one = shop.member(program, points=50)
    automation(shop, program, occasion)
    balances = [50, 100, 120, 80, 100, 100, 0, 500]
    told = []
    for n, balance in enumerate(balances):
        shop.conn.execute("update passes_master set points_balance = %s where id = %s", [balance, one])
        told.append(run(shop, NOON + days(n)))
    assert told == [0, 1, 0, 0, 1, 0, 0, 1]


def test_mautic_16026_coming_back_makes_a_new_absence(shop: Shop) -> None:
    """Each absence of thirty days rings once."""
    shop.clock(NOON)
    program = shop.program()
    one = shop.member(program)
    visit(shop, one, NOON)
    automation(shop, program, "DORMANT:30")
    told = []
    for n in range(120):
        if n in {40, 75}:
            visit(shop, one, NOON + days(n) + timedelta(hours=-1))
        if run(shop, NOON + days(n)):
            told.append(n)
    assert told == [30, 70, 105]


def test_mautic_9797_nobody_is_entered_twice(shop: Shop) -> None:
    """Two runs of a day, two passes of a person, a user linked or unlinked later: one message."""
    shop.clock(NOON)
    program = shop.program()
    one, two = shop.member(program), shop.member(program)
    for each in (one, two):
        visit(shop, each, NOON - days(1))
    automation(shop, program, "DORMANT:2")
    assert [run(shop, NOON + days(1)), run(shop, NOON + days(1))] == [2, 0]
    three = shop.member(program, user={})
    user = shop.value("select user_id from passes_master where id = %s", [three])
    shop.conn.execute("update passes_master set user_id = %s where id = any (%s)", [user, [one, two]])
    assert run(shop, NOON + days(1)) == 0
    shop.conn.execute("update passes_master set user_id = null")
    assert run(shop, NOON + days(2)) == 0
    for each in (one, two):
        visit(shop, each, NOON + days(3))
    shop.conn.execute("update passes_master set user_id = %s where id = any (%s)", [user, [one, two]])
    assert [run(shop, NOON + days(5)), run(shop, NOON + days(6))] == [1, 0]


def test_mautic_6729_the_frequency_rule_applies_to_all(shop: Shop) -> None:
    """With one message in seven days, the higher priority is sent, and the other is skipped for good."""
    shop.clock(NOON)
    program = shop.program(push_max=1, push_max_days=7)
    shop.members(program, 3)
    low = automation(shop, program, "EVERY:MON", message_text="Low", priority=2)
    high = automation(shop, program, "EVERY:MON", message_text="High", priority=8)
    assert run(shop, NOON) == 6
    shop.send_chunks()
    counts = {
        row["automation_id"]: (row["sent_count"], row["skipped_count"])
        for row in shop.rows("select automation_id, sent_count, skipped_count from push_campaigns")
    }
    assert counts == {high: (3, 0), low: (0, 3)}
    reasons = shop.rows("select distinct reason from passbell.deliveries where outcome = 'skipped'")
    assert reasons == [{"reason": "too_often"}]
    assert run(shop, NOON + days(3)) == 0


def test_a_visit_on_a_pass_that_left_is_told_on_another_one(shop: Shop) -> None:
    """If the card was exchanged, a visit with the old pass is answered on the new pass, which is in the wallet."""
    shop.clock(NOON)
    program = shop.program()
    old = shop.member(program, user={})
    user = shop.value("select user_id from passes_master where id = %s", [old])
    new = shop.member(program, user_id=user)
    visit(shop, old, NOON)
    automation(shop, program, "DORMANT:2")
    shop.conn.execute("update passes_master set status = 'UNINSTALLED' where id = %s", [old])
    assert run(shop, NOON + days(2)) == 1
    assert shop.value("select pass_id from passbell.occasions") == new
    shop.conn.execute("update passes_master set status = 'INSTALLED' where id = %s", [old])
    assert run(shop, NOON + days(3)) == 0
