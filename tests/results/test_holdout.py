"""Who is held back, and that somebody held back is never sent anything."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from support.shop import Shop, utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from conftest import MakeDatabase

NOON = utc("2026-06-01T12:00:00")


@pytest.fixture
def shop(database: MakeDatabase) -> Iterator[Shop]:
    """A shop of generation 2. After the test the conservation law is looked at."""
    made = Shop(database("2"), "2")
    made.clock(NOON)
    yield made
    broken = made.violations()
    made.close()
    assert not broken, broken


def lot(person: UUID, salt: UUID) -> float:
    return int.from_bytes(hashlib.sha256(f"{person}{salt}".encode()).digest()[:4], "big") / 2**32


def what(shop: Shop, campaign: UUID, reason: str) -> set[UUID]:
    return {pass_id for pass_id, found in shop.ledger(campaign).items() if found == reason}


def test_the_lot_decides_and_the_counts_add_up(shop: Shop) -> None:
    """20 % held back: exactly those whose lot is below 0.2; they count as skipped, and the rest is sent."""
    program = shop.program()
    members = shop.members(program, 500)
    campaign = shop.campaign(program, holdout_percent=20)
    done = shop.send(campaign)
    held = {one for one in members if lot(one, campaign) < 0.2}
    assert what(shop, campaign, "held_out") == held
    assert (done["sent_count"], done["skipped_count"]) == (500 - len(held), len(held))


def test_the_programs_share_is_stored_when_the_campaign_starts(shop: Shop) -> None:
    """Nothing given: the program's share, as it was at the start; a later change holds nobody more."""
    program = shop.program(push_holdout_percent=30)
    members = shop.members(program, 200)
    campaign = shop.campaign(program)
    shop.start(campaign)
    assert shop.order(campaign)["holdout_percent"] == 30
    shop.conn.execute("update programs set push_holdout_percent = 0 where id = %s", [program])
    shop.send_chunks()
    assert what(shop, campaign, "held_out") == {one for one in members if lot(one, campaign) < 0.3}
    with pytest.raises(psycopg.Error, match="can no longer be changed"):
        shop.conn.execute("update push_campaigns set holdout_percent = 5 where id = %s", [campaign])


def test_named_members_and_tests_are_not_held_unless_asked(shop: Shop) -> None:
    """IDS and a test send reach everybody in a program that holds back half; IDS with a share of its own holds."""
    program = shop.program(push_holdout_percent=50)
    shop.members(program, 40)
    named = shop.value("select 'IDS:' || string_agg(external_id, ',') from passes_master")
    plain = shop.campaign(program, "One", target_query=named)
    assert shop.send(plain)["sent_count"] == 40
    asked = shop.campaign(program, "Two", target_query=named, holdout_percent=50)
    assert 0 < shop.send(asked)["skipped_count"] < 40
    test = shop.value("select push_test(%s, 'M2', 'Hello')", [program])
    shop.start(test)
    shop.send_chunks()
    assert shop.order(test)["sent_count"] == 1


def test_one_lot_for_the_whole_program(shop: Shop) -> None:
    """With push_holdout_group the same people are held back from every campaign of the program."""
    program = shop.program(push_holdout_percent=20, push_holdout_group=True)
    members = shop.members(program, 300)
    held = {one for one in members if lot(one, program) < 0.2}
    for text in ("One", "Two"):
        campaign = shop.campaign(program, text)
        shop.send(campaign)
        assert what(shop, campaign, "held_out") == held


def test_a_person_with_two_passes_is_in_one_arm(shop: Shop) -> None:
    """The lot is drawn with the user: both passes are sent, or both are held back."""
    program = shop.program()
    users = []
    for _ in range(60):
        one = shop.member(program, user={})
        user = shop.value("select user_id from passes_master where id = %s", [one])
        users.append({one, shop.member(program, user_id=user)})
    campaign = shop.campaign(program, holdout_percent=50)
    shop.send(campaign)
    held = what(shop, campaign, "held_out")
    assert held
    assert all(pair <= held or not pair & held for pair in users)


def test_a_crash_in_the_middle_sends_nobody_who_was_held(shop: Shop) -> None:
    """The chunk is claimed anew after its lease: those held stay held, those handed out are repeated."""
    program = shop.program()
    shop.members(program, 100)
    campaign = shop.campaign(program, holdout_percent=20)
    shop.start(campaign)
    first = shop.chunk(lease=5)
    assert first is not None
    held = what(shop, campaign, "held_out")
    shop.clock(NOON + timedelta(seconds=30))
    again = shop.send_chunks()
    assert set(first["pass_ids"]) <= {one for chunk in again for one in chunk["pass_ids"]}
    assert held <= what(shop, campaign, "held_out")
    assert not held & {one for chunk in again for one in chunk["pass_ids"]}


def test_a_retry_draws_no_second_lot(shop: Shop) -> None:
    """Who failed was sent something: a retry never moves them to those held back."""
    program = shop.program()
    members = shop.members(program, 40)
    campaign = shop.campaign(program, holdout_percent=50)
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, "rejected")
    held = what(shop, campaign, "held_out")
    shop.conn.execute("insert into users (id, email) select id, id || '@example.com' from passes_master")
    shop.conn.execute("update passes_master set user_id = (select id from users order by id limit 1)")
    shop.verb("retry_failed", campaign)
    shop.send_chunks()
    assert what(shop, campaign, "held_out") == held
    assert what(shop, campaign, "sent") == set(members) - held


def test_held_back_is_neither_a_message_of_the_day_nor_a_text_on_the_phone(shop: Shop) -> None:
    """Three campaigns that held everybody in their half leave the daily cap untouched."""
    program = shop.program(push_holdout_percent=50, push_holdout_group=True)
    members = shop.members(program, 60)
    held = {one for one in members if lot(one, program) < 0.5}
    for n in range(3):
        now = NOON + timedelta(minutes=3 * n)
        shop.clock(now)
        shop.send(shop.campaign(program, "Same words", created_at=now), cap=3)
    shop.conn.execute("update programs set push_holdout_percent = 0")
    shop.clock(NOON + timedelta(hours=1))
    last = shop.campaign(program, "Same words", created_at=NOON + timedelta(hours=1))
    shop.start(last)
    chunks = shop.send_chunks(cap=3)
    assert what(shop, last, "sent") == held
    assert {text for chunk in chunks for text in chunk["texts"]} == {"Same words"}


# ── how often is enough ──────────────────────────────


def test_push_max_holds_over_a_sliding_week(shop: Shop) -> None:
    """Two in seven days: the third is too_often; when the first is a week old, one more goes."""
    program = shop.program(push_max=2, push_max_days=7)
    member = shop.member(program)
    outcomes = []
    for day in range(10):
        shop.clock(NOON + timedelta(days=day, minutes=day))
        campaign = shop.campaign(program, f"Day {day}")
        shop.send(campaign, cap=0)
        outcomes.append(shop.ledger(campaign)[member])
    assert outcomes == ["sent", "sent", *["too_often"] * 5, "sent", "sent", "too_often"]


def test_push_min_hours_lies_between_two_messages(shop: Shop) -> None:
    """48 hours apart: a message on the next day is too_often, on the third it goes; a test send goes at any time."""
    program = shop.program(push_min_hours=48)
    member = shop.member(program)
    outcomes = []
    for day in range(4):
        shop.clock(NOON + timedelta(days=day, minutes=day))
        campaign = shop.campaign(program, f"Day {day}")
        shop.send(campaign)
        outcomes.append(shop.ledger(campaign)[member])
    assert outcomes == ["sent", "too_often", "sent", "too_often"]
    test = shop.value("select push_test(%s, 'M2', 'Hello')", [program])
    shop.start(test)
    shop.send_chunks()
    assert shop.order(test)["sent_count"] == 1


def test_of_two_that_are_due_the_higher_priority_goes(shop: Shop) -> None:
    """One message a day: the later order with priority 8 is sent, the earlier one with 5 is skipped too_often."""
    program = shop.program(push_max=1, push_max_days=1)
    member = shop.member(program)
    low = shop.campaign(program, "Low")
    high = shop.campaign(program, "High", priority=8)
    while shop.claim() is not None:
        pass
    shop.send_chunks()
    assert shop.ledger(high)[member] == "sent"
    assert shop.ledger(low)[member] == "too_often"


def test_suppressed_members_get_nothing_until_the_day_is_over(shop: Shop) -> None:
    """A row in push_suppressions skips the member with the reason; the case of the id does not matter."""
    program = shop.program()
    staff, guest = shop.member(program, external_id="Staff-1"), shop.member(program)
    shop.conn.execute(
        "insert into push_suppressions (program_id, external_id, until) values (%s, ' staff-1 ', %s)",
        [program, NOON + timedelta(days=1)],
    )
    campaign = shop.campaign(program, "One")
    shop.send(campaign)
    assert shop.ledger(campaign) == {staff: "suppressed", guest: "sent"}
    shop.clock(NOON + timedelta(days=2))
    campaign = shop.campaign(program, "Two")
    shop.send(campaign)
    assert shop.ledger(campaign) == {staff: "sent", guest: "sent"}
