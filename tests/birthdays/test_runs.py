from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from conftest import Host

BIRTHDAY = "1990-05-05"


@pytest.fixture
def worker() -> UUID:
    return uuid4()


def dates(given: list[Any]) -> list[str]:
    return [str(day) for day in given]


def test_gifts_come_at_the_programs_hour(host: Host, worker: UUID) -> None:
    """Not a minute before birthday_send_at in the program's zone, then once."""
    program = host.program(timezone="America/New_York", birthday_send_at="09:30")
    host.member(program, BIRTHDAY)
    host.clock("2026-05-05 13:29:59+00")
    assert host.work_off(worker) == []
    host.clock("2026-05-05 13:30:00+00")
    assert dates(host.work_off(worker)) == ["2026-05-05"]
    assert host.work_off(worker) == []
    assert len(host.logs()) == 1


def test_a_program_enabled_at_noon_gets_its_day_at_once_and_no_other(host: Host, worker: UUID) -> None:
    """Switching the bot on gifts today's birthdays, and none of the days before."""
    program = host.program(birthday_bot_enabled=False)
    host.member(program, "1990-05-04")
    member = host.member(program, BIRTHDAY)
    assert host.work_off(worker) == []
    host.fetch("update programs set birthday_bot_enabled = true")
    assert dates(host.work_off(worker)) == ["2026-05-05"]
    assert [log.pass_id for log in host.logs()] == [member]


def test_days_with_the_bot_off_are_not_caught_up(modern: Host, worker: UUID) -> None:
    """Switched off on the 5th and on again on the 8th: the 6th and 7th stay without gifts."""
    program = modern.program()
    modern.work_off(worker)
    for day, enabled in ((6, False), (7, False), (8, True)):
        modern.fetch("update programs set birthday_bot_enabled = %s", enabled)
        modern.clock(f"2026-05-0{day} 12:00:00+00")
        given = modern.work_off(worker)
    assert dates(given) == ["2026-05-08"]
    modern.member(program, "1990-05-07")
    assert modern.logs() == []


def test_days_without_a_daemon_are_caught_up(host: Host, worker: UUID) -> None:
    """After three days without a daemon, each missed birthday gets its gift, with the date of the birthday."""
    program = host.program()
    host.work_off(worker)
    for day in (6, 7, 8):
        host.member(program, f"1990-05-0{day}")
    host.clock("2026-05-08 10:00:00+00")
    assert dates(host.work_off(worker)) == ["2026-05-06", "2026-05-07", "2026-05-08"]
    assert dates([log.local_date for log in host.logs()]) == ["2026-05-06", "2026-05-07", "2026-05-08"]


def test_runs_of_a_copied_database_go_on_where_they_left_off(modern: Host, worker: UUID) -> None:
    """In a copied database the days since its last run are made up for."""
    program = modern.program()
    modern.connection.execute(
        "insert into passbell.birthday_runs (program_id, local_date, completed_at) values (%s, '2026-05-05', now())",
        [program],
    )
    modern.clock("2026-05-08 18:00:00+00")
    assert dates(modern.work_off(worker)) == ["2026-05-06", "2026-05-07", "2026-05-08"]


def test_at_most_seven_days_are_caught_up(modern: Host, worker: UUID) -> None:
    """Down for two weeks: the last seven days and today."""
    modern.program()
    modern.work_off(worker)
    modern.clock("2026-05-20 10:00:00+00")
    assert dates(modern.work_off(worker)) == [f"2026-05-{day}" for day in range(13, 21)]


def test_a_birthday_of_last_year_is_last_years(host: Host, worker: UUID) -> None:
    """31 December caught up on 1 January is the gift of the old year; the new year's still comes in December."""
    program = host.program()
    host.clock("2026-12-30 12:00:00+00")
    host.work_off(worker)
    member = host.member(program, "1990-12-31")
    host.clock("2027-01-01 12:00:00+00")
    host.work_off(worker)
    assert [(log.pass_id, log.year, str(log.local_date)) for log in host.logs()] == [
        (member, 2026, "2026-12-31")
    ]
    host.clock("2027-12-31 12:00:00+00")
    host.work_off(worker)
    assert [log.year for log in host.logs()] == [2026, 2027]


def test_a_birthday_caught_up_at_night_buzzes_in_the_morning(modern: Host, worker: UUID) -> None:
    """Started at three in the morning: yesterday's gift is given at once, the phone rings at nine."""
    program = modern.program(timezone="Europe/Paris")
    modern.work_off(worker)
    member = modern.member(program, "1990-05-06")
    modern.clock("2026-05-07 01:00:00+00")
    modern.work_off(worker)
    assert modern.balance(member) == 150
    assert modern.send_all() == 0
    modern.clock("2026-05-07 06:59:59+00")
    assert modern.send_all() == 0
    modern.clock("2026-05-07 07:00:00+00")
    assert modern.send_all() == 1


def test_a_send_time_inside_a_dst_gap(modern: Host, worker: UUID) -> None:
    """02:30 does not exist on 8 March 2026 in New York: the gift comes when the clock has jumped to three."""
    program = modern.program(timezone="America/New_York", birthday_send_at="02:30")
    modern.member(program, "1990-03-08")
    modern.clock("2026-03-08 06:59:59+00")
    assert modern.work_off(worker) == []
    modern.clock("2026-03-08 07:00:00+00")
    assert dates(modern.work_off(worker)) == ["2026-03-08"]


def test_a_send_time_that_comes_twice(modern: Host, worker: UUID) -> None:
    """01:30 comes twice on 1 November 2026 in New York: the gift and the buzz come once, at the first."""
    program = modern.program(timezone="America/New_York", birthday_send_at="01:30")
    member = modern.member(program, "1990-11-01")
    modern.clock("2026-11-01 05:30:00+00")
    assert dates(modern.work_off(worker)) == ["2026-11-01"]
    modern.clock("2026-11-01 06:30:00+00")
    assert modern.work_off(worker) == []
    assert modern.balance(member) == 150


def test_a_date_that_a_zone_skipped(modern: Host, worker: UUID) -> None:
    """Samoa had no 30 December 2011: who was born on that day is gifted on the 31st."""
    program = modern.program(timezone="Pacific/Apia")
    modern.clock("2011-12-29 22:00:00+00")
    modern.work_off(worker)
    modern.member(program, "1990-12-30")
    modern.clock("2011-12-30 22:00:00+00")
    assert dates(modern.work_off(worker)) == ["2011-12-30", "2011-12-31"]
    assert dates([log.local_date for log in modern.logs()]) == ["2011-12-30"]


def test_a_clock_that_jumps_back_repeats_nothing(modern: Host, worker: UUID) -> None:
    """The server's clock falls back by two days and comes again: no day is run twice, none is lost."""
    program = modern.program()
    modern.members(program, BIRTHDAY, 2)
    modern.work_off(worker)
    modern.member(program, "1990-05-06")
    for now in ("2026-05-03 12:00+00", "2026-05-05 08:00+00", "2026-05-05 12:00+00", "2026-05-06 12:00+00"):
        modern.clock(now)
        modern.work_off(worker)
    assert len(modern.logs()) == 3
    assert modern.value("select count(*) from passbell.birthday_runs where local_date >= '2026-05-05'") == 2


def test_a_lease_from_a_wrong_future_does_not_hold_up_the_day(modern: Host, worker: UUID) -> None:
    """A daemon dies while the clock is an hour ahead: when it is set right the run is taken over all the same."""
    modern.members(modern.program(), BIRTHDAY, 2)
    assert modern.claim(uuid4()) is not None
    modern.clock("2026-05-05 11:00:00+00")
    assert dates(modern.work_off(worker)) == ["2026-05-05"]


def test_the_insert_decides_which_daemon_runs(host: Host) -> None:
    """Two daemons tick at the same moment: every run goes to exactly one of them."""
    programs = [host.program() for _ in range(10)]

    def daemon(_: int) -> list[UUID]:
        mine = []
        with host.another() as connection:
            while run := connection.execute(
                "select * from passbell.claim_birthday_run(%s)", (uuid4(),)
            ).fetchone():
                mine.append(run.program_id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        claimed = [program for part in pool.map(daemon, range(4)) for program in part]
    assert sorted(claimed) == sorted(programs)


def test_a_dead_daemons_run_is_taken_over(host: Host) -> None:
    """A daemon dies in the middle: when its lease has run out another one goes on, and the first can no longer."""
    members = host.members(host.program(), BIRTHDAY, 6)
    dead, heir = uuid4(), uuid4()
    run = host.claim(dead)
    host.batch(run, dead, limit=2)
    assert host.claim(heir) is None
    host.clock("2026-05-05 12:01:01+00")
    assert host.claim(heir) == run
    for call in (host.batch, host.finish):
        with pytest.raises(psycopg.Error, match="lease") as caught:
            call(run, dead)
        assert caught.value.sqlstate == "PB412"
    assert host.batch(run, heir).gifted == 4
    finished = host.finish(run, heir)
    assert (finished.eligible, finished.gifted, finished.completed) == (6, 6, True)
    assert {host.balance(member) for member in members} == {150}


def test_a_stopping_daemon_hands_its_run_back(modern: Host, worker: UUID) -> None:
    """After a graceful stop another daemon goes on at once."""
    modern.members(modern.program(), BIRTHDAY, 2)
    run = modern.claim(worker)
    modern.fetch("select passbell.release_birthday_runs(%s)", worker)
    assert modern.claim(uuid4()) == run


def test_kills_at_any_point_lose_nothing_and_repeat_nothing(host: Host) -> None:
    """Two daemons, killed again and again inside and between batches: 150 members, one gift and one greeting each."""
    dice = random.Random(11)  # noqa: S311 - a repeatable die
    program = host.program()
    members = host.members(program, BIRTHDAY, 150)
    minute, kills = 0, 0
    # Each new daemon is a new worker; to open a session for each would be most of what the test costs.
    with host.another() as one, host.another() as two:
        while not host.value(
            "select coalesce(bool_and(completed_at is not null), false) from passbell.birthday_runs"
        ):
            minute += 2
            now = f"2026-05-05 {12 + minute // 60}:{minute % 60:02}:00+00"
            host.clock(now)
            workers = [uuid4(), uuid4()]
            for session in (one, two):
                session.execute("select set_config('passbell.now', %s, false)", [now])
            for _ in range(dice.randint(1, 6)):
                side = dice.randrange(2)
                connection = (one, two)[side]
                run = connection.execute(
                    "select * from passbell.claim_birthday_run(%s)", (workers[side],)
                ).fetchone()
                if run is None:
                    continue
                for _ in range(dice.randint(1, 3)):
                    with connection.transaction() as transaction:
                        connection.execute(
                            "select * from passbell.gift_batch(%s, %s, %s, %s)",
                            (run.program_id, run.local_date, workers[side], dice.randint(1, 9)),
                        )
                        if dice.random() < 0.4:  # killed before the commit
                            kills += 1
                            raise psycopg.Rollback(transaction)
                if kills > 15 and dice.random() < 0.5:
                    host.fetch("update passbell.birthday_runs set worker = %s", workers[side])
                    while connection.execute(
                        "select remaining from passbell.gift_batch(%s, %s, %s)",
                        (run.program_id, run.local_date, workers[side]),
                    ).fetchone()[0]:
                        pass
                    connection.execute(
                        "select passbell.finish_birthday_run(%s, %s, %s)",
                        (run.program_id, run.local_date, workers[side]),
                    )
            host.send_all()
            assert host.violations() == []
    host.send_all()
    assert kills > 10
    assert sorted(log.pass_id for log in host.logs()) == sorted(members)
    assert {host.balance(member) for member in members} == {150}
    campaign = host.fetch("select * from push_campaigns")[0]
    assert (campaign.status, campaign.recipient_count, campaign.sent_count) == ("COMPLETED", 150, 150)


def test_switching_the_bot_off_in_the_middle_lets_the_greetings_go(modern: Host, worker: UUID) -> None:
    """The bot is switched off between two batches: no more gifts, and those who were gifted are still greeted."""
    modern.members(modern.program(), BIRTHDAY, 4)
    run = modern.claim(worker)
    modern.batch(run, worker, limit=2)
    modern.fetch("update programs set birthday_bot_enabled = false")
    assert modern.batch(run, worker).stopped
    modern.clock("2026-05-05 12:30:00+00")  # this daemon dies; another one ticks
    assert modern.claim(uuid4()) is None
    assert modern.send_all() == 2
    assert modern.value("select status from push_campaigns") == "COMPLETED"
    assert len(modern.logs()) == 2


def test_a_suspended_program_goes_on_when_it_may(modern: Host, worker: UUID) -> None:
    """If a program is suspended in a run, the rest of its gifts is given when the suspension ends."""
    members = modern.members(modern.program(), BIRTHDAY, 4)
    run = modern.claim(worker)
    modern.batch(run, worker, limit=2)
    modern.fetch("update programs set is_suspended = true")
    modern.batch(run, worker)
    assert not modern.finish(run, worker).completed
    modern.clock("2026-05-06 08:00:00+00")
    assert modern.claim(worker) is None
    modern.fetch("update programs set is_suspended = false")
    assert dates(modern.work_off(worker)) == ["2026-05-05"]
    assert sorted(log.pass_id for log in modern.logs()) == sorted(members)


def test_failed_awards_are_tried_again_for_a_week_then_given_up(modern: Host, worker: UUID) -> None:
    """An award that never works is tried with growing pauses, at most hourly, and after seven days the run says so."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    member = modern.member(program, BIRTHDAY)
    modern.trouble("refuses", member)
    tries = 0
    for minutes in range(0, 12 * 60, 20):
        modern.clock(f"2026-05-05 {12 + minutes // 60}:{minutes % 60:02}:00+00")
        tries += len(modern.work_off(worker))
    assert 12 <= tries <= 20
    assert modern.value("select attempts from passbell.birthday_failures") == tries
    modern.clock("2026-05-13 12:00:00+00")
    modern.work_off(worker)
    assert modern.value(
        "select detail from passbell.birthday_runs where local_date = '2026-05-05'"
    ).startswith("Given up")


def test_a_run_by_hand_before_the_hour_does_not_end_the_day(modern: Host, worker: UUID) -> None:
    """After gifts by hand at seven, a member who joins at eight gets the gift at nine, and no member two."""
    program = modern.program()
    modern.clock("2026-05-05 07:00:00+00")
    early = modern.member(program, BIRTHDAY)
    assert modern.run()[0].gifted == 1
    late = modern.member(program, BIRTHDAY)
    modern.clock("2026-05-05 09:00:00+00")
    modern.work_off(worker)
    assert {modern.balance(member) for member in (early, late)} == {150}
    assert len(modern.logs()) == 2


def test_a_misspelt_zone_stops_nobody(modern: Host, worker: UUID) -> None:
    """A program with a misspelt timezone runs on New York's time; the others are not affected."""
    for zone in ("Amerika/New_York", "", "UTC"):
        modern.member(modern.program(timezone=zone), BIRTHDAY)
    modern.clock("2026-05-05 13:00:00+00")
    assert len(modern.work_off(worker)) == 3
