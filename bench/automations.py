"""How long the rules of automations take: 1,000,000 members, 10,000,000 transactions, ten occasions, one core.

    .venv/bin/python bench/automations.py            fills for some minutes, then measures
    .venv/bin/python bench/automations.py --quick    20,000 members, 200,000 transactions

Each rule is asked who is due today, proofs and audience included, without writing an occasion; beside it the bare query
on the platform's tables that a person would write for the same day. CPU is what the server process spent: on a busy
machine the truer number. Meanwhile small campaigns are ordered, claimed and sent on another connection.

Goals at full scale: each rule below 8 s of CPU, ten rules below 60 s of it, no campaign held up.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from passbell.database.migrate import migrate
from passbell.devkit.postgres import EmbeddedPostgres
from support.databases import load_host
from support.shop import Shop

if TYPE_CHECKING:
    from uuid import UUID

RULE_SECONDS = 8.0
ALL_SECONDS = 60.0
HELD_UP_SECONDS = 2.0
"""Longest time that ordering, claiming and sending fifty passes may take while rules run."""

FILL: tuple[LiteralString, ...] = (
    "set session_replication_role = replica",
    "set work_mem = '256MB'",
    "set maintenance_work_mem = '512MB'",
    "alter table protocol_event_ticket add column if not exists event_date date",
    """
    insert into programs (id, name, protocol, passkit_program_id, timezone)
    values (md5('program')::uuid, 'Club', 'MEMBERSHIP', 'pk', 'UTC')
    """,
    """
    insert into users (id, email, first_name, birth_date, created_at)
    select md5('u' || i)::uuid, 'member' || i || '@example.com', 'Ann' || i, date '1950-01-01' + i %% 20000,
           now() - make_interval(days => 20 + i %% 1500)
      from generate_series(1, %(members)s) i
    """,
    """
    insert into passes_master (id, user_id, program_id, protocol, passkit_internal_id, external_id, status,
                               points_balance)
    select md5('p' || i)::uuid, md5('u' || i)::uuid, md5('program')::uuid, 'MEMBERSHIP', 'pk' || i, 'M' || i,
           'INSTALLED', i * 7 %% 800
      from generate_series(1, %(members)s) i
    """,
    """
    insert into protocol_coupon (pass_id, expiry_date)
    select md5('p' || i)::uuid, current_date + i / 20 %% 200 from generate_series(20, %(members)s, 20) i
    """,
    """
    insert into protocol_event_ticket (pass_id, event_date)
    select md5('p' || i)::uuid, current_date + i / 20 %% 200 from generate_series(20, %(members)s, 20) i
    """,
    # Members come between every three days and every 400; the order in the table is that of time.
    """
    insert into transactions (pass_id, action_type, value_change, created_at)
    select md5('p' || (1 + floor(power(random(), 1.5) * %(members)s))::bigint)::uuid, 'MEMBER_EARN', 10,
           now() - make_interval(secs => (1 - i::float8 / %(transactions)s) * 86400 * 400)
      from generate_series(1, %(transactions)s) i
    """,
    "reset session_replication_role",
)
SINCE_VISIT: LiteralString = """
    select count(*) from (select t.pass_id, max(t.created_at) as at from transactions t
                           where t.created_at >= current_date - (%(days)s + 13)
                             and t.created_at < current_date - (%(days)s - 1)
                           group by t.pass_id) s
     where not exists (select from transactions n where n.pass_id = s.pass_id and n.created_at > s.at)
"""
INSIDE: LiteralString = (
    "select count(*) from passes_master p where p.points_balance >= %(mark)s and p.status = 'INSTALLED'"
)
TODAY = f"EVERY:{datetime.now(UTC):%a}".upper()
"""All members are due, for today and for a week ago."""


class Rule(NamedTuple):
    """An occasion, and the query that a person would write for it."""

    occasion: str
    bare: LiteralString
    values: dict[str, int]


RULES = (
    Rule("DORMANT:30", SINCE_VISIT, {"days": 30}),
    Rule("AFTER_VISIT:1", SINCE_VISIT, {"days": 1}),
    Rule(
        "EXPIRING:3",
        "select count(*) from protocol_coupon c where c.expiry_date between current_date and current_date + 3",
        {},
    ),
    Rule(
        "JOINED:2",
        "select count(*) from passes_master p join users u on u.id = p.user_id where u.created_at >= current_date - 15",
        {},
    ),
    Rule(
        "ANNIVERSARY",
        "select count(*) from passes_master p join users u on u.id = p.user_id"
        " where to_char(u.created_at, 'MM-DD') = to_char(current_date, 'MM-DD')",
        {},
    ),
    Rule(
        "EVENT:-1",
        "select count(*) from protocol_event_ticket e where e.event_date between current_date and current_date + 1",
        {},
    ),
    Rule(TODAY, "select count(*) from passes_master p where p.status = 'INSTALLED'", {}),
    Rule("REACHED:500", INSIDE, {"mark": 500}),
    Rule("ALMOST:450", INSIDE, {"mark": 450}),
    Rule("ENTERS:WHALE:600", INSIDE, {"mark": 601}),
)
ASK: LiteralString = """
    select count(*)
      from public.push_automations a
     cross join lateral passbell.due_people(a, current_date, now()) d
     where a.id = %(id)s
"""


class Meter:
    """Times statements on one connection, by the clock and by the CPU of its server process."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")

    def ask(self, query: LiteralString, values: dict[str, Any]) -> tuple[Any, float, float]:
        """Return the first value, seconds by the clock, and seconds of CPU (the clock's where that cannot be read)."""
        begin, before = time.perf_counter(), self._cpu()
        (found,) = self.connection.execute(query, values).fetchall()
        took = time.perf_counter() - begin
        return found[0], took, (self._cpu() - before) or took

    def _cpu(self) -> float:
        return int(self._schedule.read_text().split()[0]) / 1e9 if self._schedule.exists() else 0.0


class Beside:
    """Small campaigns on another connection, one after the other: how long each took from order to sent."""

    def __init__(self, url: str, program: UUID) -> None:
        self.seconds: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(url, program))

    def __enter__(self) -> list[float]:
        self._thread.start()
        return self.seconds

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self, url: str, program: UUID) -> None:
        shop = Shop(url)
        members = ",".join(f"M{n}" for n in range(1, 51))
        while not self._stop.is_set():
            begin = time.perf_counter()
            campaign = shop.campaign(program, f"News {len(self.seconds)}", target_query=f"IDS:{members}")
            shop.send(campaign)
            self.seconds.append(time.perf_counter() - begin)
            self._stop.wait(0.2)
        shop.close()


def fill(url: str, members: int, transactions: int) -> None:
    """Make the host, its members and their past, then what passbell adds."""
    load_host(url, "2")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement, {"members": members, "transactions": transactions}, prepare=False)
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def measure(url: str) -> bool:
    """Print a line per rule; whether every goal was met."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set max_parallel_workers_per_gather = 0")
        connection.execute("update passbell.settings set daily_cap = 0")
        program: UUID = connection.execute("select id from programs").fetchall()[0][0]
        meter = Meter(connection)
        made = {}
        for rule in RULES:
            made[rule.occasion], _, _ = meter.ask(
                "with made as (insert into public.push_automations (program_id, occasion, message_text, is_on)"
                " values (%(program)s, %(occasion)s, 'Hello {first_name}', true) returning id) select id from made",
                {"program": program, "occasion": rule.occasion},
            )
        # As if each had been on for a month, so that catch-up counts as on any day.
        with connection.transaction():
            connection.execute("select passbell.engine_begins()")
            connection.execute("update public.push_automations set switched_on_on = current_date - 30")
        connection.execute("analyze")
        alone: list[float]
        with Beside(url, program) as alone:
            time.sleep(3)
        print(f"  {'rule':20} {'due':>9} {'seconds':>8} {'CPU':>7} {'bare, CPU':>10}", flush=True)
        worst = total = spent = 0.0
        with Beside(url, program) as beside:
            for rule in RULES:
                _, _, bare = meter.ask(rule.bare, rule.values)
                due, took, cpu = meter.ask(ASK, {"id": made[rule.occasion]})
                worst, total, spent = max(worst, cpu), total + took, spent + cpu
                print(f"  {rule.occasion:20} {due:>9,} {took:>8.2f} {cpu:>7.2f} {bare:>10.2f}", flush=True)
        print(
            f"  ten rules: {total:.1f} s, {spent:.1f} s of CPU; the slowest took {worst:.1f} s of CPU",
            flush=True,
        )
        print(
            f"  a campaign of 50 meanwhile: {median(beside):.2f} s, at most {max(beside):.2f} s"
            f" ({len(beside)} campaigns; alone {median(alone):.2f} s)",
            flush=True,
        )
        return worst < RULE_SECONDS and spent < ALL_SECONDS and max(beside) < HELD_UP_SECONDS


def main() -> int:
    """Fill a database and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 members and 200,000 transactions")
    parser.add_argument("--members", type=int, help="so many, with ten transactions each")
    given = parser.parse_args()
    members = given.members or (20_000 if given.quick else 1_000_000)
    transactions = 10 * members
    with EmbeddedPostgres(durable=False, settings={"shared_buffers": "1GB"}) as postgres:
        begin = time.perf_counter()
        fill(postgres.url(), members, transactions)
        print(
            f"{members:,} members, {transactions:,} transactions; filled in {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
        met = measure(postgres.url())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
