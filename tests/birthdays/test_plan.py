from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Host, MakeHost

MEMBERS = 100_000
EVERY = 370
"""One member in so many has the birthday that the test asks for; the others' are spread over other days."""

FILL = """
insert into users (id, email, first_name, birth_date)
select md5('u' || i)::uuid, 'member' || i || '@example.com', 'Ann' || i,
       case when i %% {every} = 0 then date '1950-05-05' + make_interval(years => i %% 50)
            else date '1950-05-06' + (i %% 363) + make_interval(years => i %% 50) end
  from generate_series(1, {members}) i;
insert into passes_master (id, user_id, program_id, protocol, passkit_internal_id, external_id, status)
select md5('p' || i)::uuid, md5('u' || i)::uuid, '{program}', 'MEMBERSHIP', 'pk' || i, 'M' || i, 'INSTALLED'
  from generate_series(1, {members}) i;
insert into birthday_logs (pass_id, program_id, year, created_at, points_awarded)
select md5('p' || i)::uuid, '{program}', 2025, '2025-05-05', 0 from generate_series(1, {members}) i;
"""

TOUCHED = """
select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) as rows
  from pg_stat_xact_user_tables where schemaname = 'public'
"""


@pytest.fixture(params=["1", "3"])
def crowd(make_host: MakeHost, request: pytest.FixtureRequest) -> Host:
    """100,000 members of one program, 270 of them born on a 5 May, everybody with a gift of last year."""
    host = make_host(request.param)
    host.clock("2026-05-05 12:00:00+00")
    program = host.program(birthday_message="Hi", birthday_reward_points=0)
    host.connection.execute("set session_replication_role = replica")
    host.connection.execute(
        FILL.replace("%%", "%")
        .format(
            every=EVERY,
            members=MEMBERS,
            program=program,
        )
        .encode()
    )
    host.connection.execute("reset session_replication_role")
    return host


@pytest.mark.slow
def test_a_day_touches_only_its_birthdays(crowd: Host) -> None:
    """Among 100,000 members, the 270 birthdays are found through the owner's index: no table is read as a whole.

    Neither before the tables were ever analysed, when the planner expects one birthday, nor after.
    """
    for prepare in ("select", "analyze"):
        crowd.fetch(prepare)
        # A new session: these counters begin anew only there.
        with crowd.another() as session, session.transaction():
            ((rows,),) = session.execute("select count(*) from get_birthdays_today()").fetchall()
            touched = {row.relname: row.rows for row in session.execute(TOUCHED).fetchall()}
            ((scans,),) = session.execute(
                "select pg_stat_get_xact_numscans('idx_users_birthday'::regclass)"
            ).fetchall()
        assert rows == MEMBERS // EVERY
        assert scans == 1
        assert touched["users"] <= 2 * rows
        assert touched["passes_master"] <= 2 * rows
        assert touched["birthday_logs"] <= 2 * rows
        assert touched["protocol_membership"] <= rows
        assert touched["programs"] <= 5
