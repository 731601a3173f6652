"""Wake-ups inside the daemon: who may have something to do, and that it is time to stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

__all__ = ["SELDOM", "Bell"]

SELDOM: Final = 30.0
"""Seconds after which a loop looks for work unasked, although everybody who knows of some rings its bell. Well below
`STUCK_SECONDS` of ops/watch.py."""


class Bell:
    """One loop's bell: ringing it ends the loop's wait. Rings while nobody waits are kept, as one.

    Also the loop's pulse: `beat` is when it last went round (time.monotonic), for liveness and the watchdog.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.beat = time.monotonic()

    def ring(self) -> None:
        """Wake the loop, or let its next wait end at once."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait for a ring, at most `seconds`."""
        self.beat = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
        self.beat = time.monotonic()
