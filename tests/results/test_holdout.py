"""Which members are held back, and that those are never sent anything."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from .conftest import NOON

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop


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
    """Nothing given: the program's share, as it was at the start; a later change holds back no further member."""
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
    """IDS and test sends reach every member in a program that holds back half; IDS with its own share holds back."""
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
    """Both passes of a person are sent, or both are held back."""
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
    """After a crash those held back stay held back, and only those that were handed out are repeated."""
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


def test_two_workers_share_one_lot(shop: Shop) -> None:
    """Chunks claimed by turns by two daemons: the same members are held back as by one, and none is both."""
    program = shop.program()
    members = shop.members(program, 300)
    campaign = shop.campaign(program, holdout_percent=30)
    shop.start(campaign, 20)
    workers = [uuid4(), uuid4()]
    handed: list[UUID] = []
    while chunks := [one for worker in workers if (one := shop.chunk(worker=worker)) is not None]:
        for chunk in reversed(chunks):
            handed += chunk["pass_ids"]
            shop.finish(chunk)
    held = {one for one in members if lot(one, campaign) < 0.3}
    assert what(shop, campaign, "held_out") == held
    assert sorted(handed) == sorted(set(members) - held)


def test_cancelled_before_their_turn_is_not_held_back(shop: Shop) -> None:
    """Paused and cancelled in the middle: who was not reached is `cancelled`, and in neither arm."""
    program = shop.program()
    members = shop.members(program, 200)
    campaign = shop.campaign(program, holdout_percent=40)
    shop.start(campaign, 50)
    for _ in range(2):
        chunk = shop.chunk()
        assert chunk is not None
        shop.finish(chunk)
    shop.verb("pause", campaign)
    assert shop.chunk() is None
    shop.verb("resume", campaign)
    shop.verb("cancel", campaign)
    shop.rows("select * from passbell.drain_cancelled()")
    ledger = shop.ledger(campaign)
    assert set(ledger) == set(members)
    held, sent = what(shop, campaign, "held_out"), what(shop, campaign, "sent")
    assert len(held) + len(sent) == 100 == len(what(shop, campaign, "cancelled"))
    assert all((lot(one, campaign) < 0.4) == (one in held) for one in held | sent)
    shop.conn.execute(
        "insert into transactions (pass_id, action_type, value_change, created_at)"
        " select id, 'MEMBER_EARN', 1, passbell.now() + interval '1 day' from passes_master"
    )
    shop.clock(NOON + timedelta(days=9))
    row = shop.row("select * from push_results(%s)", [campaign])
    assert (row["sent"], row["sent_came"], row["held"], row["held_came"]) == (
        len(sent),
        len(sent),
        len(held),
        len(held),
    )


def test_an_erased_member_leaves_no_name_and_no_hole(shop: Shop) -> None:
    """push_forget removes the member from the ledger, and a result that was counted keeps its counts."""
    program = shop.program()
    members = shop.members(program, 60)
    one = shop.campaign(program, "One", holdout_percent=50)
    shop.send(one)
    shop.clock(NOON + timedelta(days=8))
    counted = shop.row("select * from push_results(%s)", [one])
    other = shop.campaign(program, "Two", holdout_percent=50, created_at=NOON + timedelta(days=8))
    shop.send(other)
    name = shop.value("select external_id from passes_master where id = %s", [members[0]])
    shop.rows("select * from push_forget(%s)", [name])
    assert shop.row("select * from push_results(%s)", [one]) == counted
    shop.clock(NOON + timedelta(days=30))
    row = shop.row("select * from push_results(%s)", [other])
    assert row["sent"] + row["held"] == 59
    kept = shop.value(
        "select string_agg(r::text, ' ') || (select string_agg(h::text, ' ') from passbell.holdouts h)"
        "  from passbell.results r"
    )
    assert str(members[0]) not in kept
    assert f",{name}," not in kept


def test_after_a_restore_the_same_people_are_held(shop: Shop) -> None:
    """A campaign that is resumed after a restore holds back the same members."""
    program = shop.program()
    members = shop.members(program, 120)
    campaign = shop.campaign(program, holdout_percent=30)
    shop.start(campaign, 40)
    assert shop.chunk() is not None
    shop.clock(NOON + timedelta(hours=1))
    shop.rows("select * from passbell.after_restore(%s)", [NOON])
    assert shop.status(campaign) == "PAUSED"
    shop.verb("resume", campaign)
    shop.send_chunks()
    held = {one for one in members if lot(one, campaign) < 0.3}
    assert what(shop, campaign, "held_out") == held
    assert what(shop, campaign, "sent") == set(members) - held


# ── how often is enough ──────────────────────────────


def test_push_max_holds_over_a_sliding_week(shop: Shop) -> None:
    """With two messages in seven days, the third is too_often until the first is a week old."""
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
