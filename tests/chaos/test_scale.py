"""A huge campaign on a full ledger, with and without a session that holds an old snapshot: nothing grows with it.

The short form counts what a claim and a report read, in rows; the long form (1,000,000 passes, 10,000,000 rows of
ledger) also takes times, and a daemon's memory.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from passbell.database.migrate import migrate
from passbell.devkit.postgres import EmbeddedPostgres
from support.databases import load_host
from support.processes import Daemon
from support.scene import LONG
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from .conftest import Report

PASSES, LEDGER, SIZE = (1_000_000, 10_000_000, 50) if LONG else (10_000, 100_000, 50)
TENTHS = 10
SLACK = 0.05
"""Seconds; only in the long form: a machine that does something else at the same time."""

READ = """
    select coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid)), 0)::int
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('public', 'passbell') and c.relkind in ('r', 'i')
"""
HISTORY = """
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome)
    select md5('old' || c)::uuid, p.id, now() - make_interval(days => 2 + c), c, 1, 'sent'
      from generate_series(1, %s) c cross join passes_master p
"""


@pytest.fixture(scope="module")
def full() -> Iterator[tuple[Shop, UUID]]:
    """A program of PASSES members whose ledger holds LEDGER rows, on a server of its own, on a disk."""
    with EmbeddedPostgres(durable=LONG) as server:
        load_host(server.url(), "2")
        migrate(server.url())
        shop = Shop(server.url(), "2")
        program = shop.program()
        shop.members(program, PASSES)
        shop.conn.execute(HISTORY, [LEDGER // PASSES])
        shop.conn.execute("vacuum analyze")
        yield shop, program
        shop.close()


@contextlib.contextmanager
def old_snapshot(url: str, held: bool) -> Iterator[None]:  # noqa: FBT001
    """A session that began to read hours ago: idle in transaction, repeatable read."""
    with contextlib.ExitStack() as stack:
        if held:
            conn = stack.enter_context(psycopg.connect(url))
            conn.execute("set transaction isolation level repeatable read")
            conn.execute("select count(*) from push_campaigns")
        yield


class Tenth:
    """A tenth of a campaign: seconds per claim and per report, and rows read by the first chunk."""

    def __init__(self) -> None:
        self.claims: list[float] = []
        self.reports: list[float] = []
        self.rows = 0

    def __str__(self) -> str:
        claim, report = (
            f"median {median(times) * 1e3:.1f}, p99 {sorted(times)[int(len(times) * 0.99)] * 1e3:.1f} ms"
            for times in (self.claims, self.reports)
        )
        return f"claim {claim}; report {report}; {self.rows} rows read"


def sent(shop: Shop, chunks: int) -> Tenth:
    """Claim and report some chunks; of the first one count what was read (the very last also ends the campaign)."""
    tenth = Tenth()
    for number in range(chunks):
        with shop.conn.transaction() if number == 0 else contextlib.nullcontext():
            before = shop.value(READ) if number == 0 else 0
            begun = time.perf_counter()
            chunk = shop.chunk(cap=3)
            claimed = time.perf_counter()
            assert chunk is not None
            assert len(chunk["pass_ids"]) == SIZE
            shop.finish(chunk)
            tenth.claims.append(claimed - begun)
            tenth.reports.append(time.perf_counter() - claimed)
            if number == 0:
                tenth.rows = shop.value(READ) - before
    return tenth


@pytest.mark.timeout(3_600 if LONG else 300)
@pytest.mark.parametrize("held", [False, True], ids=["alone", "beside an old snapshot"])
def test_claims_do_not_grow_with_the_campaign(full: Any, report: Report, held: bool) -> None:  # noqa: FBT001
    """The last chunk costs what an early one costs, whatever is stored behind them and however many sessions read."""
    shop, program = full
    where = "with an old snapshot held" if held else "alone"
    campaign = shop.campaign(program, f"Hello, {where}")
    begun = time.monotonic()
    shop.start(campaign, size=SIZE)
    expanded = time.monotonic() - begun
    with old_snapshot(shop.url, held):
        tenths = [sent(shop, PASSES // SIZE // TENTHS) for _ in range(TENTHS)]
    assert shop.status(campaign) == "COMPLETED"
    assert not shop.violations()
    early, late = tenths[1], tenths[-1]
    dead = {
        row["relname"]: row["n_dead_tup"]
        for row in shop.rows(
            "select relname, n_dead_tup from pg_stat_user_tables"
            " where relname in ('chunks', 'push_campaigns', 'turns', 'deliveries')"
        )
    }
    size = f"{PASSES:,} passes, ledger of {LEDGER:,}"
    report("scale", f"claims do not grow, {size}, {where}", f"second tenth: {early}; last tenth: {late}")
    report("scale", f"frozen, {size}, {where}", f"{expanded:.1f} s; dead rows afterwards: {dead}")
    # An old snapshot keeps every version of the campaign's row and of the program's turn, and they are read past.
    most = 8 if held and LONG else 1.5
    assert late.rows <= most * early.rows + 50, (early.rows, late.rows)
    if LONG:
        assert median(late.claims) <= 5 * median(early.claims) + SLACK, (str(early), str(late))


@pytest.mark.timeout(3_600)
@pytest.mark.skipif(not LONG, reason="long form only: a million passes through a daemon")
def test_a_daemons_memory_stays_flat(full: Any, report: Report) -> None:
    """From the first tenth of the campaign to its end: the same memory."""
    shop, program = full

    def resident() -> int:
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    settings = {"DRY_RUN": True, "RATE_PER_SECOND": 50_000, "CHUNK_SIZE": 500, "DAILY_CAP": 0}
    with Daemon(shop.url, "http://127.0.0.1:9", **settings) as daemon:
        campaign = shop.campaign(program, "Through a daemon")
        seen = []
        while shop.status(campaign) != "COMPLETED":
            done = shop.order(campaign)["sent_count"]
            seen.append((done, resident()))
            time.sleep(0.5)
        first = next(size for done, size in seen if done > PASSES / TENTHS)
        last = resident()
    assert last < first + 20_000, seen
    report(
        "scale",
        f"a daemon's memory, {PASSES:,} passes",
        f"{first / 1e3:.0f} MB at a tenth, {last / 1e3:.0f} MB at the end",
    )
