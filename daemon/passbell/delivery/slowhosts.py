"""Limits the reports that wait at the same time for hanging rules of the host, per program.

A report writes outcomes to passbell's own tables and then tells the campaign's row, which the host's triggers may keep
waiting. Each such report takes a connection of the pool. So a program has two reports under way at once; when both
got no answer, its reports leave the host's tables out for a while, and the counters follow later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from passbell.delivery.loops import Backoff
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

__all__ = ["SlowHosts"]

AT_ONCE: Final = 2
FIRST_SECONDS: Final = 10.0
LIMIT_SECONDS: Final = 300.0


class _Program:
    def __init__(self) -> None:
        self.reports = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0
        self.unanswered = 0
        self.backoff = Backoff(limit=LIMIT_SECONDS, first=FIRST_SECONDS)
        self.until = 0.0


class SlowHosts:
    """Counts the reports that got no answer, by program."""

    def __init__(self) -> None:
        self._programs: dict[UUID, _Program] = {}

    @contextlib.asynccontextmanager
    async def report(self, program_id: UUID) -> AsyncIterator[bool]:
        """Wait for the program's turn; gives whether the report may touch the host's tables."""
        program = self._programs.setdefault(program_id, _Program())
        program.waiting += 1
        try:
            async with program.reports:
                asks = time.monotonic() >= program.until
                try:
                    yield asks
                except DatabaseUnavailable as error:
                    if asks and error.timed_out:
                        self._unanswered(program)
                    raise
                if asks:
                    program.unanswered = 0
                    program.backoff.reset()
        finally:
            program.waiting -= 1
            if not program.waiting and not program.unanswered:
                self._programs.pop(program_id, None)

    def _unanswered(self, program: _Program) -> None:
        program.unanswered += 1
        if program.unanswered >= AT_ONCE:
            program.until = time.monotonic() + program.backoff.next()
