"""The duties of automations: work off the runs that are due, note new passes in wallets, count results.

The database decides what is due and who runs it (`passbell.claim_automation_run`); the duties only ask, and bound how
long a rule or an award may take. A rule that is slow or wrong stops its own automation, with a sentence on its row.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from passbell.database.runs import AutomationRuns
from passbell.database.upkeep import Upkeep
from passbell.delivery.work import SLICE_SECONDS, DailyRuns, took_too_long
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


class Automations(DailyRuns[AutomationRuns]):
    """One daemon's part in the automations; its runs are a kind of work, see delivery/work.py."""

    def __init__(
        self,
        database: Database,
        dsn: str,
        worker: UUID,
        queued: Callable[[], None] = lambda: None,
        *,
        lease_seconds: float = 120.0,
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> None:
        """See `AutomationRuns` for all but `queued`. A lease is longer than a batch."""
        runs = AutomationRuns(
            database, dsn, worker, lease_seconds=lease_seconds, statement_seconds=statement_seconds
        )
        super().__init__(runs, queued)
        self._upkeep = Upkeep(database)
        self._turn = asyncio.Lock()
        """The other two duties take turns, so that together they occupy one connection of the pool."""
        self.fired = 0
        """Occasions that had their message since the start."""

    async def fire(self) -> None:
        """Work off every run that is due."""
        before = self.fired
        await self.off()
        if self.fired > before:
            self._queued()

    async def watch_wallets(self) -> None:
        """Note passes that are new in a wallet, a program per call."""
        async with self._turn:
            while await self._upkeep.watch_wallets():
                pass

    async def count_results(self) -> None:
        """Count what is due, a campaign per call, so that no campaign holds up another."""
        async with self._turn:
            while await self._upkeep.count_due_result():
                log.info("result_counted")

    def names(self, held: Run) -> dict[str, str]:
        """The automation and its date."""
        return {"automation": str(held.subject), "local_date": held.local_date.isoformat()}

    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run."""
        return await self._runs.claim(claim)

    async def work(self, held: Run) -> None:
        """Work off one run, or write on the automation why that is impossible."""
        names = self.names(held)
        fired = failed = 0
        try:
            async with self._runs.connected() as connection:
                remaining = 1
                ends = time.monotonic() + SLICE_SECONDS
                while remaining and time.monotonic() < ends:
                    batch = await self._runs.batch(connection, held)
                    fired, failed, remaining = fired + batch.fired, failed + batch.failed, batch.remaining
            if remaining:
                await self.rest(held)
                log.info("automation_run_rests", fired_here=fired, **names)
                return
        except LeaseLost:
            log.info("automation_run_taken_over", fired_here=fired, **names)
        except PassbellError as error:
            slow = took_too_long(error)
            if isinstance(error, DatabaseUnavailable) and not slow:
                raise
            reason = (
                f"The rule took longer than {self._runs.statement_seconds:g} seconds." if slow else str(error)
            )
            log.warning("automation_run_failed", reason=reason, **names)
            await self._runs.failed(held, reason)
        else:
            log.info("automation_run_finished", fired=fired, failed=failed, attempt=held.attempt, **names)
        finally:
            self.fired += fired
