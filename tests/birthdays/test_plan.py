from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import Host, MakeHost

MEMBERS = 100_000 if os.environ.get("PASSBELL_LONG") == "1" else 25_000
EVERY = 370
"""One member in so many has the birthday that the test asks for; the others' are spread over other days."""

PROGRAMS = 20
"""The members are spread over so many programs."""

FILL = """
insert into users (id, email, first_name, birth_date)
select md5('u' || i)::uuid, 'member' || i || '@example.com', 'Ann' || i,
       case when i % {every} = 0 then date '1950-05-05' + make_interval(years => i % 50)
            else date '1950-05-06' + (i % 363) + make_interval(years => i % 50) end
  from generate_series(1, {members}) i;
insert into passes_master (id, user_id, program_id, protocol, passkit_internal_id, external_id, status)
select md5('p' || i)::uuid, md5('u' || i)::uuid, (array['{programs}']::uuid[])[i / {every} % {count} + 1],
       'MEMBERSHIP', 'pk' || i, 'M' || i, 'INSTALLED'
  from generate_series(1, {members}) i;
insert into protocol_membership (pass_id, points_balance, tier_points)
select id, 7, 7 from passes_master;
insert into birthday_logs (pass_id, program_id, year, created_at, {more_columns} local_date)
select id, program_id, 2025, '2025-05-05', {more_values} case when id > md5('p1')::uuid then date '2025-05-05' end
  from passes_master;
"""

TOUCHED = """
select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) as rows
  from pg_stat_xact_user_tables where schemaname = 'public'
"""


@pytest.fixture(params=["1", "2", "3"])
def crowd(make_host: MakeHost, request: pytest.FixtureRequest) -> Host:
    """Thousands of members of 20 programs, one in 370 born on a 5 May, everybody with a gift of last year."""
    host = make_host(request.param)
    host.clock("2026-05-05 12:00:00+00")
    programs = [host.program(birthday_message="Hi") for _ in range(PROGRAMS)]
    host.connection.execute("set session_replication_role = replica")
    first = request.param == "1"
    host.connection.execute(
        FILL.format(
            every=EVERY,
            members=MEMBERS,
            programs="','".join(map(str, programs)),
            count=PROGRAMS,
            more_columns="" if first else "points_awarded,",
            more_values="" if first else "50,",
        ).encode()
    )
    host.connection.execute("reset session_replication_role")
    return host


@pytest.mark.slow
def test_a_day_touches_only_its_birthdays(crowd: Host) -> None:
    """Among 25,000 members (or 100,000), the birthdays are found through the owner's index, and each is looked up once.

    For one program and for all twenty, with a plain greeting and one that needs the balance, neither before the
    tables were ever analysed, when the planner expects one birthday, nor after.
    """
    day = MEMBERS // EVERY
    program = crowd.value("select min(id::text)::uuid from programs")
    for prepare in ("select", "analyze"):
        crowd.fetch(prepare)
        for message, memberships in (("Hi", 0), ("Hi {first_name}, {points}", 1)):
            crowd.fetch("update programs set birthday_message = %s", message)
            for only in (None, program):
                rows, scans, touched = look(crowd, only)
                expected = day if only is None else day // PROGRAMS
                assert expected <= rows <= expected + 1
                assert scans == 1
                assert touched["users"] <= 2 * day
                assert touched["passes_master"] <= 2 * day
                assert touched["birthday_logs"] <= 2 * rows
                assert touched["protocol_membership"] <= memberships * rows + 5
                assert touched["programs"] <= 5 * PROGRAMS


def look(crowd: Host, program: UUID | None) -> tuple[int, int, dict[str, int]]:
    """Ask for the day; returns the rows, the scans of the owner's index, and the rows touched in each table."""
    # A new session: these counters begin anew only there.
    with crowd.another() as session, session.transaction():
        ((rows,),) = session.execute("select count(*) from get_birthdays_today(%s)", [program]).fetchall()
        touched = {row.relname: row.rows for row in session.execute(TOUCHED).fetchall()}
        ((scans,),) = session.execute(
            "select pg_stat_get_xact_numscans('idx_users_birthday'::regclass)"
        ).fetchall()
    return rows, scans, touched
