"""Two versions of passbell's SQL side by side: the same claims and reports, in turns, over two databases of one server.

What is measured is the CPU of the database session alone, from the kernel's account of it, so that neither the other
work of the machine nor the disk is in it. It needs Linux and a PostgreSQL on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID, uuid4

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Version", "compare", "migrate_from"]

CHUNKS = 150
"""Of each size, per version."""
WARM = 25
"""Chunks before that, not counted: a session's first plans are in them."""
TEXTS = {
    "plain": "Two for one, only today",
    "placeholders": "Hi {first_name|there}, you have {points} points",
}

# By position and without the later parameters: each version that has these functions understands it.
CLAIM_CAMPAIGN: LiteralString = "select recipients from passbell.claim_campaign(%s, %s, 600)"
ANSWER: LiteralString = """
    select campaign_id, chunk_no, claim_token, attempt, program_id, kind, rate_per_second::float8, pass_ids,
           passkit_ids, external_ids, protocols, passkit_program_id, message, texts
"""
CLAIM: LiteralString = ANSWER + "from passbell.claim_chunk(%s, '', 600, %s, 'vary')"
# As the daemon does since it chooses the token itself.
CLAIM_BY_TOKEN: LiteralString = (
    ANSWER + "from passbell.claim_chunk(%s, '', 600, %s, 'vary', p_token => gen_random_uuid())"
)
FINISH: LiteralString = "select remaining, status from passbell.finish_chunk(%s, %s, %s, null, null, '{200}')"
FINISH_EACH: LiteralString = """
    select remaining, status
      from passbell.finish_chunk(%s, %s, %s, %s::uuid[], %s::text[], %s::smallint[])
"""
FORGET: LiteralString = (
    "truncate passbell.deliveries, passbell.chunks, passbell.turns, public.push_campaigns cascade"
)


def migrate_from(checkout: Path, url: str) -> None:
    """Load the platform's tables and passbell's schema from a checkout of any version into an empty database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((checkout / "sql" / "host" / "generation_2.sql").read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(checkout / "daemon"), "PASSBELL_DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "passbell", "migrate"], env=environment, cwd=checkout, check=True)


@dataclass
class Version:
    """One of the two databases, its session, and what its calls have cost."""

    name: str
    connection: psycopg.Connection[Any]
    cap: int
    worker: UUID = field(default_factory=uuid4)
    claims: list[float] = field(default_factory=list)
    """Microseconds of CPU, one per claim."""
    finishes: list[float] = field(default_factory=list)
    claim: LiteralString = CLAIM

    def __post_init__(self) -> None:
        """Claim as this version's daemon does."""
        found = self.connection.execute(
            "select from pg_catalog.pg_proc where proname = 'claim_chunk' and 'p_token' = any (proargnames)"
        )
        if found.fetchone() is not None:
            self.claim = CLAIM_BY_TOKEN

    def order(self, program: UUID, text: str, size: int) -> None:
        """Start a campaign to everybody of a program, in an empty queue with an empty ledger."""
        self.connection.execute(FORGET)
        self.connection.execute(
            "insert into public.push_campaigns (program_id, name, message_text) values (%s, 'Measured', %s)",
            (program, text),
        )
        self.connection.execute("vacuum analyze public.push_campaigns")
        self.connection.execute(CLAIM_CAMPAIGN, (self.worker, size))
        self.connection.execute("analyze passbell.chunks")

    def spent(self) -> float:
        """Microseconds of CPU that the session has used, read when it waits for its next query."""
        process = Path(f"/proc/{self.connection.info.backend_pid}")
        while (process / "stat").read_text().rpartition(") ")[2][0] != "S":
            time.sleep(0)
        return int((process / "schedstat").read_text().split()[0]) / 1000

    def deliver(self, *, each: bool) -> int:
        """Claim a chunk and report it as sent; returns its number of passes. `each`: the report names each pass."""
        begun = self.spent()
        row = self.connection.execute(self.claim, (self.worker, self.cap)).fetchone()
        if row is None:
            return 0
        claimed = self.spent()
        ids: Sequence[str] = row[7]
        if each:
            last = len(ids) - 1
            report = (ids, ["sent"] * len(ids), [200] * last + [202])
            self.connection.execute(FINISH_EACH, (*row[:3], *report)).fetchone()
        else:
            self.connection.execute(FINISH, row[:3]).fetchone()
        self.claims.append(claimed - begun)
        self.finishes.append(self.spent() - claimed)
        return len(ids)


def compare(before: Version, now: Version, program: UUID, members: int) -> None:
    """Print what claim and report cost in both versions: by size of the chunk, text, and kind of report."""
    print("  CPU of the database per chunk: 10th percentile (median), before -> now")
    for text, words in TEXTS.items():
        for size in (50, 500):
            for each in (False, True):
                for version in (before, now):
                    version.order(program, words, size)
                warm = WARM if size < members // 100 else 5
                _in_turns(before, now, each=each, most=warm)
                for version in (before, now):
                    version.claims.clear()
                    version.finishes.clear()
                _in_turns(before, now, each=each, most=min(CHUNKS, members // size - warm))
                print(f"  {text}, chunks of {size}, the report {'names each pass' if each else 'is short'}:")
                both = [
                    [a + b for a, b in zip(version.claims, version.finishes, strict=True)]
                    for version in (before, now)
                ]
                _print("claim", before.claims, now.claims)
                _print("report", before.finishes, now.finishes)
                _print("both", *both)


def _in_turns(before: Version, now: Version, *, each: bool, most: int) -> None:
    for number in range(most):
        first, second = (before, now) if number % 2 else (now, before)
        if not first.deliver(each=each) or not second.deliver(each=each):
            return


def _print(what: str, before: list[float], now: list[float]) -> None:
    low, low_now = (sorted(all_)[len(all_) // 10] for all_ in (before, now))
    middle, middle_now = (sorted(all_)[len(all_) // 2] for all_ in (before, now))
    print(
        f"    {what:6} {low:6.0f} ({middle:.0f}) -> {low_now:6.0f} ({middle_now:.0f}) us,"
        f" {low_now / low:.3f} x ({middle_now / middle:.3f} x)",
        flush=True,
    )
