"""Blocks of slots from the database: how many are asked for, when, and what their times are on our clock.

The database's clock is mapped to ours by the smallest difference seen between "its now" and the moment its answer
arrived: the fastest answer is the most exact one. At a start all answers are slow, as everything starts at once, so the
clock is asked a few times before the first block. If a faster answer comes later, the calls that used the old mapping
left late, and they are paid for like any late call.

The next block is ordered while the present one is being used, early enough for the way to the database and back; on a
long way blocks are longer.

During a block no other daemon has slots. If the rate is more than one process can use, several daemons would take turns
and be no faster than one. So a daemon that misses slots while others run asks for shorter blocks: each slot may be used
a little late, so short blocks of several daemons are in use at the same time.
"""

from __future__ import annotations

import asyncio
import collections
import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from passbell.database.limits import Slots

__all__ = ["Block", "Blocks", "Take"]

log = structlog.get_logger()

BLOCK_SECONDS: Final = 0.1
MAX_BLOCK_SECONDS: Final = 0.5
"""When the database is far away, blocks are as long as two round trips, up to this."""
SHARED_RATE: Final = 2000
"""From this rate on a block has slots enough to be cut in pieces."""
LEAST: Final = 1 / 32
"""The smallest piece: 3 ms. Its slots may be used 6 ms late (LATEST), so three daemons send at the same time."""
OTHERS: Final = 1.0
"""A daemon that has seen no other one for so many seconds counts as the only one."""
LOOKS: Final = 4
"""How often the database's clock is asked before the first block."""
SET_AHEAD_SECONDS: Final = 1.1
"""Pause after the database's clock was set ahead: slots that any daemon was given before are over then."""
PAY_SECONDS: Final = 0.6
"""From a late call to the gap that pays for it. One gap pays for all late calls before it, so it need not hurry; but it
must come before a second is over, and the next order may be a block away."""


class Take(Protocol):
    """Asks the database for slots: `RateLimit.take_slots`."""

    def __call__(self, count: int, late: float, late_at: float | None, /) -> Awaitable[Slots]:
        """Reserve `count` slots, and tell the debt.

        `late`: seconds that the worst call left too late; `late_at`: when the last one did, by the database's clock.
        """


class Block(NamedTuple):
    """So many slots, the first one's time on time.monotonic(), and the seconds from slot to slot."""

    size: int
    first: float
    spacing: float


class Blocks:
    """Asks for blocks, one at a time, and learns from every answer."""

    def __init__(self, take: Take, rate: float) -> None:
        """`rate` per second is the configured one."""
        self._take = take
        self._rate = rate
        # The same fastest answer for a dozen seconds: a mapping that moves moves calls together.
        self._offsets: collections.deque[float] = collections.deque(maxlen=128)
        self._trips: collections.deque[float] = collections.deque(maxlen=32)
        self.seconds, self.lead = BLOCK_SECONDS, BLOCK_SECONDS / 2
        self.debt = self._debt_since = self._debt_until = 0.0
        """Seconds by which the worst call left too late, of those that are not paid for."""
        self._set_ahead = False  # the clock, and no block was asked for since
        self._piece = 1.0  # of a block
        self._end = math.inf  # of the last block, on the database's clock
        self._others = -math.inf  # when others were seen
        self._sold = 0.0  # seconds from the present to the end of what the database has given out

    def size(self) -> int:
        """How many slots to ask for."""
        return max(1, round(self._rate * self.seconds * self._piece))

    def was_used(self, part: float) -> None:
        """Learn which part of a block's slots served."""
        if self._rate < SHARED_RATE:
            return
        alone = time.monotonic() - self._others > OTHERS
        self._piece = min(1.0, self._piece * 2) if alone or part > 0.8 else max(LEAST, self._piece / 2)  # noqa: PLR2004

    def note_late(self, late: float, now: float, until: float = 0.0) -> None:
        """Note that a call left so many seconds too late, `now`, or that those in hand do until `until`."""
        self._debt_until = max(self._debt_until, now, until)
        if not self.debt:
            self._debt_since = now
        self.debt = max(self.debt, late)

    @property
    def in_time(self) -> bool:
        """Whether a debt made now is paid within the second: its gap comes after all slots given out already."""
        return self._sold < PAY_SECONDS

    async def ask(self, count: int) -> Block:
        """Reserve `count` slots; 0 only tells the debt."""
        while len(self._offsets) < LOOKS:
            self._look(await self._take(0, 0.0, None))
        block = await self._ask(count)
        if self._set_ahead and count:
            await asyncio.sleep(SET_AHEAD_SECONDS)
            self._set_ahead = False
            block = await self._ask(count)
        return block

    async def _ask(self, count: int) -> Block:
        asked = time.monotonic()
        debt = 0.0
        if not count or asked - self._debt_since > PAY_SECONDS - self._sold:
            debt, self.debt = self.debt, 0.0
        try:
            slots = await self._take(count, debt, self._debt_until - min(self._offsets))
        except BaseException:
            if debt:
                self.note_late(debt, time.monotonic())
            raise
        self._look(slots)
        self._trips.append(time.monotonic() - asked)
        trip = sorted(self._trips)[len(self._trips) // 2]
        self.seconds = min(MAX_BLOCK_SECONDS, max(BLOCK_SECONDS, 2 * trip))
        # The order must be there before the block ends by the database's clock, which is half a trip before ours.
        self.lead = max(self.seconds / 2, 1.5 * trip + BLOCK_SECONDS / 10)
        # Another daemon drew between our last block and this one; time did not simply pass.
        if self._end + debt + 0.0005 < slots.starts_at and slots.starts_at > slots.clock:
            self._others = time.monotonic()
        self._end = slots.starts_at + count * slots.spacing
        self._sold = self._end - slots.clock
        return Block(count, slots.starts_at + min(self._offsets), slots.spacing)

    def _look(self, slots: Slots) -> None:
        """Learn from an answer that has just arrived what the database's clock shows."""
        now = time.monotonic()
        offset = now - slots.clock
        fastest = min(self._offsets, default=offset)
        if abs(offset - fastest) > 1.0:
            # The database's clock was set, or another server took over.
            self._set_ahead = offset < fastest
            log.warning("database_clock_jumped", seconds=round(fastest - offset, 1))
            self._offsets.clear()
            self._end = math.inf
        elif offset < fastest and self._end < math.inf:
            # The block in hand goes on by the old mapping.
            self.note_late(self.debt + fastest - offset, now, self._end + fastest)
        self._offsets.append(offset)
