"""Runs the loops side by side and ends them together.

A TaskGroup would do if every cancellation arrived: but it cancels each task once, and `asyncio.wait_for` of Python
3.11 (inside psycopg) may swallow that one when its future completes at the same moment. A daemon that lost a loop and
waits for ever for another is alive and idle, the worst of all states. So the loops are cancelled until they are gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from passbell.errors import PassbellError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

__all__ = ["Loops"]

log = structlog.get_logger()

CANCEL_AGAIN_SECONDS: Final = 0.5


class Loops:
    """Named tasks that are meant to run for ever."""

    def __init__(self, loops: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Start them all."""
        self._tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in loops.items()]

    async def watch(self, stop: asyncio.Event) -> int | None:
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
