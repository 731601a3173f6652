"""Wake-ups inside the daemon: the events that end a loop's wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

__all__ = ["SELDOM", "Wakeup"]

SELDOM: Final = 30.0
"""Seconds after which a loop looks for work without an event: the poll and the notifications should have set one. Well
below `STUCK_SECONDS` of ops/liveness.py."""


class Wakeup:
    """One loop's event: `set()` ends the loop's wait. Calls before the wait are kept, as one.

    `beat` is when the loop last went round (time.monotonic), for liveness and the watchdog.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.beat = time.monotonic()

    def set(self) -> None:
        """Wake the loop, or let its next wait end at once."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait until it is set, at most `seconds`."""
        self.beat = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
        self.beat = time.monotonic()
