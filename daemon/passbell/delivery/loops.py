"""What every loop of the daemon needs: its wake-up, its pauses after failures, and supervision.

Loops run side by side, and are ended together. Only an error of the configuration or of the schema's version ends the
daemon. Any other one, from the database, from the host's rules, or unexpected, ends one round of one loop: it is
logged, and the loop starts again after a pause that grows with each error in a row. So the other loops, and the other
campaigns of this one, go on.

A TaskGroup would do if every cancellation arrived: but it cancels each task once, and `asyncio.wait_for` of Python
3.11 (inside psycopg) may swallow that one when its future completes at the same moment. A daemon that lost a loop and
waits for ever for another is alive and idle, the worst of all states. So the loops are cancelled until they are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from passbell.database.migrate import check
from passbell.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    PassbellError,
    SchemaBehind,
    SchemaTooNew,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from passbell.database.calls import Queue
    from passbell.database.rows import WorkWaiting

__all__ = [
    "SELDOM",
    "Backoff",
    "Loops",
    "Wakeup",
    "cancel_until_gone",
    "ends_the_process",
    "log_interrupted",
    "run_poll",
]

log = structlog.get_logger()

SELDOM: Final = 30.0
"""Seconds after which a loop looks for work without an event, unless the poll says that there is none: the poll and the
notifications should have set one. Well below `STUCK_SECONDS` of ops/liveness.py."""
CANCEL_AGAIN_SECONDS: Final = 0.5
RESTART_LIMIT: Final = 30.0
"""The longest pause before a loop starts again."""
CALM_SECONDS: Final = 60.0
"""After a round of this length the next error counts as the first."""


class Wakeup:
    """One loop's event: `set()` ends the loop's wait. Calls before the wait are kept, as one.

    `beat` is when the loop last went round (time.monotonic), for liveness and the watchdog. `quiet`: the last wait
    ended by itself, and the poll said meanwhile that there is nothing to do; so the loop need not ask that once more.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._nothing_at = -math.inf
        self.beat = time.monotonic()
        self.quiet = False

    def set(self) -> None:
        """Wake the loop, or let its next wait end at once."""
        self._event.set()

    def told(self, *, waiting: bool) -> None:
        """Hear the poll's answer: there may be something to do, or there certainly is nothing."""
        if waiting:
            self.set()
        else:
            self._nothing_at = time.monotonic()

    async def wait(self, seconds: float) -> None:
        """Wait until it is set, at most `seconds`."""
        begun = self.beat = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self.quiet = not self._event.is_set() and self._nothing_at >= begun
        self._event.clear()
        self.beat = time.monotonic()

    async def wait_for_work(self, poll_seconds: float) -> None:
        """Wait until it is set, or until the poll has not answered for SELDOM."""
        seconds = max(poll_seconds, SELDOM)
        await self.wait(seconds)
        while self.quiet:
            await self.wait(max(0.0, self._nothing_at + seconds - time.monotonic()))


class Backoff:
    """`first`, twice, four times … as many seconds, at most `limit`, each times 0.75 to 1.25."""

    def __init__(self, limit: float = 5.0, first: float = 0.1) -> None:
        self._limit = limit
        self._first = first
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def reset(self) -> None:
        """It works again: the next pause is the first one."""
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        return min(self._limit, self._first * 2.0 ** min(self._failures - 1, 20)) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


async def run_poll(queue: Queue, found: Callable[[WorkWaiting], None], poll_seconds: float) -> None:
    """Ask every `poll_seconds` whether there may be anything to do, and tell `found`; until cancelled.

    One small question for all loops: they look for work only when they are woken, by a notification, by each other or
    from here. While the poll has no answer they look by themselves, after SELDOM.
    """
    backoff = Backoff()
    while True:
        await asyncio.sleep(poll_seconds)
        try:
            found(await queue.work_waiting())
            backoff.reset()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="poll", reason=str(error))
            await asyncio.sleep(backoff.next())


async def ends_the_process(error: Exception, dsn: str) -> bool:
    """Whether the daemon cannot go on with this error.

    A missing table or function looks like a schema that is behind, but may as well be a table of the host's that was
    dropped: the versions are compared.
    """
    if isinstance(error, SchemaBehind):
        try:
            report = await asyncio.to_thread(check, dsn)
        except SchemaTooNew:
            return True
        except PassbellError:
            return False
        return not report.current
    return isinstance(error, ConfigurationError | SchemaTooNew)


async def cancel_until_gone(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel the tasks again and again until none is left: a cancellation can be swallowed."""
    while tasks:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS)
        for task in [task for task in tasks if task.done()]:
            tasks.remove(task)
            if not task.cancelled():
                task.exception()  # seen: asyncio need not complain about it


def log_interrupted(loop: str, error: Exception, pause: float) -> None:
    """Log that an error ended a round of a loop; a defect with its traceback."""
    log.warning(
        "loop_interrupted",
        loop=loop,
        reason=str(error) or type(error).__name__,
        pause=round(pause, 1),
        exc_info=None if isinstance(error, PassbellError) else error,
    )


class Loops:
    """Named tasks that are meant to run for ever."""

    def __init__(
        self,
        loops: Mapping[str, Callable[[], Coroutine[Any, Any, None]]],
        fatal: Callable[[Exception], Awaitable[bool]],
    ) -> None:
        """Start them all. `fatal` says of an error whether it ends the daemon."""
        self._fatal = fatal
        self._tasks = [
            asyncio.create_task(self._forever(name, begin), name=name) for name, begin in loops.items()
        ]

    async def _forever(self, name: str, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        backoff = Backoff(limit=RESTART_LIMIT, first=0.5)
        while True:
            begun = time.monotonic()
            try:
                await begin()
            except Exception as error:
                if await self._fatal(error):
                    raise
                if time.monotonic() - begun > CALM_SECONDS:
                    backoff.reset()
                pause = backoff.next()
                log_interrupted(name, error, pause)
                await asyncio.sleep(pause)
            else:
                return

    async def run_until(self, stop: asyncio.Event) -> int | None:
        """Wait until `stop` is set (None) or a loop has ended unasked (the exit code for that)."""
        waiting = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        code = None
        for task in self._tasks:
            if task.done():
                error = None if task.cancelled() else task.exception()
                reason = "it ended" if error is None else str(error) or type(error).__name__
                expected = isinstance(error, PassbellError)
                log.error(
                    "loop_failed", loop=task.get_name(), reason=reason, exc_info=None if expected else error
                )
                code = error.exit_code if isinstance(error, PassbellError) else 1
        return code

    async def end(self) -> None:
        """End them all."""
        await cancel_until_gone(set(self._tasks))
