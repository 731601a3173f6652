from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from passbell.database.migrate import migrate
from support.wait import wait_until

if TYPE_CHECKING:
    from conftest import Host, MakeHost

BIRTHDAY = "1990-05-05"


@pytest.mark.parametrize("kind", ["refuses", "raises"])
def test_a_failing_award_rolls_back_that_member_alone(host: Host, kind: str) -> None:
    """The award function refuses or raises for one member: no points, no row, no greeting there; all others gifted."""
    host.tricky_awards()
    program = host.program(birthday_message="Hi")
    members = host.members(program, BIRTHDAY, 5)
    host.trouble(kind, members[2])

    (run,) = host.run()

    assert (run.eligible, run.gifted, run.failed) == (5, 4, 1)
    assert members[2] not in [log.pass_id for log in host.logs()]
    assert members[2] not in [greeting.pass_id for greeting in host.greetings()]
    assert host.value("select count(*) from transactions where pass_id = %s", members[2]) == 0
    (failure,) = host.fetch("select * from passbell.birthday_failures")
    assert failure.pass_id == members[2]
    assert "till" in failure.reason.lower()
    assert "till" in host.value("select detail from passbell.birthday_runs").lower()

    host.fetch("delete from award_trouble")
    (run,) = host.run()
    assert (run.eligible, run.gifted, run.already_gifted, run.failed) == (5, 1, 4, 0)
    assert host.fetch("select * from passbell.birthday_failures") == []
    assert host.value("select detail from passbell.birthday_runs") is None


def test_ten_percent_of_the_awards_fail_and_recover(host: Host) -> None:
    """A random tenth of the awards fails: the others are gifted at once, and all of the tenth when it recovers."""
    host.tricky_awards()
    program = host.program(birthday_message="Hi")
    members = host.members(program, BIRTHDAY, 120)
    unlucky = random.Random(4).sample(members, 12)  # noqa: S311 - a repeatable die
    host.trouble("raises", *unlucky[:6])
    host.trouble("refuses", *unlucky[6:])

    worker = uuid4()
    host.work_off(worker)
    assert {log.pass_id for log in host.logs()} == set(members) - set(unlucky)
    host.fetch("delete from award_trouble")
    assert host.work_off(worker) == []  # a pause first
    host.clock("2026-05-05 12:02:00+00")
    assert len(host.work_off(worker)) == 1

    assert sorted(log.pass_id for log in host.logs()) == sorted(members)
    assert host.value("select count(*) from transactions") == 120
    assert sorted(greeting.pass_id for greeting in host.greetings()) == sorted(members)
    assert host.violations() == []
    assert host.value("select completed_at is not null from passbell.birthday_runs")


def test_an_award_that_hangs_is_cut_and_left_behind(modern: Host) -> None:
    """One award never answers: the batch keeps the gifts before it, the member is recorded, the others follow."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = sorted(modern.members(program, BIRTHDAY, 6))
    modern.trouble("hangs", members[2])
    worker = uuid4()
    run = modern.claim(worker)
    with modern.another() as connection:
        connection.execute("set statement_timeout = '1500ms'")
        arguments = (run.program_id, run.local_date, worker)
        first = connection.execute("select * from passbell.gift_batch(%s, %s, %s)", arguments).fetchone()
        second = connection.execute("select * from passbell.gift_batch(%s, %s, %s)", arguments).fetchone()
    assert (first.gifted, first.failed, first.remaining, first.stopped) == (2, 1, 3, True)
    assert first.failed_passes == [members[2]]
    assert first.reasons == ["the award took too long"]
    assert (second.gifted, second.failed, second.remaining) == (3, 0, 0)
    finished = modern.finish(run, worker)
    assert (finished.gifted, finished.failed, finished.completed) == (5, 1, False)
    assert modern.violations() == []


def test_run_birthdays_stops_within_its_time_limit_and_keeps_what_it_gave(modern: Host) -> None:
    """Under a role's statement_timeout a hanging award ends the call, not the gifts that were given before."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = sorted(modern.members(program, BIRTHDAY, 4))
    modern.trouble("hangs", members[1])
    with modern.another() as connection:
        connection.execute("set statement_timeout = '1500ms'")
        run = connection.execute("select * from run_birthdays()").fetchone()
        assert (run.eligible, run.gifted, run.failed) == (4, 1, 1)
    modern.fetch("delete from award_trouble")
    assert modern.run()[0].gifted == 3


def test_a_person_can_cancel(modern: Host) -> None:
    """Ctrl-C in psql ends the call with nothing half done; it is not taken for a hanging award."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = sorted(modern.members(program, BIRTHDAY, 3))
    modern.trouble("hangs", members[1])
    seen: list[BaseException] = []

    def call() -> None:
        with modern.another() as connection:
            connection.execute("set statement_timeout = '60s'")
            try:
                connection.execute("select * from run_birthdays()")
            except psycopg.Error as error:
                seen.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    asleep = "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    pid = wait_until(lambda: modern.fetch(asleep), "the award hangs")[0].pid
    modern.fetch("select pg_cancel_backend(%s)", pid)
    thread.join(30)
    assert isinstance(seen[0], psycopg.errors.QueryCanceled)
    assert modern.logs() == []
    assert modern.fetch("select * from passbell.birthday_failures") == []


def test_a_member_whose_row_is_locked_waits_for_the_next_pass(modern: Host) -> None:
    """The till holds a member's row for long: that gift fails after three seconds, the others do not wait longer."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = modern.members(program, BIRTHDAY, 3)
    with modern.another() as till, till.transaction():
        till.execute("select from protocol_membership where pass_id = %s for update", (members[0],))
        (run,) = modern.run()
    assert (run.gifted, run.failed) == (2, 1)
    assert modern.run()[0].gifted == 1


def test_a_hundred_calls_four_at_once_change_nothing_further(host: Host) -> None:
    """run_birthdays() from four consoles at once, a hundred times: each member is gifted once, nothing is raised."""
    program = host.program()
    members = host.members(program, BIRTHDAY, 40)

    def console(_: int) -> list[tuple[int, int, int, int]]:
        with host.another() as connection:
            answers = [connection.execute("select * from run_birthdays()").fetchone() for _ in range(25)]
        return [(a.eligible, a.gifted, a.already_gifted, a.failed) for a in answers]

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for part in pool.map(console, range(4)) for answer in part]

    assert max(answers, key=lambda a: a[1]) == (40, 40, 0, 0)
    assert answers.count((40, 0, 40, 0)) == 99
    assert sorted(log.pass_id for log in host.logs()) == sorted(members)
    assert {host.balance(member) for member in members} == {150}
    assert sorted(greeting.pass_id for greeting in host.greetings()) == sorted(members)
    assert host.value("select count(*) from push_campaigns") == 1
    assert host.violations() == []


def test_the_campaign_does_not_complete_while_gifts_are_still_given(host: Host) -> None:
    """Greetings go out between the batches, the counts add up at each, and the campaign ends once, at the end."""
    program = host.program()
    members = host.members(program, BIRTHDAY, 7)
    worker = uuid4()
    run = host.claim(worker)
    sent = 0
    while True:
        remaining = host.batch(run, worker, limit=2).remaining
        sent += host.send_all()
        assert host.violations() == []
        assert host.value("select status from push_campaigns") == "PROCESSING"
        assert host.value("select count(*) from notification_logs") == 0
        if not remaining:
            break
    assert 0 < sent < 7
    host.finish(run, worker)
    sent += host.send_all()
    assert sent == len(members)
    campaign = host.fetch("select * from push_campaigns")[0]
    assert (campaign.status, campaign.kind, campaign.recipient_count, campaign.sent_count) == (
        "COMPLETED",
        "BIRTHDAY",
        7,
        7,
    )
    assert [log.recipient_count for log in host.fetch("select * from notification_logs")] == [7]


def test_a_late_award_joins_the_same_campaign(modern: Host) -> None:
    """The day's campaign was over when a failed award worked at last: it goes on for that member, and ends again."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = modern.members(program, BIRTHDAY, 3)
    modern.trouble("refuses", members[0])
    modern.run()
    assert modern.send_all() == 2
    assert modern.value("select status from push_campaigns") == "COMPLETED"
    modern.fetch("delete from award_trouble")
    modern.run()
    assert modern.send_all() == 1
    campaign = modern.fetch("select * from push_campaigns")[0]
    assert (campaign.status, campaign.recipient_count, campaign.sent_count) == ("COMPLETED", 3, 3)
    assert [log.success_count for log in modern.fetch("select * from notification_logs")] == [3]
    assert modern.violations() == []


def test_cancelling_the_greetings_does_not_cancel_the_gifts(modern: Host) -> None:
    """After the day's campaign is cancelled the points are still given, and no phone buzzes."""
    program = modern.program()
    members = modern.members(program, BIRTHDAY, 6)
    worker = uuid4()
    run = modern.claim(worker)
    modern.batch(run, worker, limit=3)
    modern.fetch("select push_cancel(%s)", modern.value("select id from push_campaigns"))
    modern.batch(run, worker)
    assert modern.finish(run, worker).completed
    assert {modern.balance(member) for member in members} == {150}
    assert modern.send_all() == 0
    assert modern.value("select skipped_count from push_campaigns") == 3
    assert modern.violations() == []


def test_a_deleted_log_row_does_not_buzz_twice(modern: Host) -> None:
    """An admin deletes a birthday_logs row to give the points again: they come, the same greeting does not."""
    program = modern.program()
    member = modern.member(program, BIRTHDAY)
    modern.run()
    modern.send_all()
    modern.fetch("delete from birthday_logs")
    assert modern.run()[0].gifted == 1
    assert modern.balance(member) == 200
    assert modern.send_all() == 0
    assert modern.violations() == []


def test_one_programs_trouble_is_not_the_others(modern: Host) -> None:
    """Whatever breaks in one program, the others are gifted, and the run says what it was."""
    programs = sorted(modern.program() for _ in range(3))
    for program in programs:
        modern.member(program, BIRTHDAY)
    modern.fetch(
        f"create function broken() returns trigger language plpgsql as $$ begin"
        f" if new.program_id = '{programs[1]}' then raise 'no campaigns here'; end if; return new; end $$;"
        "create trigger a_broken before insert on push_campaigns for each row execute function broken()"
    )
    assert [(run.gifted, run.failed) for run in modern.run()] == [(1, 0), (0, 1), (1, 0)]
    assert len(modern.logs()) == 2
    assert "no campaigns here" in modern.value(
        "select detail from passbell.birthday_runs where program_id = %s", programs[1]
    )


def test_lost_uniqueness_is_mended_or_refused(make_host: MakeHost, generation: str) -> None:
    """UNIQUE (pass_id, year) is lost: migrate makes it again; with duplicates it names them and no gift is given."""
    host = make_host(generation)
    host.clock("2026-05-05 12:00:00+00")
    program = host.program()
    member = host.member(program, BIRTHDAY)
    host.fetch("alter table birthday_logs drop constraint birthday_logs_pass_id_year_key")
    assert migrate(host.url).warnings == ()
    assert host.value("select passbell.birthday_guard_exists()")

    host.fetch("drop index birthday_logs_pass_id_year_once")
    logs = [
        host.insert("birthday_logs", pass_id=member, program_id=program, year=2024, points_awarded=5)
        for _ in range(2)
    ]
    (warning,) = migrate(host.url).warnings
    assert str(member) in warning
    assert "2024: 2 rows" in warning
    for call in (
        "select * from run_birthdays()",
        "select * from passbell.claim_birthday_run(gen_random_uuid())",
    ):
        with pytest.raises(psycopg.Error, match=f"UNIQUE.*{member} in 2024") as caught:
            host.fetch(call)
        assert caught.value.sqlstate == "PB422"
    assert host.balance(member) == 100

    host.fetch("delete from birthday_logs where id = %s", logs[0])
    assert migrate(host.url).warnings == ()
    assert host.run()[0].gifted == 1


def test_a_unique_index_in_the_other_order_is_as_good(modern: Host) -> None:
    """With UNIQUE (year, pass_id) no second index is made, and gifts are given."""
    modern.fetch("alter table birthday_logs drop constraint birthday_logs_pass_id_year_key")
    modern.fetch("create unique index other_order on birthday_logs (year, pass_id)")
    migrate(modern.url)
    assert modern.value("select to_regclass('birthday_logs_pass_id_year_once') is null")
    modern.member(modern.program(), BIRTHDAY)
    assert modern.run()[0].gifted == 1
