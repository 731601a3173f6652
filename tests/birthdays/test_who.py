from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Host


def test_a_birthday_today_gets_points_a_log_row_and_a_greeting(host: Host) -> None:
    """A member whose birthday it is has the points, one birthday_logs row, and a greeting with the new balance."""
    program = host.program()
    member = host.member(program, "1990-05-05", first_name="Ann")
    host.member(program, "1990-05-06")

    (run,) = host.run()

    assert (run.program_id, str(run.local_date)) == (program, "2026-05-05")
    assert (run.eligible, run.gifted, run.already_gifted, run.failed) == (1, 1, 0, 0)
    assert host.balance(member) == 150
    (log,) = host.logs()
    assert (log.pass_id, log.year, log.points_awarded) == (member, 2026, 50)
    assert log.message_sent == "Happy Birthday Ann, you have 150 points."
    chunk = host.fetch("select * from passbell.claim_chunk(gen_random_uuid())")[0]
    assert chunk.kind == "BIRTHDAY"
    assert chunk.campaign_id == run.campaign_id
    assert chunk.texts == ["Happy Birthday Ann, you have 150 points."]
    assert host.violations() == []


def test_the_list_shows_what_each_member_would_read(host: Host) -> None:
    """get_birthdays_today gives nothing, and shows the greeting with the balance after the award."""
    program = host.program()
    member = host.member(program, "1990-05-05", first_name="Ann")

    (row,) = host.today()

    assert (row.pass_id, row.program_id, row.first_name, str(row.birth_date)) == (
        member,
        program,
        "Ann",
        "1990-05-05",
    )
    assert (row.birthday_year, row.reward_points, row.already_gifted) == (2026, 50, False)
    assert row.message == "Happy Birthday Ann, you have 150 points."
    assert host.logs() == []
    host.run()
    (row,) = host.today()
    assert row.already_gifted
    assert row.message == "Happy Birthday Ann, you have 150 points."


def test_no_reward_points_means_a_greeting_only(host: Host) -> None:
    """With 0 or no reward points the award function is not called; the greeting still comes."""
    for points in (0, None, -5):
        program = host.program(birthday_reward_points=points)
        member = host.member(program, "1990-05-05")
        (run,) = host.run(program)
        assert run.gifted == 1
        assert host.balance(member) == 100
    assert len(host.greetings()) == 3
    assert {log.points_awarded for log in host.logs()} == {0}


def test_a_program_that_may_not_give_gives_nothing(host: Host, generation: str) -> None:
    """Not enabled, suspended or not provisioned: no gift, no greeting, no row, no error."""
    columns: list[dict[str, object]] = [
        {"birthday_bot_enabled": False},
        {"birthday_bot_enabled": None},  # never decided
        {"passkit_program_id": " "},
    ]
    if generation != "1":
        columns.append({"is_suspended": True})
    if generation == "3":
        columns.append({"passkit_program_id": None})
    programs = [host.program(**each) for each in columns]
    for program in programs:
        host.member(program, "1990-05-05")

    assert host.today() == []
    assert host.run() == []
    assert [host.run(program) for program in programs] == [[] for _ in programs]
    assert host.logs() == host.greetings() == []


def test_an_unknown_program_is_an_error(modern: Host) -> None:
    """A program id that does not exist is told, not silently an empty list."""
    for function in ("run_birthdays", "get_birthdays_today"):
        with pytest.raises(Exception, match="There is no program") as caught:
            modern.fetch(f"select * from {function}(gen_random_uuid())")  # noqa: S608 - one of two names
        assert caught.value.sqlstate == "PB404"  # type: ignore[attr-defined]


def test_a_day_that_no_calendar_shows_is_refused(modern: Host) -> None:
    """Dates that only PostgreSQL knows are an error in words, and leave no run behind."""
    modern.program()
    for day in ("infinity", "-infinity", "5874897-12-31", "0120-01-01", "4713-01-01 BC"):
        for function in ("run_birthdays", "get_birthdays_today"):
            with pytest.raises(Exception, match="on_date is a date from 1900 to 9999") as caught:
                modern.fetch(f"select * from {function}(null, %s::date)", day)  # noqa: S608 - one of two names
            assert caught.value.sqlstate == "PB400", (function, day)  # type: ignore[attr-defined]
    assert modern.fetch("select 1 from passbell.birthday_runs") == []


def test_no_usable_birth_date_no_gift(host: Host) -> None:
    """No birth date, one in the future, or an age over 120 years: nothing, and no crash."""
    for birth_date in (None, "1900-05-05", "2027-05-05", "infinity"):
        program = host.program()
        host.member(program, birth_date)
        assert host.run(program)[0].eligible == 0, birth_date
    assert {run.eligible for run in host.run()} == {0}
    assert host.logs() == []


def test_a_placeholder_is_no_birth_date(host: Host) -> None:
    """The dates that forms and spreadsheets put for 'unknown' get no gift; a true 1 January does."""
    reals = []
    for birth_date in ("1900-01-01", "1970-01-01", "1904-01-01"):
        program = host.program()
        host.member(program, birth_date)
        reals.append(host.member(program, "1991-01-01"))
        (run,) = host.run(program, "2026-01-01")
        assert (run.eligible, run.gifted) == (1, 1), birth_date
    assert sorted(log.pass_id for log in host.logs()) == sorted(reals)


def test_turning_120_still_counts(modern: Host) -> None:
    """The oldest age that is believed is 120."""
    program = modern.program()
    modern.member(program, "1906-05-05")
    modern.member(program, "1905-05-05")
    assert modern.run(program)[0].gifted == 1


def test_opted_out_gets_the_gift_but_no_buzz(host: Host) -> None:
    """Who opted out has the points and the log row, but is in no campaign; who never said is greeted."""
    program = host.program()
    silent = host.member(program, "1990-05-05", marketing_opt_in=False)
    unsaid = host.member(program, "1990-05-05", marketing_opt_in=None)

    (run,) = host.run()

    assert run.gifted == 2
    assert host.balance(silent) == host.balance(unsaid) == 150
    assert [greeting.pass_id for greeting in host.greetings()] == [unsaid]
    assert {log.pass_id: log.message_sent is None for log in host.logs()} == {silent: True, unsaid: False}


def test_only_people_who_opted_out_make_no_campaign(modern: Host) -> None:
    """Gifts without anybody to greet leave no empty campaign behind."""
    modern.member(modern.program(), "1990-05-05", marketing_opt_in=False)
    (run,) = modern.run()
    assert (run.gifted, run.campaign_id) == (1, None)
    assert modern.fetch("select * from push_campaigns") == []


def test_a_pass_that_is_on_no_phone_gets_nothing(host: Host) -> None:
    """An uninstalled, void or inactive pass gets no points, no row and no greeting."""
    columns: tuple[dict[str, object], ...] = (
        {"status": "UNINSTALLED"},
        {"status": "ISSUED"},
        {"status": "VOIDED"},
        {"is_active": False},
    )
    members = []
    for each in columns:
        program = host.program()
        members.append(host.give_pass(program, host.user("1990-05-05"), **each))
        assert host.run(program)[0].eligible == 0, each
    assert {host.balance(member) for member in members} == {100}
    assert {run.eligible for run in host.run()} == {0}
    assert host.logs() == host.greetings() == []


def test_members_without_a_user_row_do_not_disturb(host: Host) -> None:
    """A pass whose member has no users row has no birth date; the others are gifted."""
    program = host.program()
    host.give_pass(program, None)
    host.member(program, "1990-05-05")
    assert host.run()[0].gifted == 1


def test_two_passes_of_one_person_in_a_program_are_one_gift(host: Host) -> None:
    """One person, two passes, one program: one gift, and it stays one when the gifted pass is removed."""
    program = host.program()
    person = host.user("1990-05-05")
    passes = [host.give_pass(program, person) for _ in range(2)]
    host.give_pass(program, person, status="UNINSTALLED")

    assert host.run()[0].eligible == 1
    assert sorted(host.balance(one) for one in passes) == [100, 150]
    gifted = host.logs()[0].pass_id
    host.fetch("update passes_master set status = 'UNINSTALLED' where id = %s", gifted)
    (run,) = host.run()
    assert (run.eligible, run.gifted, run.already_gifted) == (1, 0, 1)
    assert len(host.logs()) == 1


def test_the_pass_that_was_gifted_stands_for_both(modern: Host) -> None:
    """When one of two passes has this year's gift, that one is shown as gifted, whichever comes first."""
    program = modern.program()
    person = modern.user("1990-05-05")
    passes = sorted(modern.give_pass(program, person) for _ in range(2))
    modern.insert("birthday_logs", pass_id=passes[1], program_id=program, year=2026, points_awarded=5)
    (row,) = modern.today()
    assert (row.pass_id, row.already_gifted) == (passes[1], True)


@pytest.mark.parametrize("year", [2025, 2027])
def test_a_gift_of_another_year_does_not_choose_the_pass(modern: Host, year: int) -> None:
    """Last year's gift, or one given by hand ahead of time, went to the other pass: the lower id stands for both."""
    program = modern.program()
    person = modern.user("1990-05-05")
    passes = sorted(modern.give_pass(program, person) for _ in range(2))
    modern.insert(
        "birthday_logs",
        pass_id=passes[1],
        program_id=program,
        year=year,
        local_date=f"{year}-05-05",
        points_awarded=5,
    )
    (row,) = modern.today()
    assert (row.pass_id, row.already_gifted) == (passes[0], False)
    assert modern.run()[0].gifted == 1
    assert [(log.pass_id, log.year) for log in modern.logs() if log.year == 2026] == [(passes[0], 2026)]


def test_passes_in_two_programs_are_two_gifts(host: Host) -> None:
    """A member of two programs is gifted by each."""
    person = host.user("1990-05-05")
    passes = [host.give_pass(host.program(), person) for _ in range(2)]
    assert [run.gifted for run in host.run()] == [1, 1]
    assert [host.balance(one) for one in passes] == [150, 150]


def test_a_corrected_birth_date_within_300_days_gets_no_second_gift(host: Host) -> None:
    """If a birth date is moved to the next week, or across New Year, no second gift is given within 300 days."""
    program = host.program()
    member = host.member(program, "1990-12-20")
    host.clock("2026-12-20 12:00:00+00")
    assert host.run(program)[0].gifted == 1

    host.fetch("update users set birth_date = '1990-01-10'")
    host.clock("2027-01-10 12:00:00+00")
    (row,) = host.today(program)
    assert row.already_gifted
    (run,) = host.run(program)
    assert (run.gifted, run.already_gifted) == (0, 1)

    host.fetch("update users set birth_date = '1990-12-20'")
    host.clock("2027-12-20 12:00:00+00")
    assert host.run(program)[0].gifted == 1
    assert host.balance(member) == 200


@pytest.mark.parametrize(("days", "gifted"), [(299, 0), (300, 1)])
def test_a_gift_that_the_platform_logged_itself_counts(host: Host, days: int, gifted: int) -> None:
    """A gift that another system logged, with created_at alone, blocks a second gift for 300 days as well."""
    program = host.program()
    member = host.member(program, "1990-05-05")
    log = host.insert("birthday_logs", pass_id=member, program_id=program, year=2025, points_awarded=5)
    host.fetch(
        "update birthday_logs set created_at = passbell.now() - make_interval(days => %s) where id = %s",
        days,
        log,
    )
    assert host.run()[0].gifted == gifted


def test_the_year_after_is_a_new_gift_and_a_different_greeting(host: Host) -> None:
    """A year later the same member is gifted again."""
    program = host.program()
    member = host.member(program, "1990-05-05")
    host.run(program, "2026-05-05")
    host.run(program, "2027-05-05")
    host.run(program, "2027-05-05")
    assert host.balance(member) == 200
    assert [log.year for log in host.logs()] == [2026, 2027]


@pytest.mark.parametrize(
    ("leap_day", "expected"), [("FEB_28", "2026-02-28"), ("MAR_01", "2026-03-01"), (" mar_01 ", "2026-03-01")]
)
def test_a_leap_day_birthday_is_kept_every_year(host: Host, leap_day: str, expected: str) -> None:
    """Born on 29 February: gifted on the 28th or on 1 March as the program wishes, on the 29th in leap years."""
    host.fetch("alter table programs drop constraint programs_birthday_leap_day_known")
    program = host.program(birthday_leap_day=leap_day)
    host.member(program, "1992-02-29")
    days = ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02", "2028-02-28", "2028-02-29", "2028-03-01"]
    assert [day for day in days if host.run(program, day)[0].gifted] == [expected, "2028-02-29"]


def test_today_is_the_programs_own_today(host: Host, generation: str) -> None:
    """At one instant it is 4 May in Pago Pago, 5 May in London and 6 May in Kiritimati: each keeps its own date."""
    del generation
    host.clock("2026-05-05 10:30:00+00")
    zones = {
        "Pacific/Pago_Pago": "2026-05-04",
        "Europe/London": "2026-05-05",
        "Pacific/Kiritimati": "2026-05-06",
    }
    for zone, day in zones.items():
        program = host.program(timezone=zone)
        for birth in ("1990-05-04", "1990-05-05", "1990-05-06"):
            host.member(program, birth)
        (row,) = host.today(program)
        assert str(row.birth_date)[5:] == day[5:]
        (run,) = host.run(program)
        assert (str(run.local_date), run.gifted) == (day, 1)


def test_a_broken_message_never_stops_a_gift(host: Host) -> None:
    """With an unknown placeholder, or no message, the gift is given with a plain greeting, and the run says why."""
    for message in ("Hi {nickname}", "", None, "a lone {"):
        program = host.program(birthday_message=message)
        member = host.member(program, "1990-05-05")
        assert host.today(program)[0].message == "Happy Birthday!"
        (run,) = host.run(program)
        assert run.gifted == 1
        assert host.balance(member) == 150
        campaign = host.fetch(
            "select message_text, status_detail from push_campaigns where id = %s", run.campaign_id
        )[0]
        assert campaign.message_text == "Happy Birthday!"
        assert "could not be used" in campaign.status_detail
        assert "could not be used" in host.value(
            "select detail from passbell.birthday_runs where program_id = %s", program
        )


def test_the_preview_and_the_greeting_are_the_same_words(modern: Host) -> None:
    """What the list shows is what is sent: missing names, fallbacks, braces and control characters included."""
    message = "{{Hi}} {first_name|friend} {last_name}, 100% {points} at {program}. {tier_points|0}"
    program = modern.program(birthday_message=message)
    for first, last in (("Ann", "Lee"), (None, None), ("  Bo ", ""), ("Tab\tName", "O'Neil"), ("%s", "{x}")):
        modern.member(program, "1990-05-05", first_name=first, last_name=last)
    shown = {row.pass_id: row.message for row in modern.today()}
    modern.run()
    chunk = modern.fetch("select * from passbell.claim_chunk(gen_random_uuid())")[0]
    assert {str(key): text for key, text in shown.items()} == dict(
        zip(chunk.pass_ids, chunk.texts, strict=True)
    )
    assert shown == {log.pass_id: log.message_sent for log in modern.logs()}


def test_a_list_of_greetings_is_written_as_each_of_them_alone(modern: Host) -> None:
    """A greeting is the same whether it is rendered for many members or for one."""
    messages = [
        "Hi {first_name}, you have {points} points.",
        "{first_name} {last_name}: {points|no}/{tier_points|none} {{100%}} %s %% %1$s at {program|us}!",
        "{first_name|there }{last_name} {last_name|%s} {last_name|}{program}",
        "{first_name}, {last_name}; ",
        "{ POINTS }{program | at }",
        "plain",
    ]
    values = [None, "", "  ", "Ann", " Bo\tX ", "%s", "%1$s {points}", "\x01", "... dots", "Zoë\u200b"]
    numbers = [None, 0, -5, 1_234_567]
    differing = modern.fetch(
        """
        select m.message, f.v as first_name, l.v as last_name, one.text as alone, many.text as listed
          from unnest(%s::text[]) as m (message)
         cross join unnest(%s::text[]) as f (v)
         cross join unnest(%s::text[]) as l (v)
         cross join unnest(%s::text[]) as g (v)
         cross join unnest(%s::bigint[]) as p (v) cross join unnest(%s::bigint[]) as t (v)
         cross join lateral passbell.compile_message(m.message) c
         cross join lateral passbell.birthday_layouts(m.message, g.v) y
         cross join lateral (select passbell.clean_value(f.v) as first, passbell.clean_value(l.v) as last) n
         cross join lateral (select (p.v is null)::int + 2 * (n.first is null)::int + 4 * (n.last is null)::int
                                    + 8 * (t.v is null)::int + 1 as i) x
         cross join lateral passbell.render_message(
                        c.layout, c.fields, c.fallbacks, p.v, f.v, l.v, t.v, g.v) as one (text)
         cross join lateral passbell.fill_layout(
                        y.layouts[x.i], y.gaps[x.i], p.v, n.first, n.last, t.v) as many (text)
         where one.text is distinct from many.text
        """,
        messages,
        values,
        values,
        [None, "Tea % Club"],
        numbers,
        numbers,
    )
    assert differing[:3] == []
