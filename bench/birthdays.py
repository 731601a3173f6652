"""How long the birthday query and the gifts take: 1,000,000 members, about 2,700 birthdays, each host generation.

    .venv/bin/python bench/birthdays.py [GENERATION …]     default: 1 2 3

Times depend on the machine and on who else uses it; the ratio to a full read of `users`, measured beside them, hardly
does. CPU is what the server process spent: on a busy machine the truer number. The private PostgreSQL has 1 GB of
shared_buffers, as a server that holds 1,000,000 members would; with 128 MB the members do not stay in memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from passbell.database.migrate import migrate
from passbell.devkit.postgres import EmbeddedPostgres
from support.databases import load_host

if TYPE_CHECKING:
    from uuid import UUID

    from support.databases import Generation

MEMBERS = 1_000_000
GENERATIONS = ("1", "2", "3")
MESSAGES = (("plain greeting", "Happy Birthday!"), ("with name, points", "Hi {first_name}, {points}!"))
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
    insert into passes_master (id, user_id, program_id, protocol, passkit_internal_id, external_id, status)
    select md5('p' || i)::uuid, md5('u' || i)::uuid, (select id from programs), 'MEMBERSHIP', 'pk' || i, 'M' || i,
           'INSTALLED'
      from generate_series(1, 1000000) i
    """,
    """
    insert into protocol_membership (pass_id, points_balance, tier_points)
    select md5('p' || i)::uuid, 100, 100 from generate_series(1, 1000000) i
    """,
    "alter table birthday_logs alter points_awarded set default 50",
    """
    insert into birthday_logs (pass_id, program_id, year, created_at)
    select md5('p' || i)::uuid, (select id from programs), 2025, '2025-05-05' from generate_series(1, 1000000) i
    """,
    "reset session_replication_role",
    "vacuum analyze",
)
SCAN: LiteralString = "select count(*) from users where to_char(birth_date, 'MM-DD') = '05-05'"
ASK: LiteralString = "select * from get_birthdays_today(%s, '2026-05-05')"


class Meter:
    """Times queries on one connection, by the clock and by the CPU of its server process."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")

    def median(self, query: LiteralString, *values: object, times: int = 15) -> tuple[float, float]:
        """Return the median milliseconds by the clock, and of CPU (0 where it cannot be read)."""
        durations, spent = [], []
        for _ in range(times):
            begin, before = time.perf_counter(), self._cpu()
            self.connection.execute(query, values).fetchall()
            durations.append((time.perf_counter() - begin) * 1_000)
            spent.append(self._cpu() - before)
        return median(durations), median(spent)

    def _cpu(self) -> float:
        return int(self._schedule.read_text().split()[0]) / 1e6 if self._schedule.exists() else 0.0


def fill(url: str, generation: Generation) -> None:
    """Make a host of one generation with all its members."""
    load_host(url, generation)
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement)


def measure(url: str) -> None:
    """Print a line per form of the question."""
    with psycopg.connect(url, autocommit=True) as connection:
        meter = Meter(connection)
        connection.execute("set max_parallel_workers_per_gather = 0")
        program: UUID = connection.execute("select id from programs").fetchall()[0][0]
        for title, message in MESSAGES:
            connection.execute("update programs set birthday_message = %s", (message,))
            for who, only in (("all programs", None), ("one program", program)):
                scan, scan_cpu = meter.median(SCAN, times=3)
                took, cpu = meter.median(ASK, only)
                rows = len(connection.execute(ASK, (only,)).fetchall())
                print(
                    f"  {title:18} {who:13} {rows:,} rows in {took:6.1f} ms (CPU {cpu:5.1f});"
                    f" all of users {scan:6.1f} ms (CPU {scan_cpu:5.1f}): {took / scan:.2f} of that"
                    + (f", CPU {cpu / scan_cpu:.2f}" if scan_cpu else ""),
                    flush=True,
                )
        begin = time.perf_counter()
        ((gifted,),) = connection.execute("select gifted from run_birthdays(null, '2026-05-05')").fetchall()
        took = time.perf_counter() - begin
        print(
            f"  run_birthdays: {gifted:,} gifts in {took:.1f} s, {gifted / took:,.0f} per second", flush=True
        )


def main() -> None:
    """Fill a database per generation and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("generations", nargs="*", metavar="generation", help="1, 2, 3; all unless named")
    generations = parser.parse_args().generations or list(GENERATIONS)
    print("goal on a quiet machine: below 40 ms", flush=True)
    with EmbeddedPostgres(durable=False, settings={"shared_buffers": "1GB"}) as postgres:
        for generation in generations:
            name = f"generation_{generation}"
            with psycopg.connect(postgres.url(), autocommit=True) as connection:
                connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
            url = urlunsplit(urlsplit(postgres.url())._replace(path=f"/{name}"))
            fill(url, generation)
            print(f"generation {generation}: {MEMBERS:,} members, as many rows in birthday_logs", flush=True)
            measure(url)
            with psycopg.connect(postgres.url(), autocommit=True) as connection:
                connection.execute(psycopg.sql.SQL("drop database {}").format(psycopg.sql.Identifier(name)))


if __name__ == "__main__":
    main()
