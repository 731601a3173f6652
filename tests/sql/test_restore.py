"""A database that comes back from a snapshot: what it would do by itself, and what after_restore makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from datetime import datetime

    from support.shop import MakeShop, Row, Shop

SNAPSHOT = "2026-05-05 03:00+00"
RESTORED = "2026-05-05 15:00+00"

REFUSE = """
create function refuse() returns trigger language plpgsql as $$
begin
    if new.pass_id in (select pass_id from public.late) then
        raise exception 'till is closed';
    end if;
    return new;
end $$
"""


def silent_daemon(shop: Shop, at: str | datetime) -> UUID:
    """A daemon as a snapshot shows it: its last heartbeat was at `at`."""
    worker = uuid4()
    shop.conn.execute(
        "insert into passbell.workers (id, host, pid, process, version, heartbeat_at)"
        " values (%s, 'tower', 7, 'gone', '1', %s)",
        [worker, at],
    )
    return worker


def restore(shop: Shop, since: str | None = SNAPSHOT) -> list[Row]:
    return shop.rows("select * from passbell.after_restore(%s::timestamptz)", [since])


@pytest.fixture
def restored(shop: Shop) -> Shop:
    """A shop whose clock stands twelve hours after its snapshot."""
    shop.clock(SNAPSHOT)
    silent_daemon(shop, SNAPSHOT)
    return shop


def test_without_it_a_schedule_of_the_lost_hours_fires_again(restored: Shop) -> None:
    """The reason for all of this: what was due less than a day ago is claimed as if it had never been sent."""
    program = restored.program()
    restored.members(program, 3)
    campaign = restored.campaign(program, scheduled_at="2026-05-05 09:00+00")
    restored.clock(RESTORED)
    assert restored.start(campaign)["action"] == "expanded"


def test_what_would_go_out_by_itself_waits_for_a_person(restored: Shop) -> None:
    """Scheduled, waiting and running campaigns are paused, say why, and nothing is handed out any more."""
    program = restored.program()
    restored.members(program, 60)
    running = restored.campaign(program, "Running")
    restored.start(running)
    restored.finish(restored.chunk() or {})
    scheduled = restored.campaign(program, "Scheduled", scheduled_at="2026-05-05 09:00+00")
    future = restored.campaign(program, "Next week", scheduled_at="2026-05-12 09:00+00")
    restored.clock(RESTORED)

    found = {row["id"]: row for row in restore(restored)}
    assert {key: (row["was"], row["status"]) for key, row in found.items()} == {
        running: ("PROCESSING", "PAUSED"),
        scheduled: ("PENDING", "PAUSED"),
        future: ("PENDING", "PAUSED"),
    }
    assert restored.claim() is None
    assert restored.chunk() is None
    detail = restored.order(running)["status_detail"]
    assert detail.startswith(
        "Held after a restore: what was sent after 2026-05-05 03:00 UTC is not known here."
    )
    assert restored.order(running)["sent_count"] == 50


def test_a_person_lets_one_go_on_and_ends_another(restored: Shop) -> None:
    """Resumed, a campaign reaches the members without an outcome in the snapshot; cancelled, it reaches none."""
    program = restored.program()
    restored.members(program, 60)
    begun = restored.campaign(program, "One")
    restored.start(begun)
    restored.finish(restored.chunk() or {})
    waiting = restored.campaign(program, "Two")
    restored.clock(RESTORED)
    restore(restored)
    restored.verb("resume", waiting)
    restored.verb("cancel", begun)
    assert restored.send(waiting)["sent_count"] == 60
    ended = restored.order(begun)
    assert (ended["status"], ended["sent_count"], ended["skipped_count"]) == ("CANCELLED", 50, 10)


def test_one_that_was_late_at_the_snapshot_is_not_held_twice(restored: Shop) -> None:
    """After the person's word a campaign that is days overdue goes at once."""
    program = restored.program()
    restored.members(program, 2)
    campaign = restored.campaign(program, scheduled_at="2026-05-05 09:00+00")
    restored.clock("2026-05-09 15:00+00")
    restore(restored)
    restored.verb("resume", campaign)
    assert restored.start(campaign)["action"] == "expanded"


def test_drafts_and_paused_ones_warn_whoever_looks(restored: Shop) -> None:
    """They stay as they are and may have been sent since; the words that stood there are kept."""
    program = restored.program()
    restored.members(program, 2)
    draft = restored.campaign(program, "Draft", status="DRAFT")
    paused = restored.campaign(program, "Paused")
    restored.verb("pause", paused)
    restored.clock(RESTORED)
    assert {(row["was"], row["status"]) for row in restore(restored)} == {
        ("DRAFT", "DRAFT"),
        ("PAUSED", "PAUSED"),
    }
    words = "As found after a restore: it may have been sent after 2026-05-05 03:00 UTC."
    assert restored.order(draft)["status_detail"] == words
    assert restored.order(paused)["status_detail"].startswith(words + " Paused by ")


def test_a_daemon_that_outlived_the_restore_can_report_nothing(restored: Shop) -> None:
    """The snapshot has its claim token; afterwards it is void, and the chunk is free."""
    program = restored.program()
    restored.members(program, 2)
    campaign = restored.campaign(program)
    restored.start(campaign)
    chunk = restored.chunk(lease=86_400)
    assert chunk is not None
    restored.clock(RESTORED)
    restore(restored)
    with pytest.raises(psycopg.Error) as refused:
        restored.finish(chunk)
    assert refused.value.sqlstate == "PB412"
    restored.verb("resume", campaign)
    again = restored.chunk()
    assert again is not None
    assert again["pass_ids"] == chunk["pass_ids"]


def test_it_refuses_while_a_daemon_is_alive(restored: Shop) -> None:
    """A daemon that runs would send while the list is being looked at."""
    restored.clock(RESTORED)
    silent_daemon(restored, "2026-05-05 14:59:30+00")
    with pytest.raises(psycopg.Error, match=r"A daemon is running \(tower, process 7\)") as refused:
        restore(restored)
    assert refused.value.sqlstate == "PB422"


def test_the_last_heartbeat_stands_for_the_snapshots_time(restored: Shop) -> None:
    """Without a time, after_restore takes the last heartbeat; without any heartbeat it asks for a time."""
    campaign = restored.campaign(restored.program())
    restored.clock(RESTORED)
    restore(restored, None)
    assert "after 2026-05-05 03:00 UTC" in restored.order(campaign)["status_detail"]
    restored.conn.execute("delete from passbell.workers")
    for nonsense in (None, "2026-05-06 00:00+00"):
        with pytest.raises(psycopg.Error, match="When was the snapshot taken"):
            restore(restored, nonsense)


def test_a_second_call_changes_nothing(restored: Shop) -> None:
    """A second call finds the same campaigns, held once."""
    program = birthday_program(restored)
    birthday_member(restored, program)
    restored.campaign(program)
    restored.clock(RESTORED)
    assert len(restore(restored)) == 2
    before = restored.rows("select * from push_campaigns order by id")
    assert restore(restored) == []
    assert restored.rows("select * from push_campaigns order by id") == before


def birthday_program(shop: Shop, **columns: object) -> UUID:
    program = shop.program(
        **{
            "timezone": "UTC",
            "birthday_bot_enabled": True,
            "birthday_reward_points": 50,
            "birthday_message": "Happy Birthday!",
            **columns,
        }
    )
    shop.rows("select passbell.note_birthday_programs()")
    return program


def birthday_member(shop: Shop, program: UUID, birth_date: str = "1990-05-05", **user: object) -> UUID:
    return shop.member(program, user={"birth_date": birth_date, **user}, points=100)


def run_due(shop: Shop) -> int:
    """What the daemons do about birthdays until nothing is due; how many gifts."""
    gifts = 0
    worker = uuid4()
    while due := shop.rows("select * from passbell.claim_birthday_run(%s)", [worker]):
        what = [due[0]["program_id"], due[0]["local_date"], worker]
        gifts += shop.row("select gifted from passbell.gift_batch(%s, %s, %s)", what)["gifted"]
        shop.rows("select * from passbell.finish_birthday_run(%s, %s, %s)", what)
    return gifts


def test_gifts_come_back_and_greetings_wait(restored: Shop) -> None:
    """The points were lost with the database and are given again; the phones may have shown the greeting."""
    program = birthday_program(restored)
    member = birthday_member(restored, program)
    birthday_member(restored, program, birth_date="1990-05-06")
    restored.clock(RESTORED)
    (held,) = restore(restored)
    assert (held["what"], held["name"], held["status"]) == ("birthday", "Birthdays 2026-05-05", "PAUSED")

    assert run_due(restored) == 1
    assert restored.value("select points from passbell.recipients where pass_id = %s", [member]) == 150
    assert restored.chunk() is None
    assert restored.waiting(held["id"]) == {member}
    restored.verb("resume", held["id"])
    restored.send_chunks()
    assert restored.order(held["id"])["sent_count"] == 1

    restored.clock("2026-05-06 09:00+00")  # the snapshot does not know the next day
    assert run_due(restored) == 1
    assert len(restored.send_chunks()) == 1


def test_a_birthday_whose_hour_has_not_come_is_not_held(restored: Shop) -> None:
    """No member can have been greeted before the program's hour."""
    program = birthday_program(restored, birthday_send_at="18:00")
    birthday_member(restored, program)
    restored.clock(RESTORED)
    assert restore(restored) == []
    restored.clock("2026-05-05 18:00+00")
    assert run_due(restored) == 1
    assert len(restored.send_chunks()) == 1


def test_nobody_is_held_for_whom_nothing_would_be_said(restored: Shop) -> None:
    """No birthday, opted out, or greeted before the snapshot: no campaign is made."""
    program = birthday_program(restored, birthday_send_at="01:00")
    birthday_member(restored, program)
    assert run_due(restored) == 1
    restored.send_chunks()
    other = birthday_program(restored)
    birthday_member(restored, other, marketing_opt_in=False)
    restored.clock(RESTORED)
    assert restore(restored) == []


def test_a_day_that_was_half_done_does_not_greet_the_rest_by_itself(restored: Shop) -> None:
    """A greeting campaign that was complete in the snapshot would go on for those whose gift came later."""
    program = birthday_program(restored, birthday_send_at="01:00")
    birthday_member(restored, program)
    late = birthday_member(restored, program, first_name="Late")
    restored.conn.execute(REFUSE)
    restored.conn.execute("create table late as select %s::uuid as pass_id", [late])
    restored.conn.execute(
        "create trigger refuse before insert on birthday_logs for each row execute function refuse()"
    )
    run_due(restored)
    restored.send_chunks()
    restored.conn.execute("drop trigger refuse on birthday_logs")
    restored.clock(RESTORED)
    (held,) = restore(restored)
    assert (held["was"], held["status"]) == ("COMPLETED", "PAUSED")
    assert run_due(restored) == 1
    assert restored.chunk() is None
    assert restored.waiting(held["id"]) == {late}


@pytest.mark.parametrize("generation", ["1", "3"])
def test_on_the_other_generations_too(make_shop: MakeShop, generation: str) -> None:
    """The oldest and the newest host."""
    shop = make_shop("1" if generation == "1" else "3")
    shop.clock(SNAPSHOT)
    program = birthday_program(shop)
    birthday_member(shop, program)
    shop.clock(RESTORED)
    assert [row["what"] for row in restore(shop)] == ["birthday"]


def test_imports_are_listed_and_go_on(restored: Shop) -> None:
    """The same rows again change nothing, so no person has to decide."""
    program = restored.program()
    made = restored.value(
        "insert into member_imports (program_id, csv_upload_url) values (%s, 'https://x.example/a.csv') returning id",
        [program],
    )
    restored.clock(RESTORED)
    (listed,) = restore(restored)
    assert (listed["what"], listed["id"], listed["status"]) == ("import", made, "PENDING")
