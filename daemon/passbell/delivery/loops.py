"""Runs the loops side by side, restarts one that an error ended, and ends them together.

Only an error of the configuration or of the schema's version ends the daemon. Any other one, from the database, from
the host's rules, or unexpected, ends one round of one loop: it is logged, and the loop starts again after a pause that
grows with each error in a row. So the other loops, and the other campaigns of this one, go on.

A TaskGroup would do if every cancellation arrived: but it cancels each task once, and `asyncio.wait_for` of Python
3.11 (inside psycopg) may swallow that one when its future completes at the same moment. A daemon that lost a loop and
waits for ever for another is alive and idle, the worst of all states. So the loops are cancelled until they are gone.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from passbell.database.migrate import check
from passbell.delivery.backoff import Backoff
from passbell.errors import ConfigurationError, PassbellError, SchemaBehind, SchemaTooNew

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

__all__ = ["Loops", "ends_the_process"]

log = structlog.get_logger()

CANCEL_AGAIN_SECONDS: Final = 0.5
RESTART_LIMIT: Final = 30.0
"""The longest pause before a loop starts again."""
CALM_SECONDS: Final = 60.0
"""After a round of this length the next error counts as the first."""


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
                log.warning(
                    "loop_interrupted",
                    loop=name,
                    reason=str(error) or type(error).__name__,
                    pause=round(pause, 1),
                    exc_info=None if isinstance(error, PassbellError) else error,
                )
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
        """Cancel until all are gone."""
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
