"""What the rules cost: freezing an audience, claiming and finishing chunks, beside bare SQL of the same shape. No HTTP.

    .venv/bin/python bench/queue_sql.py [--members N] [--rounds N] [--only versus|growth] [DATABASE_URL]
    .venv/bin/python bench/queue_sql.py --before CHECKOUT [--members N]

An empty database; without one, a private PostgreSQL with fsync on. Bare SQL (stand/bare_queue.py): chunks frozen by one
INSERT … SELECT array_agg, claimed FOR UPDATE SKIP LOCKED, recipients read from the platform's tables, a ledger with
the same two indexes. Ours adds every rule: opt-outs, caps, texts chosen and stored, fencing, counters. Both take
turns, a slice each, over the same pool, so that what else runs on the machine meets both; trust the ratios.

With `--before`, beside another version of passbell instead (`git worktree add --detach CHECKOUT <commit>`): both
schemas in one server, chunk for chunk in turns (stand/versions.py).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID, uuid4

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from stand.bare_queue import BARE_CLAIM, BARE_ENQUEUE, BARE_FINISH, BARE_RECIPIENTS, BARE_TABLES
from stand.versions import Version, compare, migrate_from

from passbell.database.calls import Queue
from passbell.database.migrate import migrate
from passbell.database.pool import Database
from passbell.devkit.postgres import EmbeddedPostgres
from passbell.outcomes import Decision, Outcome
from support.databases import load_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 500
SLICE = 40
"""Chunks of one side before it is the other's turn."""
CAP = 1_000
"""Messages a day: looked at for every pass, reached by none."""
CROWD = 1_000
"""Programs with a chunk of members each, for campaigns that wait beside the one that is measured."""
LEAST = 10_000
"""Members for a comparison of versions."""
PROGRAM = UUID("00000000-0000-0000-0000-000000000000")

# Member number i has i points, so WHALE picks an audience of any size.
FILL: tuple[LiteralString, ...] = (
    "set session_replication_role = replica",
    """
    insert into programs (id, name, protocol, passkit_program_id)
    select lpad(n::text, 32, '0')::uuid, 'Club ' || n, 'MEMBERSHIP', 'pk' || n
      from generate_series(0, %(crowd)s::integer) n
    """,
    """
    insert into passes_master
           (id, program_id, protocol, passkit_internal_id, external_id, status, points_balance)
    select md5('p' || i)::uuid, lpad('0', 32, '0')::uuid, 'MEMBERSHIP', lpad(i::text, 22, '0'), 'M' || i,
           'INSTALLED', i
      from generate_series(1, %(members)s::integer) i
    """,
    """
    insert into protocol_membership (pass_id, points_balance, tier_points)
    select md5('p' || i)::uuid, i, 10 from generate_series(1, %(members)s::integer) i
    """,
    """
    insert into passes_master (id, program_id, protocol, passkit_internal_id, external_id, status)
    select md5('c' || i)::uuid, lpad(((i - 1) / %(chunk)s + 1)::text, 32, '0')::uuid, 'MEMBERSHIP',
           'c' || i, 'C' || i, 'INSTALLED'
      from generate_series(1, %(crowd)s::integer * %(chunk)s::integer) i
    """,
    "reset session_replication_role",
)
# Behind the one in the same program, with a chunk each. Freezing so many audiences would take longer than the rest.
WAITING: tuple[LiteralString, ...] = (
    "select passbell.as_engine()",
    """
    insert into push_campaigns (program_id, name, message_text, status, started_at, recipient_count)
    select program_id, 'W' || n, 'W' || n, 'PROCESSING', now(), 500
      from push_campaigns cross join generate_series(1, %(waiting)s::integer) n
    """,
    """
    insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids)
    select w.id, 1, w.program_id, k.pass_ids
      from push_campaigns w cross join passbell.chunks k
     where k.chunk_no = 1 and w.name <> 'The one'
    """,
)


@dataclass
class Spent:
    """Seconds by step and WAL of one side."""

    seconds: dict[str, float] = field(default_factory=dict)
    wal: int = 0
    delivered: int = 0
    slices: list[float] = field(default_factory=list)
    """Microseconds per delivery of each slice."""

    def add(self, step: str, begun: float) -> None:
        """Book the time since `begun` (time.perf_counter)."""
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - begun

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())

    def each(self, step: str | None = None) -> float:
        """Microseconds per delivery."""
        return (self.seconds.get(step, 0.0) if step else self.total) / max(1, self.delivered) * 1e6


class Bench:
    """One database with both queues in it."""

    def __init__(self, connection: psycopg.Connection[Any], database: Database, members: int) -> None:
        self.connection = connection
        self.database = database
        self.members = members
        self.queue = Queue(database, uuid4(), "bench")

    def wal(self) -> int:
        """Bytes of WAL written since the cluster was made."""
        ((found,),) = self.connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
        return int(found)

    def order(self, text: str, size: int, program: UUID = PROGRAM) -> None:
        """Order a campaign to `size` members, or to all of another program."""
        self.connection.execute(
            "insert into push_campaigns (program_id, name, message_text, target_query) values (%s, %s, %s, %s)",
            (
                program,
                text,
                text,
                f"WHALE:{self.members - size}" if program == PROGRAM and size < self.members else "ALL",
            ),
        )

    def forget(self) -> None:
        """Empty both queues and both ledgers."""
        self.connection.execute(
            "truncate passbell.deliveries, passbell.chunks, passbell.turns, push_campaigns,"
            " bare.deliveries, bare.chunks"
        )
        self.connection.execute("vacuum analyze")
        self.connection.execute("checkpoint")

    async def enqueue_bare(self, campaign: UUID, size: int) -> Spent:
        """One statement."""
        spent, wal, begun = Spent(), self.wal(), time.perf_counter()
        await self.database.fetch(BARE_ENQUEUE, (campaign, CHUNK, PROGRAM, self.members - size), deadline=600)
        spent.add("enqueue", begun)
        spent.wal = self.wal() - wal
        return spent

    async def enqueue_ours(self, size: int) -> Spent:
        """claim_campaign: checks the order, freezes the audience, starts the campaign."""
        spent, wal, begun = Spent(), self.wal(), time.perf_counter()
        claimed = await self.queue.claim_campaign(CHUNK, 60)
        spent.add("enqueue", begun)
        spent.wal = self.wal() - wal
        if claimed is None or claimed.recipients != size:
            raise RuntimeError(f"not {size} recipients: {claimed}")
        return spent

    async def bare(self, campaign: UUID, spent: Spent) -> AsyncIterator[int]:
        """Deliver chunk by chunk to the end; yields how many were delivered."""
        while True:
            begun = time.perf_counter()
            row = await self.database.row(BARE_CLAIM, (campaign,))
            if row is None:
                return
            chunk_no, token, pass_ids = row
            people = await self.database.fetch(BARE_RECIPIENTS, (pass_ids,))
            spent.add("claim", begun)
            begun = time.perf_counter()
            ids, count = [one[0] for one in people], len(people)
            await self.database.fetch(
                BARE_FINISH, (campaign, ids, ["sent"] * count, [200] * count, campaign, chunk_no, token)
            )
            spent.add("finish", begun)
            yield count

    async def ours(self, spent: Spent) -> AsyncIterator[int]:
        """Deliver chunk by chunk to the end, with the daemon's own calls."""
        while True:
            begun = time.perf_counter()
            chunk = await self.queue.claim_chunk(60, CAP, "vary")
            spent.add("claim", begun)
            if chunk is None:
                return
            begun = time.perf_counter()
            decisions = [Decision(pass_id, Outcome.SENT, 200, "") for pass_id in chunk.pass_ids]
            await self.queue.finish_chunk(chunk, decisions, release=True, max_attempts=5)
            spent.add("finish", begun)
            yield len(chunk.pass_ids)

    async def slice(self, work: AsyncIterator[int], spent: Spent) -> int:
        """Deliver some chunks; returns how many passes that were."""
        wal, seconds, delivered = self.wal(), spent.total, 0
        for _ in range(SLICE):
            if (count := await anext(work, 0)) == 0:
                break
            delivered += count
        spent.wal += self.wal() - wal
        spent.delivered += delivered
        if delivered:
            spent.slices.append((spent.total - seconds) / delivered * 1e6)
        return delivered

    async def deliver(self, campaign: UUID, most: int = 10**9) -> tuple[Spent, Spent]:
        """Both sides in turns, until both are through or `most` were delivered by each."""
        bare, ours = Spent(), Spent()
        theirs, own = self.bare(campaign, bare), self.ours(ours)
        while ours.delivered < most and (await self.slice(theirs, bare)) + (await self.slice(own, ours)):
            pass
        return bare, ours


async def versus(bench: Bench, rounds: int, text: str) -> None:
    """The whole audience, enqueued and delivered by both; later rounds meet the ledger of the earlier ones."""
    print(f'{bench.members:,} members, chunks of {CHUNK}, "{text}"')
    bench.forget()
    enqueues, ratios = [], []
    for number in range(1, rounds + 1):
        bench.order(text.format(round=number), bench.members)
        campaign = uuid4()
        bare = await bench.enqueue_bare(campaign, bench.members)
        ours = await bench.enqueue_ours(bench.members)
        enqueues.append(ours.total / bare.total)
        print(
            f"  enqueue {number}: bare {bare.total:.2f} s {bare.wal / 1e6:.1f} MB WAL,"
            f" ours {ours.total:.2f} s {ours.wal / 1e6:.1f} MB, ratio {enqueues[-1]:.2f}"
        )
        bare, ours = await bench.deliver(campaign)
        ratios.append(ours.each() / bare.each())
        for name, spent in (("bare", bare), ("ours", ours)):
            print(
                f"  deliver {number}: {name} {spent.each():5.1f} us per pass (claim {spent.each('claim'):.1f},"
                f" finish {spent.each('finish'):.1f}), {spent.total:.1f} s, {spent.wal / 1e6:.0f} MB WAL"
            )
        slices = median(a / b for a, b in zip(ours.slices, bare.slices, strict=False))
        print(f"  deliver {number}: ratio {ratios[-1]:.2f}, median of its slices {slices:.2f}")
    print(f"  median ratios: enqueue {median(enqueues):.2f}, claim + finish {median(ratios):.2f}")


async def growth(bench: Bench) -> None:
    """Time per delivery, ours over bare in the same minute: larger audiences, then more campaigns that wait."""
    print("growth: ours per delivery, and over bare SQL at the same time")
    sizes = [size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= bench.members]
    for size in sizes:
        # The first rounds only warm up: reading cold pages is not what grows.
        each = [await _grown(bench, size, 1, PROGRAM) for _ in range(max(1, 100_000 // size))]
        print(f"  {size:>10,} recipients:           {_line(each)}")
    size = min(100_000, bench.members)
    for waiting in (1, 10, 1_000):
        each = [await _grown(bench, size, waiting, PROGRAM)]
        print(f"  {waiting:>10,} campaigns of a program: {_line(each)}")
        each = [await _grown(bench, size, waiting, None)]
        print(f"  {waiting:>10,} campaigns and programs: {_line(each)}")


def _line(each: list[tuple[float, float]]) -> str:
    ours, ratio = median(one for one, _ in each), median(ratio for _, ratio in each)
    return f"{ours:6.1f} us, {ratio:.2f} x bare"


async def _grown(bench: Bench, size: int, waiting: int, program: UUID | None) -> tuple[float, float]:
    """Deliver `size` while `waiting` campaigns in all are PROCESSING; microseconds per delivery and the ratio."""
    bench.forget()
    bench.order("The one", size)
    await bench.enqueue_ours(size)
    if program is None:
        for number in range(1, waiting):
            bench.order(f"Waiting {number}", CHUNK, UUID(f"{number:032d}"))
        while await bench.queue.claim_campaign(CHUNK, 60):
            pass
    else:
        with bench.connection.transaction():
            for statement in WAITING:
                bench.connection.execute(statement, {"waiting": waiting - 1} if "%(" in statement else None)
    campaign = uuid4()
    await bench.enqueue_bare(campaign, size)
    bare, ours = await bench.deliver(campaign, size)
    return ours.each(), ours.each() / bare.each()


def _fill(connection: psycopg.Connection[Any], members: int) -> None:
    for statement in FILL:
        connection.execute(
            statement, {"members": members, "crowd": CROWD, "chunk": CHUNK} if "%(" in statement else None
        )


def _beside(server: EmbeddedPostgres, checkout: Path, members: int) -> None:
    """Claim and report, this version beside the one in `checkout`."""
    before = _version(server, "before", checkout.resolve(), members)
    now = _version(server, "now", Path(__file__).parents[1], members)
    print(f"{members:,} members, {CROWD:,} other programs; {checkout} beside this")
    compare(before, now, PROGRAM, members)


def _version(server: EmbeddedPostgres, name: LiteralString, folder: Path, members: int) -> Version:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
    migrate_from(folder, server.url(name))
    connection = psycopg.connect(server.url(name), autocommit=True, prepare_threshold=None)
    _fill(connection, members)
    connection.execute("vacuum analyze")
    return Version(name, connection, CAP)


async def _measure(url: str, options: argparse.Namespace) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        _fill(connection, options.members)
        for statement in BARE_TABLES:
            connection.execute(statement)
        async with Database(url) as database:
            bench = Bench(connection, database, options.members)
            if options.only != "growth":
                await versus(bench, options.rounds, "Two for one, only today ({round})")
                await versus(bench, 1, "Hi {{first_name|there}}, you have {{points}} points ({round})")
            if options.only != "versus":
                await growth(bench)


def main() -> None:
    """Fill a database and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("database", nargs="?")
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("versus", "growth"))
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.before and options.database:
            parser.error("--before makes its own databases")
        if options.before and options.members < LEAST:
            parser.error(f"--before takes {LEAST:,} members at least: chunks of 500 of them, some to warm up")
        url = options.database
        if url is None:
            server = stack.enter_context(EmbeddedPostgres(settings={"shared_buffers": "3GB"}))
            url = server.url()
            if options.before:
                _beside(server, options.before, options.members)
                return
        load_host(url, "2")
        migrate(url)
        asyncio.run(_measure(url, options))


if __name__ == "__main__":
    main()
