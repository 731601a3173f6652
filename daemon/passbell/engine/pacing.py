"""When the next request may leave: even spacing, one clock for all daemons, nothing caught up.

The limit belongs to the PassKit account, so slots come from the database (`passbell.take_slots`, a GCRA row) in
blocks of about a tenth of a second. Inside a block this process owns the time and spaces its requests evenly. A slot
that was missed (the event loop was busy, the wire was slow) is forfeited, because a request sent later than its slot
plus a small tolerance could make some sliding second hold one request too many.

The database's clock is mapped to ours by the smallest difference seen between "its now" and the moment its answer
arrived: the answer that travelled fastest tells the truth best.
"""

from __future__ import annotations

import asyncio
import collections
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passbell.db.calls import Slots

__all__ = ["Pacer"]

BLOCK_SECONDS: Final = 0.1
TOLERANCE: Final = 0.005
"""Seconds a slot may be used late. Slots leave 14 ms of air per second (see take_slots); the rest is the network's."""
LOOK_UP: Final = 0.25
"""Seconds between looks whether the wait is still wanted."""


class Pacer:
    """Gives out turns of one rate limit, first come first served."""

    def __init__(self, take: Callable[[int], Awaitable[Slots]], rate: float) -> None:
        """`take(n)` reserves n slots; `rate` per second is the configured one, only to size the blocks."""
        self._take = take
        self._block = max(1, round(rate * BLOCK_SECONDS))
        self._queue = asyncio.Lock()
        self._waiting = 0
        self._first = 0.0  # start of the next unused slot, time.monotonic()
        self._left = 0
        self._spacing = 1.0 / rate
        self._offsets: collections.deque[float] = collections.deque(maxlen=32)
        self._ahead: asyncio.Task[tuple[int, Slots]] | None = None
        self._refilled = 0.0

    async def wait(self, stopped: Callable[[], bool] | None = None) -> bool:
        """Return true when it is the caller's turn; the request must leave at once.

        False if `stopped()` became true meanwhile; the turn goes to the next in line.

        Raises:
            DatabaseUnavailable: no slot can be had. Nobody sends without one.
        """
        self._waiting += 1
        try:
            async with self._queue:
                while True:
                    if stopped is not None and stopped():
                        return False
                    slot = await self._next()
                    while (delay := slot - time.monotonic()) > 0:
                        await asyncio.sleep(min(delay, LOOK_UP))
                        if stopped is not None and stopped():
                            self._first -= self._spacing
                            self._left += 1
                            return False
                    if time.monotonic() - slot <= TOLERANCE:
                        return True
        finally:
            self._waiting -= 1

    def forget(self) -> None:
        """Drop the slots in hand: PassKit throttled us and the clock was moved."""
        self._left = 0
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    async def _next(self) -> float:
        now = time.monotonic()
        if self._left and self._first + TOLERANCE < now:  # missed slots are gone
            missed = min(self._left, int((now - self._first) / self._spacing))
            self._first += missed * self._spacing
            self._left -= missed
        if not self._left:
            await self._refill()
        if self._ahead is None and self._left <= self._block // 2 and self._waiting > self._left:
            self._order()
        slot = self._first
        self._first += self._spacing
        self._left -= 1
        return slot

    def _order(self) -> asyncio.Task[tuple[int, Slots]]:
        """Ask for the next block while the present one is being used, so that none of the rate is lost."""
        busy = time.monotonic() - self._refilled < 3 * BLOCK_SECONDS
        self._ahead = asyncio.create_task(
            self._ask(self._block if busy else max(1, min(self._block, self._waiting))), name="pacer"
        )
        return self._ahead

    async def _refill(self) -> None:
        task = self._ahead or self._order()
        try:
            count, slots = await asyncio.shield(task)
        finally:
            if task.done() and self._ahead is task:
                self._ahead = None
        self._spacing = slots.spacing
        self._first = slots.starts_at + min(self._offsets)
        self._left = count
        self._refilled = time.monotonic()

    async def _ask(self, count: int) -> tuple[int, Slots]:
        slots = await self._take(count)
        offset = time.monotonic() - slots.clock
        if self._offsets and abs(offset - min(self._offsets)) > 1.0:
            self._offsets.clear()  # the database's clock was set, or another server took over
        self._offsets.append(offset)
        return count, slots
