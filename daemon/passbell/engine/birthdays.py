"""The birthday loop: ticks, claims due runs, gives the gifts batch by batch.

APScheduler only rings the bell, in every daemon. The row in passbell.birthday_runs says what is due and whose
run it is, so two daemons, a restart or a clock that jumps neither repeat a day nor skip one (see
sql/functions/62_birthday_runs.sql). Each batch is a transaction of its own: a daemon that is killed loses only
the batch in hand, which was not committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString, Protocol

import psycopg
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from passbell.db.database import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.engine.wakeups import Bell
from passbell.errors import (
    CampaignError,
    DatabaseRefused,
    DatabaseUnavailable,
    LeaseLost,
    PassbellError,
    from_database,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date
    from uuid import UUID

__all__ = ["Fetches", "run_birthdays_loop"]

log = structlog.get_logger()

TICK_SECONDS: Final = 30.0
BATCH: Final = 50
"""Members per transaction: few enough that their subtransactions fit the server's cache (64)."""
BATCH_SECONDS: Final = 5.0
"""No award starts later than this in a batch, so each has the rest of STATEMENT_SECONDS to itself."""
STATEMENT_SECONDS: Final = 20.0
"""statement_timeout of a batch: an award that hangs for longer is cut, recorded, and tried again later."""
FAILURES_LOGGED: Final = 10
"""Per pass over a run; the rest is counted, and all of them are in passbell.birthday_failures."""


class Fetches(Protocol):
    """What the loop needs of the daemon's database: `passbell.db.database.Database` is one."""

    async def fetch(
        self, query: LiteralString, params: Sequence[Any] = (), *, deadline: float = 10.0
    ) -> list[tuple[Any, ...]]:
        """Run one statement in its own transaction and return its rows."""


@dataclass(frozen=True, slots=True)
class _Run:
    program: UUID
    local_date: date
    attempt: int


async def run_birthdays_loop(
    database: Fetches,
    dsn: str,
    worker: UUID,
    greeted: Callable[[], None] = lambda: None,
    *,
    bell: Bell | None = None,
    lease_seconds: float = 60.0,
    tick_seconds: float = TICK_SECONDS,
    statement_seconds: float = STATEMENT_SECONDS,
) -> None:
    """Give the gifts of every run that is due, at once and then at every tick, until cancelled.

    Args:
        database: for the short calls.
        dsn: for batches, which need a connection of their own to bound how long an award may hang.
        worker: this daemon's id; a run is leased to it.
        greeted: called when greetings may be waiting in the queue.
        bell: rung at each tick; its beat is the loop's pulse.
        lease_seconds: how long a run stays ours without a sign of life.
        tick_seconds: between looks.
        statement_seconds: see STATEMENT_SECONDS.
    """
    bell = bell or Bell()
    ring = bell.ring

    async def tick() -> None:  # a coroutine, or APScheduler would call it in another thread
        ring()

    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        tick,
        "interval",
        seconds=tick_seconds,
        next_run_time=datetime.now(UTC),
        coalesce=True,
        misfire_grace_time=None,
    )
    gifts = _Gifts(database, dsn, worker, lease_seconds, statement_seconds)
    pause = min(1.0, tick_seconds)
    scheduler.start()
    try:
        while True:
            # APScheduler waits for a time of day: should the clock jump back, the loop must still come round. And a
            # daemon that has just started looks more often: its dead predecessor's run is freed a moment later.
            await bell.wait(pause)
            pause = min(2 * pause, 2 * tick_seconds)
            if await gifts.work_off():
                greeted()
    finally:
        scheduler.shutdown(wait=False)
        with contextlib.suppress(PassbellError):
            await database.fetch("select passbell.release_birthday_runs(%s)", (worker,), deadline=3)


class _Gifts:
    """One daemon's part in the birthday runs."""

    def __init__(
        self, database: Fetches, dsn: str, worker: UUID, lease_seconds: float, statement_seconds: float
    ) -> None:
        self._database = database
        self._dsn = dsn
        self._worker = worker
        self._lease = lease_seconds
        self._statement = statement_seconds
        self._refused = ""
        self._interrupted = False

    async def work_off(self) -> int:
        """Claim and work off runs until none is due; returns the number of gifts given."""
        given = 0
        try:
            if self._interrupted:  # what stands under our name is nobody's, and need not wait for its lease
                await self._database.fetch("select passbell.release_birthday_runs(%s)", (self._worker,))
                self._interrupted = False
            while (run := await self._claim()) is not None:
                given += await self._run(run)
        except (DatabaseUnavailable, DatabaseRefused) as error:
            self._interrupted = True
            log.warning("database_unavailable", where="birthdays", reason=str(error))
        return given

    async def _claim(self) -> _Run | None:
        try:
            rows = await self._database.fetch(
                "select * from passbell.claim_birthday_run(%s, %s)", (self._worker, self._lease), deadline=60
            )
        except CampaignError as error:
            # birthday_logs lost its UNIQUE: a person must act. Said once, not at every tick.
            if str(error) != self._refused:
                self._refused = str(error)
                log.warning("birthdays_refused", reason=self._refused)
            return None
        self._refused = ""
        return _Run(*rows[0]) if rows else None

    async def _run(self, run: _Run) -> int:
        """Work off one run. Its trouble is not the others': whatever the database refuses is logged."""
        names = {
            "program": str(run.program),
            "local_date": run.local_date.isoformat(),
            "attempt": run.attempt,
        }
        log.info("birthday_run_started", **names)
        given = 0
        try:
            given = await self._give(run, names)
            rows = await self._database.fetch(
                "select eligible, gifted, failed, completed, campaign_id"
                " from passbell.finish_birthday_run(%s, %s, %s)",
                (run.program, run.local_date, self._worker),
                deadline=60,
            )
        except LeaseLost:
            log.info("birthday_run_taken_over", gifted_here=given, **names)
        except DatabaseUnavailable:
            raise
        except PassbellError as error:
            # The other programs go on; this one is tried again after a pause.
            log.error("birthday_run_failed", reason=str(error), **names)  # noqa: TRY400 - the sentence says it all
            await self._database.fetch(
                "select passbell.birthday_run_failed(%s, %s, %s, %s)",
                (run.program, run.local_date, self._worker, str(error)),
            )
        else:
            eligible, gifted, failed, completed, campaign = rows[0]
            log.info(
                "birthday_run_finished",
                eligible=eligible,
                gifted=gifted,
                failed=failed,
                completed=completed,
                campaign=str(campaign) if campaign else None,
                **names,
            )
        return given

    async def _give(self, run: _Run, names: dict[str, Any]) -> int:
        given = logged = 0
        try:
            async with await psycopg.AsyncConnection.connect(self._dsn, **CONNECTION_OPTIONS) as connection:
                while True:
                    gifted, remaining, over, failures = await self._batch(connection, run)
                    given += gifted
                    for pass_id, reason in failures[: max(0, FAILURES_LOGGED - logged)]:
                        log.warning("birthday_gift_failed", pass_id=str(pass_id), reason=reason, **names)
                    logged += len(failures)
                    if over or remaining <= 0:
                        break
        except TimeoutError:
            raise DatabaseUnavailable("The database did not answer while gifts were given.") from None
        except psycopg.Error as error:
            raise from_database(error) from error
        if logged > FAILURES_LOGGED:
            log.warning("birthday_gifts_failed", failed=logged, logged=FAILURES_LOGGED, **names)
        return given

    async def _batch(
        self, connection: psycopg.AsyncConnection[Any], run: _Run
    ) -> tuple[int, int, bool, list[tuple[UUID, str]]]:
        """Give one batch: the gifts given, how many wait, whether the program may give no more, failures."""
        async with asyncio.timeout(self._statement + 10), connection.transaction():
            limit = str(round(self._statement * 1000))
            await connection.execute(SHORT_LEASH, (limit,))
            await connection.execute("select set_config('statement_timeout', %s, true)", (limit,))
            cursor = await connection.execute(
                "select gifted, already_gifted, failed, remaining, stopped, failed_passes, reasons"
                " from passbell.gift_batch(%s, %s, %s, %s, %s, %s)",
                (
                    run.program,
                    run.local_date,
                    self._worker,
                    BATCH,
                    min(BATCH_SECONDS, self._statement / 2),
                    self._lease,
                ),
            )
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - the function returns one row
        gifted, already, failed, remaining, stopped, passes, reasons = row
        # Nobody was tried: the program was switched off or suspended. A hanging award ends only its batch.
        over = stopped and gifted + already + failed == 0
        return gifted, remaining, over, list(zip(passes, reasons, strict=True))
