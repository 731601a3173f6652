"""How long the birthday query and the gifts take: 1,000,000 members, about 2,700 birthdays.

    .venv/bin/python bench/birthdays.py [DATABASE_URL]      an empty database; without one, a private PostgreSQL

Times depend on the machine; the ratio to a full read of `users`, measured beside them, does not.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, LiteralString

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from passbell.db.migrate import migrate
from support.databases import load_host
from support.servers import server_choice

MEMBERS = 1_000_000
DAY = "2026-05-05"
FILL: tuple[LiteralString, ...] = (
    "set session_replication_role = replica",
    """
    insert into programs (name, protocol, passkit_program_id, birthday_bot_enabled, birthday_reward_points, timezone)
    values ('Club', 'MEMBERSHIP', 'pk', true, 50, 'UTC')
    """,
    """
    insert into users (id, email, first_name, birth_date)
    select md5('u' || i)::uuid, 'member' || i || '@example.com', 'Ann' || i,
           case when i % 370 = 0 then date '1950-05-05' + make_interval(years => i % 50)
                else date '1950-05-06' + i % 363 + make_interval(years => i % 50) end
      from generate_series(1, 1000000) i
    """,
    """
    insert into passes_master
           (id, user_id, program_id, protocol, passkit_internal_id, external_id, status, points_balance)
    select md5('p' || i)::uuid, md5('u' || i)::uuid, (select id from programs), 'MEMBERSHIP', 'pk' || i, 'M' || i,
           'INSTALLED', 100
      from generate_series(1, 1000000) i
    """,
    """
    insert into birthday_logs (pass_id, program_id, year, created_at, points_awarded)
    select md5('p' || i)::uuid, (select id from programs), 2025, '2025-05-05', 50 from generate_series(1, 1000000) i
    """,
    "reset session_replication_role",
    "vacuum analyze",
)


def milliseconds(connection: psycopg.Connection[Any], query: LiteralString, times: int = 11) -> float:
    """Return the median duration of a query."""
    durations = []
    for _ in range(times):
        begin = time.perf_counter()
        connection.execute(query).fetchall()
        durations.append((time.perf_counter() - begin) * 1000)
    return median(durations)


def main() -> None:
    """Fill a database and measure."""
    with ExitStack() as stack:
        url = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(server_choice().start()).url()
        load_host(url, "2")
        migrate(url)
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        for statement in FILL:
            connection.execute(statement)
        print(f"{MEMBERS:,} members, 1,000,000 rows in birthday_logs")

        naive = milliseconds(
            connection, "select count(*) from users where to_char(birth_date, 'MM-DD') = '05-05'", 3
        )
        for title, message in (
            ("plain greeting", "Happy Birthday!"),
            ("greeting with points", "Hi {first_name}, {points}!"),
        ):
            connection.execute("update programs set birthday_message = %s", (message,))
            ((rows,),) = connection.execute(
                "select count(*) from get_birthdays_today(null, '2026-05-05')"
            ).fetchall()
            took = milliseconds(connection, "select * from get_birthdays_today(null, '2026-05-05')")
            print(
                f"get_birthdays_today, {title}: {rows:,} rows in {took:.1f} ms;"
                f" reading all of users: {naive / took:.0f} x that"
            )

        begin = time.perf_counter()
        ((gifted,),) = connection.execute("select gifted from run_birthdays(null, '2026-05-05')").fetchall()
        took = time.perf_counter() - begin
        print(f"run_birthdays: {gifted:,} gifts in {took:.1f} s, {gifted / took:,.0f} per second")


if __name__ == "__main__":
    main()
