"""Runs that break off, that meet, that are late, that are limited; and rules that are slow or wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from support.due import automation, run, visit
from support.shop import Shop, utc

if TYPE_CHECKING:
    from uuid import UUID

NOON = utc("2026-06-01T12:00:00")
"""A Monday; 08:00 in New York, 14:00 in Berlin."""

FAULT = """
    create schema fault;
    create sequence fault.writes;
    create table fault.at (n bigint);
    insert into fault.at values (0);
    create function fault.fail() returns trigger language plpgsql as $$
    begin
        if nextval('fault.writes') = (select n from fault.at) then raise exception 'the power went'; end if;
        return null;
    end $$;
"""
WRITTEN = (
    "passbell.automation_runs",
    "passbell.occasions",
    "passbell.chunks",
    "public.push_campaigns",
    "public.push_automations",
    "passbell.sightings",
)


def in_campaigns(shop: Shop) -> list[UUID]:
    """Every pass of every automation's campaign, as often as it is in one."""
    return [
        row["pass_id"]
        for row in shop.rows(
            "select unnest(k.pass_ids) as pass_id from passbell.chunks k"
            " join push_campaigns c on c.id = k.campaign_id where c.kind = 'AUTOMATION'"
        )
    ]


def days(count: float) -> timedelta:
    return timedelta(days=count)


@pytest.mark.parametrize("points", [0, 7])
def test_a_run_that_breaks_off_at_any_write_is_done_once(shop: Shop, points: int) -> None:
    """The process dies at each write of a run in turn: every member gets message and points once."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    members = [shop.member(program, points=0) for _ in range(5)]
    automation(shop, program, "EVERY:MON", reward_points=points)
    shop.conn.execute(FAULT)
    for table in WRITTEN:
        shop.conn.execute(
            f"create trigger fault after insert or update or delete on {table}"
            " for each row execute function fault.fail()"
        )
    now, broken, claimed, done = NOON, 0, [], False
    while not done:
        shop.conn.execute("select setval('fault.writes', 1, false)")
        shop.conn.execute("update fault.at set n = %s", [broken + 1])
        try:
            claimed = shop.rows("select * from passbell.claim_automation_run(%s)", [shop.worker])
            left = 1
            while claimed and left:
                left = shop.row(
                    "select remaining from passbell.automation_batch(%s, %s, %s, 2)",
                    [claimed[0]["automation_id"], claimed[0]["local_date"], shop.worker],
                )["remaining"]
        except psycopg.errors.RaiseException:
            pass
        failed_at = shop.value("select last_value from fault.writes") > broken
        broken += 1
        now += timedelta(minutes=5)
        shop.clock(now)
        assert now < NOON + timedelta(hours=9), "it comes to an end"
        done = not failed_at and shop.value(
            "select bool_and(completed_at is not null) from passbell.automation_runs"
        )
    assert broken > 5
    assert sorted(in_campaigns(shop)) == sorted(members)
    balances = shop.rows("select points_balance from passes_master")
    assert {row["points_balance"] for row in balances} == {points}


def test_a_backend_that_is_killed_between_two_calls_gives_the_run_back(shop: Shop) -> None:
    """After a killed session another daemon takes over the run, and late reports of the first are refused."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    members = [shop.member(program, points=0) for _ in range(4)]
    made = automation(shop, program, "EVERY:MON", reward_points=5)
    other = uuid4()
    claim, batch = (
        "select * from passbell.claim_automation_run(%s)",
        "select * from passbell.automation_batch(%s, %s, %s, 2)",
    )
    assert len(shop.rows(claim, [shop.worker])) == 1
    first = shop.row(batch, [made, NOON.date(), shop.worker])
    assert (first["fired"], first["remaining"]) == (2, 2)
    assert shop.rows(claim, [other]) == []
    shop.clock(NOON + timedelta(minutes=2))
    assert len(shop.rows(claim, [other])) == 1
    with pytest.raises(psycopg.Error, match="lease"):
        shop.rows(batch, [made, NOON.date(), shop.worker])
    assert shop.row(batch, [made, NOON.date(), other])["remaining"] == 0
    assert sorted(in_campaigns(shop)) == sorted(members)


def test_ten_thousand_due_at_once_and_two_who_run_them(shop: Shop) -> None:
    """Two daemons and a person run the same day at the same time: everybody is in the campaign once."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    members = shop.members(program, 10_000)
    automation(shop, program, "EVERY:MON")

    def work(_n: int) -> int:
        twin = Shop(shop.url)
        try:
            return run(twin, NOON)
        finally:
            twin.close()

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(work, range(3))) == [0, 0, 10_000]
    assert sorted(in_campaigns(shop)) == members
    assert shop.value("select count(*) from passbell.occasions") == 10_000


@pytest.mark.parametrize("points", [0, 3])
@pytest.mark.parametrize("due", [5, 6])
def test_the_daily_limit_holds_everybody_and_resume_sends(shop: Shop, due: int, points: int) -> None:
    """At the limit all go; one more, and the campaign waits with everybody in it, rewards in batches included."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    for _ in range(due):
        shop.member(program, points=0)
    made = automation(shop, program, "EVERY:MON", daily_limit=5, reward_points=points)
    shop.rows("select * from passbell.claim_automation_run(%s)", [shop.worker])
    left = 1
    while left:
        done = shop.row(
            "select * from passbell.automation_batch(%s, %s, %s, 2)", [made, NOON.date(), shop.worker]
        )
        left = done["remaining"]
        assert shop.status(done["campaign_id"]) == ("PAUSED" if due > 5 else "PROCESSING")
    held = shop.value("select held_back_by_limit from passbell.automation_runs")
    assert held == (due if due > 5 else 0)
    campaign = done["campaign_id"]
    if due > 5:
        assert shop.send_chunks() == []
        assert "daily limit" in shop.value("select status_detail from push_automations")
        shop.verb("resume", campaign)
    shop.send_chunks()
    assert shop.order(campaign)["sent_count"] == due
    assert run(shop, NOON) == 0


def test_a_reward_that_fails_fails_alone_and_is_tried_again(shop: Shop) -> None:
    """If one reward fails, all others get points and message; the one gets both later, once."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    members = [shop.member(program, points=0) for _ in range(4)]
    made = automation(shop, program, "EVERY:MON", reward_points=5)
    shop.conn.execute("create table refused as select %s::uuid as id", [members[0]])
    shop.conn.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin"
        " if exists (select from refused r where r.id = new.id) then raise exception 'card is locked'; end if;"
        " return new; end $$; create trigger refuse before update on passes_master"
        " for each row execute function refuse()"
    )
    assert [run(shop, NOON), run(shop, NOON)] == [3, 0]
    assert "card is locked" in shop.value("select status_detail from push_automations where id = %s", [made])
    assert shop.value("select completed_at from passbell.automation_runs") is None
    shop.conn.execute("delete from refused")
    assert [run(shop, NOON), run(shop, NOON)] == [1, 0]
    assert sorted(in_campaigns(shop)) == sorted(members)
    assert {row["points_balance"] for row in shop.rows("select points_balance from passes_master")} == {5}
    assert shop.value("select completed_at from passbell.automation_runs") is not None


def test_who_said_no_gets_the_points_and_no_message(shop: Shop) -> None:
    """An opted-out member gets the reward points but no message; without points the member is not due at all."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    shut = shop.member(program, points=0, user={"marketing_opt_in": False})
    automation(shop, program, "EVERY:MON", reward_points=5)
    automation(shop, program, "EVERY:MON")
    assert run(shop, NOON) == 1
    assert in_campaigns(shop) == []
    assert shop.value("select points_balance from passes_master where id = %s", [shut]) == 5


def test_catch_up_counts_both_ends_and_waiting_for_a_send_day_is_free(shop: Shop) -> None:
    """Due on day three with two days of catch-up: sent until day five. Waiting for a send day does not count."""
    for late, rung in ((3, 1), (5, 1), (6, 0)):
        shop.clock(NOON)
        program = shop.program()
        visit(shop, shop.member(program), NOON)
        made = automation(shop, program, "DORMANT:3", catch_up_days=2)
        assert run(shop, NOON + days(late)) == rung
        shop.conn.execute("update push_automations set is_on = false where id = %s", [made])
    for late, rung in ((4, 0), (9, 1), (10, 0), (16, 0)):  # due on a Saturday; day 9 is a Wednesday
        shop.clock(NOON)
        program = shop.program()
        visit(shop, shop.member(program), NOON)
        made = automation(shop, program, "DORMANT:5", catch_up_days=0, send_days="WED")
        assert run(shop, NOON + days(late)) == rung, late
        shop.conn.execute("update push_automations set is_on = false where id = %s", [made])


def test_again_after_starts_on_and_ends_on(shop: Shop) -> None:
    """No two rings within ten days; nothing before the first day or after the last, both of which count."""
    shop.clock(NOON)
    program = shop.program()
    shop.members(program, 1)
    every = "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN"
    automation(shop, program, every, again_after_days=10)
    told = [n for n in range(25) if run(shop, NOON + days(n))]
    assert told == [0, 10, 20]
    shop.conn.execute("update push_automations set is_on = false")
    automation(shop, program, every, starts_on=NOON.date() + days(32), ends_on=NOON.date() + days(34))
    assert [n for n in range(30, 38) if run(shop, NOON + days(n))] == [32, 33, 34]


def test_every_waits_for_a_send_day_whatever_ran_meanwhile(shop: Shop) -> None:
    """A message due on Tuesday with send day Thursday is sent on Thursday, whatever ran by hand in between."""
    first = utc("2026-12-01T12:00:00")
    shop.clock(first - days(5))
    program = shop.program(timezone="UTC")
    shop.members(program, 2)
    automation(shop, program, "EVERY:1", send_days="THU", catch_up_days=9)
    assert [n for n in range(-4, 12) if run(shop, first + days(n))] == [2]
    assert len(in_campaigns(shop)) == 2
    shop.members(program, 1)
    assert run(shop, first + days(9)) == 0, "a member who came after it is not told of a day that is over"


def test_every_does_not_begin_with_a_date_before_its_first_day(shop: Shop) -> None:
    """It is to begin on Thursday: the Monday before is not caught up, and the next Monday is sent."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    shop.members(program, 2)
    automation(shop, program, "EVERY:MON", starts_on=NOON.date() + days(3))
    rung = []
    for n in range(9):
        shop.clock(NOON + days(n))
        for claimed in shop.rows("select * from passbell.claim_automation_run(%s)", [shop.worker]):
            batch = "select fired from passbell.automation_batch(%s, %s, %s)"
            if shop.value(batch, [claimed["automation_id"], claimed["local_date"], shop.worker]):
                rung.append(n)
    assert rung == [7]


def test_a_run_says_what_the_host_does_not_record(shop: Shop) -> None:
    """No visits, no dates of events or coupons: the status names what is missing, until it is there."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    member = shop.member(program, last_updated=NOON - days(30))
    words = {
        "DORMANT:30": "records no visits",
        "EVENT:-1": "date of its event",
        "EXPIRING:3": "coupon expires",
    }
    for occasion in words:
        automation(shop, program, occasion)

    def says() -> dict[str, str]:
        rows = shop.rows("select occasion, status_detail from push_automations")
        return {row["occasion"]: row["status_detail"] for row in rows}

    assert run(shop, NOON) == 1, "last_updated stands in for the last visit"
    assert {occasion for occasion, word in words.items() if word in says()[occasion]} == set(words)
    visit(shop, member, NOON)
    shop.conn.execute(
        "insert into protocol_coupon (pass_id, expiry_date) values (%s, %s)", [member, NOON.date()]
    )
    run(shop, NOON + days(1))
    assert {occasion for occasion, word in words.items() if word in says()[occasion]} == {"EVENT:-1"}


@pytest.mark.parametrize(
    ("due", "fired", "words"),
    [
        (0, 0, "no member was due."),
        (1, 1, "1 member was due; the message goes out."),
        (1, 0, "1 member was due; the message goes to none of them."),
        (1200, 1200, "1,200 members were due; the message goes to all of them."),
        (1200, 1100, "1,200 members were due; the message goes to 1,100 of them."),
    ],
)
def test_a_run_says_in_a_sentence_what_it_did(shop: Shop, due: int, fired: int, words: str) -> None:
    """The page shows the last run as a sentence, also on a day without a member."""
    assert shop.value("select passbell.run_in_words(%s, %s)", [due, fired]) == words


def test_a_day_without_a_member_is_told(shop: Shop) -> None:
    """The run of a day on which no member was due says so on the automation."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    made = automation(shop, program, "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN")
    run(shop, NOON)
    told = shop.value("select status_detail from push_automations where id = %s", [made])
    assert told == f"{NOON:%-d %b %Y}: no member was due."


def test_an_edit_in_the_middle_counts_from_the_next_run(shop: Shop) -> None:
    """Half of the members have their points when words, points and occasion change: the others get the same."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    members = [shop.member(program, points=0) for _ in range(4)]
    made = automation(shop, program, "EVERY:MON,TUE", reward_points=5, message_text="Old")
    batch = "select * from passbell.automation_batch(%s, %s, %s, 2)"
    shop.rows("select * from passbell.claim_automation_run(%s)", [shop.worker])
    assert shop.row(batch, [made, NOON.date(), shop.worker])["remaining"] == 2
    shop.conn.execute(
        "update push_automations set message_text = 'New', reward_points = 50, occasion = 'EVERY:TUE',"
        " target_query = 'WHALE:100000' where id = %s",
        [made],
    )
    assert shop.row(batch, [made, NOON.date(), shop.worker])["remaining"] == 0
    assert {row["points_balance"] for row in shop.rows("select points_balance from passes_master")} == {5}
    assert shop.value("select array_agg(distinct message_text) from push_campaigns") == ["Old"]
    shop.conn.execute("update push_automations set target_query = null where id = %s", [made])
    assert run(shop, NOON + days(1)) == len(members)
    assert {row["points_balance"] for row in shop.rows("select points_balance from passes_master")} == {55}
    texts = shop.rows("select message_text from push_campaigns order by created_at")
    assert sorted(row["message_text"] for row in texts) == ["New", "Old"]


def test_whoever_is_forgotten_leaves_a_proof_without_a_name(shop: Shop) -> None:
    """push_forget: the occasion stays and is not sent again; the failed reward and the suppression go; results stay."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC")
    one, two = (shop.member(program, user={"first_name": name}, external_id=name) for name in ("Ann", "Bo"))
    for each in (one, two):
        visit(shop, each, NOON - days(1))
    made = automation(shop, program, "DORMANT:1", message_text="Hi {first_name}")
    assert run(shop, NOON) == 2
    campaign = shop.value("select id from push_campaigns")
    shop.send_chunks()
    shop.conn.execute("insert into push_suppressions (program_id, external_id) values (%s, 'Ann')", [program])
    shop.conn.execute(
        "insert into passbell.occasion_failures (automation_id, person_id, occasion, local_date)"
        " select automation_id, person_id, occasion, local_date from passbell.occasions where pass_id = %s",
        [one],
    )
    shop.rows("select * from push_forget('Ann')")
    assert shop.value("select count(*) from push_suppressions") == 0
    assert shop.value("select count(*) from passbell.occasion_failures") == 0
    assert shop.value("select count(*) from passbell.occasions where automation_id = %s", [made]) == 2
    assert [run(shop, NOON + days(n)) for n in (0, 1, 2)] == [0, 0, 0]
    assert shop.order(campaign)["sent_count"] == 2
    assert set(shop.ledger(campaign)) == {two}
    shop.conn.execute("delete from transactions where pass_id = %s", [one])
    shop.conn.execute("update passes_master set user_id = null, external_id = 'gone' where id = %s", [one])
    assert run(shop, NOON + days(3)) == 0


def test_under_opt_in_no_answer_is_no(shop: Shop) -> None:
    """push_consent OPT_IN: of three members only the one who said yes is due."""
    shop.clock(NOON)
    program = shop.program(timezone="UTC", push_consent="OPT_IN")
    answers = (True, None, False)
    yes, *_others = [shop.member(program, user={"marketing_opt_in": answer}, points=0) for answer in answers]
    made = automation(shop, program, "EVERY:MON")
    due = shop.rows("select pass_id from get_due(%s)", [made])
    assert [row["pass_id"] for row in due] == [yes]
    assert run(shop, NOON) == 1
    assert in_campaigns(shop) == [yes]


def test_a_program_that_is_suspended_deleted_or_moved(shop: Shop) -> None:
    """Suspended: nothing, and afterwards what is still in time. Moved over midnight: once. Gone: no trouble."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    one = shop.member(program)
    visit(shop, one, NOON - timedelta(hours=13))  # Monday 01:00 in Berlin, Sunday in New York
    automation(shop, program, "DORMANT:2")
    shop.conn.execute("update programs set is_suspended = true")
    assert run(shop, NOON + days(2)) == 0
    shop.conn.execute("update programs set is_suspended = false")
    assert run(shop, NOON + days(3)) == 1
    shop.conn.execute("update programs set timezone = 'America/New_York'")
    assert [run(shop, NOON + days(n)) for n in (3, 4, 5)] == [0, 0, 0]
    shop.conn.execute("delete from transactions")
    shop.conn.execute("delete from passes_master")
    shop.conn.execute("delete from programs")
    assert run(shop, NOON + days(6)) == 0
    assert shop.rows("select * from passbell.claim_automation_run(%s)", [shop.worker]) == []


def test_rules_of_ones_own_slow_and_wrong_ones_stop_only_themselves(shop: Shop) -> None:
    """A row in passbell.triggers is an occasion; a slow or a wrong one has its sentence, and the others run."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    shop.members(program, 3)
    shop.conn.execute(
        "insert into passbell.triggers (name, parameter_kind, query, condition) values"
        " ('MINE', 'text', 'select r.pass_id, $2, $4, null::timestamptz from passbell.recipients r"
        "                    where r.program_id = $1', null),"
        " ('ABOVE', 'points', null, 'r.points > $2::bigint'),"
        " ('WRONG', 'none', 'select 1/0', null),"
        " ('SLOW', 'none', 'select null::uuid, null::text, null::date, null::timestamptz from pg_sleep(60)', null)"
    )
    made = {
        name: automation(shop, program, name)
        for name in ("WRONG", "SLOW", "MINE:once", "EVERY:MON", "ABOVE:10")
    }
    shop.conn.execute("set statement_timeout = '1500ms'")
    for _ in range(3):  # a slow one ends the call, and is the last from then on
        shop.rows("select * from run_automations()")
    said = {
        row["id"]: row["status_detail"] for row in shop.rows("select id, status_detail from push_automations")
    }
    assert said[made["WRONG"]] == "division by zero"
    assert "took longer than 2 seconds" in said[made["SLOW"]]
    assert len(in_campaigns(shop)) == 6
    shop.conn.execute("update passes_master set points_balance = 20")
    shop.conn.execute("reset statement_timeout")
    shop.conn.execute("delete from passbell.triggers where name in ('SLOW', 'WRONG')")
    assert run(shop, NOON + days(1)) == 3
    shop.conn.execute("update push_automations set is_on = false where id = %s", [made["SLOW"]])


def test_after_a_restore_a_person_decides(shop: Shop) -> None:
    """What may have been sent since the snapshot gathers in paused campaigns; a daemon sends nothing by itself."""
    shop.clock(NOON)
    program = shop.program(timezone="Europe/Berlin")
    members = shop.members(program, 3)
    visit(shop, members[0], NOON - days(1))
    automation(shop, program, "EVERY:TUE", name="Tuesdays")
    automation(shop, program, "DORMANT:2", name="Gone")
    shop.clock(NOON + days(1))  # the snapshot is of noon; a day was lost
    held = shop.rows("select * from passbell.after_restore(%s)", [NOON])
    assert sorted((row["what"], row["name"], row["status"]) for row in held) == [
        ("automation", "Gone 2026-06-02", "PAUSED"),
        ("automation", "Tuesdays 2026-06-02", "PAUSED"),
    ]
    assert run(shop, NOON + days(1)) == 0
    assert shop.send_chunks() == []
    assert shop.rows("select * from passbell.after_restore(%s)", [NOON]) == []
    for row in held:
        shop.verb("resume", row["id"])
    assert sum(len(chunk["pass_ids"]) for chunk in shop.send_chunks()) == 4
