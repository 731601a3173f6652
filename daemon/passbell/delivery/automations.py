"""The duties of automations: work off the runs that are due, note new passes in wallets, count results.

The database decides what is due and who runs it (`passbell.claim_automation_run`); the duties only ask, and bound how
long a rule or an award may take. A rule that is slow or wrong stops its own automation, with a sentence on its row.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg
import structlog

from passbell.database.claims import Claims
from passbell.database.runs import AutomationRuns
from passbell.database.upkeep import Upkeep
from passbell.delivery.dailyruns import DailyRuns
from passbell.delivery.work import work_off
from passbell.errors import DatabaseUnavailable, LeaseLost, PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from passbell.database.claims import Claim
    from passbell.database.pool import Database
    from passbell.database.runs import Run

__all__ = ["COUNT_SECONDS", "LOOK_SECONDS", "Automations"]

log = structlog.get_logger()

LOOK_SECONDS: Final = 30.0
COUNT_SECONDS: Final = 600.0
"""Between looks for results that can be counted: a window closes after days, so a few minutes do not matter."""
STATEMENT_SECONDS: Final = 60.0
"""statement_timeout of a batch: a rule that takes longer stops its automation."""


class Automations(DailyRuns):
    """One daemon's part in the automations; its runs are a kind of work, see delivery/work.py."""

    _runs: AutomationRuns

    def __init__(
        self,
        database: Database,
        dsn: str,
        worker: UUID,
        fired: Callable[[], None] = lambda: None,
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
        self._runs = AutomationRuns(
            database, dsn, worker, lease_seconds=lease_seconds, statement_seconds=statement_seconds
        )
        self._upkeep = Upkeep(database)
        self._claims = Claims()
        self._fired = fired
        self._turn = asyncio.Lock()
        """The three duties take turns, so that together they occupy one connection of the pool."""
        self.fired = 0
        """Occasions that had their message since the start."""

    async def fire(self) -> None:
        """Work off every run that is due."""
        async with self._turn:
            before = self.fired
            await work_off(self, self._claims)
        if self.fired > before:
            self._fired()

    async def watch_wallets(self) -> None:
        """Note passes that are new in a wallet, a program per call."""
        async with self._turn:
            while await self._upkeep.watch_wallets():
                pass

    async def count_results(self) -> None:
        """Count what is due, a campaign per call, so that none of them holds another up."""
        async with self._turn:
            while await self._upkeep.count_due_result():
                log.info("result_counted")

    def names(self, run: Run) -> dict[str, str]:
        """The automation and its date."""
        return {"automation": str(run.subject), "local_date": run.local_date.isoformat()}

    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run."""
        return await self._runs.claim(claim)

    async def work(self, run: Run) -> None:
        """Work off one run, or write on the automation why that is impossible."""
        names = self.names(run)
        fired = failed = 0
        try:
            async with self._runs.connected() as connection:
                remaining = 1
                while remaining:
                    batch = await self._runs.batch(connection, run)
                    fired, failed, remaining = fired + batch.fired, failed + batch.failed, batch.remaining
        except LeaseLost:
            log.info("automation_run_taken_over", fired_here=fired, **names)
        except PassbellError as error:
            slow = isinstance(error.__cause__, psycopg.errors.QueryCanceled)
            if isinstance(error, DatabaseUnavailable) and not slow:
                raise
            reason = (
                f"The rule took longer than {self._runs.statement_seconds:g} seconds." if slow else str(error)
            )
            log.warning("automation_run_failed", reason=reason, **names)
            await self._runs.failed(run, reason)
        else:
            log.info("automation_run_finished", fired=fired, failed=failed, attempt=run.attempt, **names)
        finally:
            self.fired += fired
