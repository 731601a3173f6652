"""Years of birthdays under an injected clock: whatever the daemons' hours, each member gets each gift once."""

from __future__ import annotations

import calendar
import os
import random
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from conftest import Host, MakeHost

# What a daemon does at each tick, run inside the database: thousands of ticks in seconds.
TICK = """
create function public.tick(p_times timestamptz[], p_limit integer) returns void language plpgsql as $$
declare
    v_time    timestamptz;
    v_run     record;
    v_left    integer;
    v_worker  uuid := gen_random_uuid();
begin
    foreach v_time in array p_times loop
        perform set_config('passbell.now', v_time::text, true);
        loop
            select * into v_run from passbell.claim_birthday_run(v_worker);
            exit when not found;
            loop
                select remaining into v_left
                  from passbell.gift_batch(v_run.program_id, v_run.local_date, v_worker, p_limit);
                exit when v_left = 0;
            end loop;
            perform passbell.finish_birthday_run(v_run.program_id, v_run.local_date, v_worker);
        end loop;
    end loop;
end $$;
"""
# From the first zone that sees a day to the last, with and without DST; then also DST of half an hour.
ZONES = ("Pacific/Kiritimati", "America/New_York", "Pacific/Pago_Pago")
MORE_ZONES = (*ZONES, "Australia/Lord_Howe", "Europe/London", "Asia/Kathmandu")
LONG = os.environ.get("PASSBELL_LONG") == "1"
EDGES = (
    "02-29",
    "02-28",
    "03-01",
    "12-31",
    "01-01",
    "01-02",
    "03-08",
    "03-29",
    "04-05",
    "10-04",
    "10-25",
    "11-01",
)


def kept_on(birth: date, year: int, leap_day: str) -> date:
    """The day of the year on which a birthday is kept."""
    if (birth.month, birth.day) == (2, 29) and not calendar.isleap(year):
        return date(year, 2, 28) if leap_day == "FEB_28" else date(year, 3, 1)
    return date(year, birth.month, birth.day)


class Programs:
    """Programs in several zones with their members, and what each member is to be given."""

    def __init__(self, host: Host, dice: random.Random, zones: Iterable[str], members: int) -> None:
        self.host = host
        self.rules: dict[UUID, tuple[ZoneInfo, time, str]] = {}
        self.births: dict[UUID, tuple[UUID, date]] = {}
        for number, zone in enumerate(zones):
            at = dice.choice([time(0, 0), time(2, 30), time(9, 0), time(23, 59)])
            leap_day = ("FEB_28", "MAR_01")[number % 2]
            program = host.program(
                timezone=zone,
                birthday_send_at=at,
                birthday_leap_day=leap_day,
                birthday_reward_points=0,
                birthday_message="Hi",
            )
            self.rules[program] = (ZoneInfo(zone), at, leap_day)
            days = [*EDGES, *(f"{dice.randint(1, 12):02}-{dice.randint(1, 28):02}" for _ in range(members))]
            for day in days:
                birth = date.fromisoformat(f"{dice.choice([1952, 1972, 1992, 2004])}-{day}")
                self.births[host.member(program, birth, marketing_opt_in=dice.random() < 0.5)] = (
                    program,
                    birth,
                )

    def due(self, first: datetime, last: datetime) -> dict[tuple[UUID, int], date]:
        """Every gift from the first tick's local date to the last tick: (pass, birthday year) and its date."""
        gifts = {}
        for member, (program, birth) in self.births.items():
            zone, at, leap_day = self.rules[program]
            begin, end = first.astimezone(zone).date(), last.astimezone(zone)
            for year in range(begin.year, end.year + 1):
                day = kept_on(birth, year, leap_day)
                if begin <= day and (day < end.date() or (day == end.date() and end.time() >= at)):
                    gifts[member, year] = day
        return gifts

    def given(self) -> list[tuple[UUID, int, date]]:
        """Every gift in birthday_logs: pass, year, date."""
        return [(log.pass_id, log.year, log.local_date) for log in self.host.logs()]

    def check(self, first: datetime, last: datetime) -> None:
        """Each gift that was due was given, once, and no other."""
        given = self.given()
        assert len({(member, year) for member, year, _ in given}) == len(given)
        assert {(member, year): day for member, year, day in given} == self.due(first, last)


def hours_of_a_daemon(dice: random.Random, start: datetime, end: datetime) -> list[datetime]:
    """Moments at which some daemon ticked: a few a day, with outages of up to six days and clocks that jump back."""
    times = [start]
    while times[-1] < end:
        gap = dice.choice(
            [timedelta(hours=dice.uniform(1, 20))] * 12 + [timedelta(days=dice.uniform(1, 5.9))]
        )
        times.append(times[-1] + gap)
        if dice.random() < 0.02:
            times += [times[-1] - timedelta(hours=dice.uniform(1, 30)), times[-1]]
    return times


@pytest.mark.slow
def test_years_around_the_world(make_host: MakeHost) -> None:
    """Thirteen months (or three years) with a leap day, DST changes and outages: each gift is given once."""
    host = make_host("2")
    host.fetch(TICK)
    dice = random.Random(2027)  # noqa: S311 - a repeatable die
    start = datetime(2026, 11, 20, 10, 30, tzinfo=UTC) if LONG else datetime(2028, 2, 20, 10, 30, tzinfo=UTC)
    times = hours_of_a_daemon(dice, start, start + timedelta(days=3 * 365 + 1 if LONG else 390))
    world = Programs(host, dice, ZONES, members=20)
    for begin in range(0, len(times), 100):
        host.fetch("select tick(%s::timestamptz[], 5)", times[begin : begin + 100])
    world.check(start, max(times))
    assert host.violations() == []


@pytest.fixture
def reusable(make_host: MakeHost) -> Host:
    host = make_host("3")
    host.fetch(TICK)
    return host


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    start=st.sampled_from(
        ["2027-02-24", "2028-02-25", "2026-12-27", "2027-03-11", "2027-10-29", "2028-12-28"]
    ),
    hour=st.integers(0, 23),
    gaps=st.lists(st.floats(min_value=0.1, max_value=140), min_size=3, max_size=12),
    zone=st.sampled_from(MORE_ZONES),
    seed=st.integers(0, 10_000),
)
def test_any_outage_around_any_edge(  # noqa: PLR0917 - hypothesis draws them by name
    reusable: Host, start: str, hour: int, gaps: list[float], zone: str, seed: int
) -> None:
    """Around leap days, New Year and DST changes, with any pattern of outages under six days: once each."""
    reusable.fetch(
        "truncate passbell.birthday_runs, passbell.birthday_programs, passbell.chunks, push_campaigns, birthday_logs,"
        " programs, users cascade"
    )
    first = datetime.fromisoformat(start).replace(hour=hour, tzinfo=UTC)
    times = [first]
    for gap in gaps:
        times.append(times[-1] + timedelta(hours=gap))
    dice = random.Random(seed)  # noqa: S311 - a repeatable die
    world = Programs(reusable, dice, [zone], members=6)
    for member in range(30):
        birth = (first + timedelta(days=member)).date().replace(year=1992)
        program = next(iter(world.rules))
        world.births[reusable.member(program, birth)] = (program, birth)
    reusable.fetch("select tick(%s::timestamptz[], 3)", times)
    world.check(first, max(times))
