"""Runs of birthdays and automations: claimed by token, worked off batch by batch, ended or handed back.

A batch has a connection of its own, because its statement_timeout bounds how long an award or a rule may hang. The
rules are in sql/functions/52_daily_runs.sql, 55_birthday_runs.sql and 65_automation_runs.sql.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, Protocol

import psycopg

from passbell.database.pool import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.errors import DatabaseUnavailable, from_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from passbell.database.claims import Claim

__all__ = ["AutomationRuns", "BirthdayRuns", "Fetches", "FiredBatch", "Gifts", "GivenBatch", "Run"]

BATCH: Final = 50
"""Members per transaction: few enough that their subtransactions fit the server's cache (64)."""
BATCH_SECONDS: Final = 5.0
"""No award starts later than this in a batch, so each has the rest of the statement_timeout to itself."""
CLAIM_SECONDS: Final = 60.0


class Fetches(Protocol):
    """What runs need of the daemon's database: `passbell.database.pool.Database` is one."""

    async def fetch(
        self, query: LiteralString, params: Sequence[Any] | Mapping[str, Any] = (), *, deadline: float = 10.0
    ) -> list[tuple[Any, ...]]:
        """Run one statement in its own transaction and return its rows."""


class Run(NamedTuple):
    """A claimed run of a program's birthdays, or of an automation, on one local date."""

    subject: UUID
    local_date: date
    attempt: int


class GivenBatch(NamedTuple):
    """What gift_batch did. `failures`: passes whose award failed, each with the reason."""

    gifted: int
    remaining: int
    over: bool
    """The program may give no more: it was switched off or suspended."""
    failures: list[tuple[UUID, str]]


class Gifts(NamedTuple):
    """What finish_birthday_run counted."""

    eligible: int
    gifted: int
    failed: int
    completed: bool
    campaign: UUID | None


class FiredBatch(NamedTuple):
    """What automation_batch did: messages, failed rewards, people who wait."""

    fired: int
    failed: int
    remaining: int


class _Runs:
    """What both kinds of runs have in common."""

    def __init__(
        self, database: Fetches, dsn: str, worker: UUID, *, lease_seconds: float, statement_seconds: float
    ) -> None:
        """Make it.

        Args:
            database: for the short calls.
            dsn: where batches connect. They have connections of their own, whose statement_timeout bounds how long an
                award or a rule may hang.
            worker: this daemon's id; a run is leased to it.
            lease_seconds: how long a run stays this worker's without a batch.
            statement_seconds: statement_timeout of a batch.
        """
        self.statement_seconds = statement_seconds
        self._database = database
        self._dsn = dsn
        self._worker = worker
        self._lease = lease_seconds

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection for the batches of one run; what goes wrong on it leaves as `passbell.errors`."""
        try:
            async with await psycopg.AsyncConnection.connect(self._dsn, **CONNECTION_OPTIONS) as connection:
                yield connection
        except TimeoutError:
            raise DatabaseUnavailable(
                "The database did not answer while a run was worked off.", timed_out=True
            ) from None
        except psycopg.Error as error:
            raise from_database(error) from error

    async def _claim(self, query: LiteralString, claim: Claim) -> Run | None:
        rows = await self._database.fetch(
            query, {"worker": self._worker, "lease": self._lease, **claim._asdict()}, deadline=CLAIM_SECONDS
        )
        return Run(*rows[0]) if rows else None

    async def _batch(
        self, connection: psycopg.AsyncConnection[Any], query: LiteralString, run: Run
    ) -> tuple[Any, ...]:
        """Work off one batch, in a transaction of its own."""
        limit = str(round(self.statement_seconds * 1000))
        async with asyncio.timeout(self.statement_seconds + 10), connection.transaction():
            await connection.execute(SHORT_LEASH, {"silent": limit})
            await connection.execute(_STATEMENT_TIMEOUT, {"limit": limit})
            cursor = await connection.execute(
                query,
                {
                    **self._named(run),
                    "batch": BATCH,
                    "seconds": min(BATCH_SECONDS, self.statement_seconds / 2),
                    "lease": self._lease,
                },
            )
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - the functions return one row
        return tuple(row)

    async def rest(self, run: Run, seconds: float) -> None:
        """Hand the run back for so many seconds: those of others are claimed before it."""
        await self._database.fetch(
            "select passbell.rest_run(p_subject => %(subject)s, p_date => %(date)s, p_worker => %(worker)s,"
            " p_seconds => %(seconds)s::float8)",
            {**self._named(run), "seconds": seconds},
        )

    def _named(self, run: Run) -> dict[str, Any]:
        return {"subject": run.subject, "date": run.local_date, "worker": self._worker}


class BirthdayRuns(_Runs):
    """The birthday runs of one worker."""

    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run that is due, or the one that is held under the token.

        Raises:
            CampaignError: birthday_logs has lost its UNIQUE.
        """
        return await self._claim(_CLAIM_BIRTHDAYS, claim)

    async def batch(self, connection: psycopg.AsyncConnection[Any], run: Run) -> GivenBatch:
        """Give one batch of gifts."""
        gifted, already, failed, remaining, stopped, passes, reasons = await self._batch(
            connection, _GIFT_BATCH, run
        )
        # Stopped although some were tried: a hanging award, which ends only its batch.
        over = stopped and gifted + already + failed == 0
        return GivenBatch(gifted, remaining, over, list(zip(passes, reasons, strict=True)))

    async def finish(self, run: Run) -> Gifts:
        """End a pass over the run."""
        rows = await self._database.fetch(_FINISH_BIRTHDAYS, self._named(run), deadline=60)
        return Gifts(*rows[0])

    async def failed(self, run: Run, reason: str) -> None:
        """A batch was refused: the run is taken up again after a pause."""
        await self._database.fetch(_BIRTHDAYS_FAILED, {**self._named(run), "reason": reason})

    async def release(self) -> None:
        """Hand back the runs that this worker holds."""
        await self._database.fetch(
            "select passbell.release_birthday_runs(p_worker => %(worker)s)",
            {"worker": self._worker},
            deadline=3,
        )


class AutomationRuns(_Runs):
    """The automation runs of one worker."""

    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run that is due, or the one that is held under the token."""
        return await self._claim(_CLAIM_AUTOMATION, claim)

    async def batch(self, connection: psycopg.AsyncConnection[Any], run: Run) -> FiredBatch:
        """Work off one batch."""
        return FiredBatch(*await self._batch(connection, _AUTOMATION_BATCH, run))

    async def failed(self, run: Run, reason: str) -> None:
        """The rule is slow or wrong: the automation says so, and the run is taken up again after a pause."""
        await self._database.fetch(_AUTOMATION_FAILED, {**self._named(run), "reason": reason})

    async def release(self) -> None:
        """Hand back the runs that this worker holds."""
        await self._database.fetch(
            "select passbell.release_automation_runs(p_worker => %(worker)s)",
            {"worker": self._worker},
            deadline=3,
        )


_STATEMENT_TIMEOUT: Final = "select set_config('statement_timeout', %(limit)s, true)"
_CLAIM_BIRTHDAYS: Final = """
    select program_id, local_date, attempt
      from passbell.claim_birthday_run(
           p_worker => %(worker)s, p_lease_seconds => %(lease)s::float8, p_token => %(token)s, p_again => %(again)s)
"""
_GIFT_BATCH: Final = """
    select gifted, already_gifted, failed, remaining, stopped, failed_passes, reasons
      from passbell.gift_batch(
           p_program => %(subject)s, p_date => %(date)s, p_worker => %(worker)s, p_limit => %(batch)s,
           p_seconds => %(seconds)s::float8, p_lease_seconds => %(lease)s::float8)
"""
_FINISH_BIRTHDAYS: Final = """
    select eligible, gifted, failed, completed, campaign_id
      from passbell.finish_birthday_run(p_program => %(subject)s, p_date => %(date)s, p_worker => %(worker)s)
"""
_BIRTHDAYS_FAILED: Final = """
    select passbell.birthday_run_failed(
           p_program => %(subject)s, p_date => %(date)s, p_worker => %(worker)s, p_reason => %(reason)s)
"""
_CLAIM_AUTOMATION: Final = """
    select automation_id, local_date, attempt
      from passbell.claim_automation_run(
           p_worker => %(worker)s, p_lease_seconds => %(lease)s::float8, p_token => %(token)s, p_again => %(again)s)
"""
_AUTOMATION_BATCH: Final = """
    select fired, failed, remaining
      from passbell.automation_batch(
           p_automation => %(subject)s, p_date => %(date)s, p_worker => %(worker)s, p_limit => %(batch)s,
           p_seconds => %(seconds)s::float8, p_lease_seconds => %(lease)s::float8)
"""
_AUTOMATION_FAILED: Final = """
    select passbell.automation_failed(
           p_automation => %(subject)s, p_date => %(date)s, p_worker => %(worker)s, p_reason => %(reason)s)
"""
