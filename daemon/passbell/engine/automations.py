"""Automations: works off the runs that are due, then counts the results whose window has closed.

The database decides what is due and who runs it (`passbell.claim_automation_run`); this loop only asks, and bounds
how long a rule or an award may take. A rule that is slow or wrong stops its own automation, with a sentence on its row.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog

from passbell.db.database import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.errors import DatabaseUnavailable, LeaseLost, PassbellError, from_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from uuid import UUID

    from passbell.db.database import Database
    from passbell.engine.wakeups import Bell

__all__ = ["AutomationLoop"]

log = structlog.get_logger()

LOOK_SECONDS: Final = 30.0
COUNT_SECONDS: Final = 600.0
"""Between looks for results that can be counted: a window closes after days, so a few minutes do not matter."""
BATCH: Final = 50
"""People per transaction where each has a reward of its own: their subtransactions fit the server's cache (64)."""
BATCH_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 60.0
"""statement_timeout of a batch: a rule that takes longer stops its automation."""


@dataclass(frozen=True, slots=True)
class _Run:
    automation: UUID
    local_date: date
    attempt: int


class AutomationLoop:
    """One daemon's part in the automation runs."""

    def __init__(
        self,
        database: Database,
        dsn: str,
        worker: UUID,
        fired: Callable[[], None],
        *,
        lease_seconds: float = 120.0,
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> None:
        """Make it.

        Args:
            database: for the short calls.
            dsn: for batches, which need a connection of their own to bound how long a rule may take.
            worker: this daemon's id; a run is leased to it.
            fired: called when messages may be waiting in the queue.
            lease_seconds: how long a run stays ours without a sign of life; longer than a batch.
            statement_seconds: see STATEMENT_SECONDS.
        """
        self._database = database
        self._dsn = dsn
        self._worker = worker
        self._fired = fired
        self._lease = lease_seconds
        self._statement = statement_seconds
        self._count_next = 0.0

    async def run(self, bell: Bell) -> None:
        """Look at once, whenever the bell rings, and every LOOK_SECONDS; until cancelled."""
        try:
            while True:
                try:
                    await self._watch_wallets()
                    if await self.work_off():
                        self._fired()
                    await self._count()
                except PassbellError as error:
                    log.warning("automations_postponed", reason=str(error))
                await bell.wait(LOOK_SECONDS)
        finally:
            with contextlib.suppress(PassbellError):
                await self._database.fetch(
                    "select passbell.release_automation_runs(%s)", (self._worker,), deadline=3
                )

    async def work_off(self) -> int:
        """Claim and work off runs until none is due; returns how many occasions had their message."""
        fired = 0
        while True:
            rows = await self._database.fetch(
                "select automation_id, local_date, attempt from passbell.claim_automation_run(%s, %s)",
                (self._worker, self._lease),
            )
            if not rows:
                return fired
            fired += await self._run(_Run(*rows[0]))

    async def _run(self, run: _Run) -> int:
        names = {"automation": str(run.automation), "local_date": run.local_date.isoformat()}
        fired = failed = 0
        try:
            async with await psycopg.AsyncConnection.connect(self._dsn, **CONNECTION_OPTIONS) as connection:
                remaining = 1
                while remaining:
                    some, wrong, remaining = await self._batch(connection, run)
                    fired, failed = fired + some, failed + wrong
        except TimeoutError:
            raise DatabaseUnavailable("The database did not answer while an automation ran.") from None
        except psycopg.Error as error:
            trouble = from_database(error)
            if isinstance(trouble, LeaseLost):
                log.info("automation_run_taken_over", fired_here=fired, **names)
                return fired
            reason = (
                f"The rule took longer than {self._statement:g} seconds."
                if isinstance(error, psycopg.errors.QueryCanceled)
                else str(trouble)
            )
            if isinstance(trouble, DatabaseUnavailable) and not isinstance(
                error, psycopg.errors.QueryCanceled
            ):
                raise trouble from error
            log.warning("automation_run_failed", reason=reason, **names)
            await self._database.fetch(
                "select passbell.automation_failed(%s, %s, %s, %s)",
                (run.automation, run.local_date, self._worker, reason),
            )
            return fired
        log.info("automation_run_finished", fired=fired, failed=failed, attempt=run.attempt, **names)
        return fired

    async def _batch(self, connection: psycopg.AsyncConnection[Any], run: _Run) -> tuple[int, int, int]:
        """Work off one batch: how many had their message, how many rewards failed, how many wait."""
        limit = str(round(self._statement * 1000))
        async with asyncio.timeout(self._statement + 10), connection.transaction():
            await connection.execute(SHORT_LEASH, (limit,))
            await connection.execute("select set_config('statement_timeout', %s, true)", (limit,))
            cursor = await connection.execute(
                "select fired, failed, remaining from passbell.automation_batch(%s, %s, %s, %s, %s, %s)",
                (run.automation, run.local_date, self._worker, BATCH, BATCH_SECONDS, self._lease),
            )
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - the function returns one row
        return row[0], row[1], row[2]

    async def _watch_wallets(self) -> None:
        """Note passes that are new in a wallet, a program per call."""
        while (await self._database.fetch("select passbell.watch_wallets()", deadline=60))[0][0]:
            pass

    async def _count(self) -> None:
        """Count what is due, a campaign per call, so that none of them holds another up.

        Where a count fails it is tried again at the next look of its own: runs of automations come first.
        """
        now = asyncio.get_running_loop().time()
        if now < self._count_next:
            return
        self._count_next = now + COUNT_SECONDS
        while True:
            rows = await self._database.fetch("select passbell.count_due_results(1)", deadline=120)
            if not rows[0][0]:
                break
            log.info("result_counted")
