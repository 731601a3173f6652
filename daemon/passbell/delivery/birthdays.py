"""The birthday duty: claims due runs and gives the gifts batch by batch.

The row in passbell.birthday_runs says what is due and whose run it is, so two daemons, a restart or a clock that jumps
neither repeat a day nor skip one (see sql/functions/55_birthday_runs.sql). Each batch is a transaction of its own: a
daemon that is killed loses only the batch in hand, which was not committed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from passbell.database.runs import BirthdayRuns
from passbell.delivery.work import SLICE_SECONDS, DailyRuns, took_too_long
from passbell.errors import CampaignError, DatabaseUnavailable, LeaseLost, PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from passbell.database.claims import Claim
    from passbell.database.runs import Fetches, Run

__all__ = ["TICK_SECONDS", "Birthdays"]

log = structlog.get_logger()

TICK_SECONDS: Final = 30.0
STATEMENT_SECONDS: Final = 20.0
"""statement_timeout of a batch: an award that hangs for longer is cut, recorded, and tried again later."""
FAILURES_LOGGED: Final = 10
"""Per pass over a run; the rest is counted, and all of them are in passbell.birthday_failures."""


class Birthdays(DailyRuns[BirthdayRuns]):
    """One daemon's part in the birthday runs; a kind of work, see delivery/work.py."""

    def __init__(
        self,
        database: Fetches,
        dsn: str,
        worker: UUID,
        queued: Callable[[], None] = lambda: None,
        *,
        lease_seconds: float = 60.0,
        statement_seconds: float = STATEMENT_SECONDS,
    ) -> None:
        """See `BirthdayRuns` for all but `queued`."""
        runs = BirthdayRuns(
            database, dsn, worker, lease_seconds=lease_seconds, statement_seconds=statement_seconds
        )
        super().__init__(runs, queued)
        self._refused = ""

    async def give(self) -> None:
        """Give the gifts of every run that is due."""
        if await self.off():
            self._queued()

    def names(self, held: Run) -> dict[str, str]:
        """The program and its date."""
        return {
            "program": str(held.subject),
            "local_date": held.local_date.isoformat(),
            "attempt": str(held.attempt),
        }

    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run."""
        try:
            run = await self._runs.claim(claim)
        except CampaignError as error:
            # birthday_logs lost its UNIQUE: a person must act. Said once, not at every tick.
            if str(error) != self._refused:
                self._refused = str(error)
                log.warning("birthdays_refused", reason=self._refused)
            return None
        self._refused = ""
        return run

    async def work(self, held: Run) -> None:
        """Work off one run. What the database refuses is logged, so that it does not stop the other runs."""
        names = self.names(held)
        log.info("birthday_run_started", **names)
        given = 0
        try:
            given, through = await self._give(held)
            if not through:
                await self.rest(held)
                log.info("birthday_run_rests", gifted_here=given, **names)
                return
            done = await self._runs.finish(held)
        except LeaseLost:
            log.info("birthday_run_taken_over", gifted_here=given, **names)
        except PassbellError as error:
            if isinstance(error, DatabaseUnavailable) and not took_too_long(error):
                raise
            # The other programs go on; this one is tried again after a pause.
            log.error("birthday_run_failed", reason=str(error), **names)  # noqa: TRY400 - the sentence says it all
            await self._runs.failed(held, str(error))
        else:
            log.info(
                "birthday_run_finished",
                eligible=done.eligible,
                gifted=done.gifted,
                failed=done.failed,
                completed=done.completed,
                campaign=str(done.campaign) if done.campaign else None,
                **names,
            )

    async def _give(self, run: Run) -> tuple[int, bool]:
        """How many were given, and whether that is all for this pass."""
        names = self.names(run)
        given = logged = 0
        through = False
        ends = time.monotonic() + SLICE_SECONDS
        async with self._runs.connected() as connection:
            while not through and time.monotonic() < ends:
                batch = await self._runs.batch(connection, run)
                given += batch.gifted
                for pass_id, reason in batch.failures[: max(0, FAILURES_LOGGED - logged)]:
                    log.warning("birthday_gift_failed", pass_id=str(pass_id), reason=reason, **names)
                logged += len(batch.failures)
                through = batch.over or batch.remaining <= 0
        if logged > FAILURES_LOGGED:
            log.warning("birthday_gifts_failed", failed=logged, logged=FAILURES_LOGGED, **names)
        return given, through
