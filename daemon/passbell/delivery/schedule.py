"""The timed duties: birthdays, automations, results, retention. APScheduler runs each at once, then every so often.

One run of a duty is under way at a time; times that passed meanwhile count as one. APScheduler only ticks, in every
daemon: the database decides what is due and whose it is, so two daemons repeat nothing.

An error ends one run of one duty. It is logged, and the duty comes again after a pause that grows with each error in a
row. Only an error that concerns the whole daemon ends `run()`, and with it the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from passbell.delivery.loops import Backoff, log_interrupted
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

__all__ = ["Duty", "Schedule"]

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
"""Between looks at the clock."""
AGAIN_SECONDS: Final = 0.1
"""Between a run and the next one that was asked for meanwhile."""
JUMP_SECONDS: Final = 1.0
"""A clock that differs by more from what it should show was set."""


class Duty:
    """Something to do every `every` seconds. `beat` is when it last began or ended (time.monotonic)."""

    def __init__(
        self,
        name: str,
        every: float,
        do: Callable[[], Awaitable[None]],
        end: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """`end` hands back what an interrupted run left in this daemon's hands; called when the schedule ends."""
        self.name = name
        self.end = end
        self.every = every
        self.beat = time.monotonic()
        self._do = do
        self._backoff = Backoff(limit=every, first=min(0.5, every))

    async def run(self) -> float | None:
        """Do it once; seconds after which to try again, None if all went well.

        Raises:
            Exception: an error other than DatabaseUnavailable, which is logged and tried again.
        """
        self.beat = time.monotonic()
        try:
            await self._do()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where=self.name, reason=str(error))
            return self._backoff.next()
        finally:
            self.beat = time.monotonic()
        self._backoff.reset()
        return None

    def interrupted(self, error: Exception) -> float:
        """An error ended a run; returns the pause."""
        pause = self._backoff.next()
        log_interrupted(self.name, error, pause)
        return pause


class Schedule:
    """Runs duties until it is cancelled."""

    def __init__(self, duties: Iterable[Duty], fatal: Callable[[Exception], Awaitable[bool]]) -> None:
        """`fatal` says of an error whether it ends the daemon."""
        self._duties = {duty.name: duty for duty in duties}
        self._fatal = fatal
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._running: set[asyncio.Task[None]] = set()
        self._again: set[str] = set()
        self._broken: asyncio.Future[None] | None = None

    def now(self, *names: str) -> None:
        """Run these duties as soon as may be, after a run that is under way; without names, all."""
        under_way = {task.get_name() for task in self._running}
        for name in names or self._duties:
            if name in under_way:
                self._again.add(name)
            else:
                self._run_in(name, 0.0)

    async def run(self) -> None:
        """Run the duties.

        Raises:
            Exception: one that ends the daemon.
        """
        self._broken = asyncio.get_running_loop().create_future()
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        for duty in self._duties.values():
            self._scheduler.add_job(
                self._tick,
                "interval",
                args=(duty,),
                id=duty.name,
                seconds=duty.every,
                next_run_time=datetime.now(UTC),
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        self._scheduler.start()
        try:
            offset = time.time() - time.monotonic()
            while True:
                await asyncio.wait({self._broken}, timeout=LOOK_SECONDS)
                if self._broken.done():
                    return self._broken.result()
                # The next run is a time of day. If the clock jumps back, it is far ahead.
                if abs(time.time() - time.monotonic() - offset) > JUMP_SECONDS:
                    offset = time.time() - time.monotonic()
                    self.now()
        finally:
            await self._end()

    async def _tick(self, duty: Duty) -> None:
        task = asyncio.create_task(self._once(duty), name=duty.name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait(
            {task}
        )  # ends well although the task is cancelled: APScheduler would log that as an error

    async def _once(self, duty: Duty) -> None:
        try:
            pause = await duty.run()
        except Exception as error:  # noqa: BLE001 - logged, and it ends one run of one duty
            if await self._fatal(error):
                if self._broken is not None and not self._broken.done():
                    self._broken.set_exception(error)
                return
            pause = duty.interrupted(error)
        if duty.name in self._again:
            self._again.discard(duty.name)
            pause = AGAIN_SECONDS
        if pause is not None:
            self._run_in(duty.name, pause)

    def _run_in(self, name: str, seconds: float) -> None:
        with contextlib.suppress(JobLookupError):  # it does not run yet, or not any more
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC) + timedelta(seconds=seconds))

    async def _end(self) -> None:
        """Cancel what runs, and wait until it has handed back what it holds."""
        self._scheduler.remove_all_jobs()
        for task in self._running:
            task.cancel()
        while self._running:
            try:
                await asyncio.wait(set(self._running))
            except asyncio.CancelledError:  # once more: a cancellation can be swallowed (loops.py)
                for task in self._running:
                    task.cancel()
        self._scheduler.shutdown(wait=False)
        ends = [duty.end() for duty in self._duties.values() if duty.end is not None]
        await asyncio.gather(*ends, return_exceptions=True)
