"""When the next request may leave: even spacing, one clock for all daemons, nothing caught up.

The limit belongs to the PassKit account, so slots come from the database (`passbell.take_slots`, a GCRA row) in
blocks of about a tenth of a second. Inside a block this process owns the time and spaces its requests evenly. A slot
that was missed (the event loop was busy, the wire was slow) is forfeited, because a request sent later than its slot
plus a small tolerance could make some sliding second hold one request too many.

The database's clock is mapped to ours by the smallest difference seen between "its now" and the moment its answer
arrived: the answer that travelled fastest tells the truth best.

The next block is ordered while the present one is being used, early enough for the way to the database and back; on a
long way blocks are longer.
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
MAX_BLOCK_SECONDS: Final = 0.5
"""When the database is far away, blocks are as long as two round trips, up to this."""
TOLERANCE: Final = 0.005
"""Seconds a slot may be used late. Slots leave 14 ms of air per second (see take_slots); the rest is the network's."""
BUSY: Final = 8
"""Turns taken at once within a block that show a sender who is slower than the limit."""
LOOK_UP: Final = 0.25
"""Seconds between looks whether the wait is still wanted."""


class _Turn:
    """Somebody in the line."""

    __slots__ = ("given", "stopped", "whose")

    def __init__(self, stopped: Callable[[], bool] | None, whose: object) -> None:
        self.stopped = stopped
        self.whose = whose
        self.given: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        """Start of the slot; None when the turn is not wanted any more."""

    @property
    def unwanted(self) -> bool:
        return self.given.done() or (self.stopped is not None and self.stopped())


class Pacer:
    """Gives out turns of one rate limit: whoever is in line takes turns with the others, first come first served each.

    So 50 passes of one program do not wait for the lanes that another's have filled.
    """

    def __init__(self, take: Callable[[int], Awaitable[Slots]], rate: float) -> None:
        """`take(n)` reserves n slots; `rate` per second is the configured one, only to size the blocks."""
        self._take = take
        self._rate = rate
        self._line: collections.deque[_Turn] = collections.deque()
        self._last: object = None  # whose turn it was
        self._usher: asyncio.Task[None] | None = None
        self._first = 0.0  # start of the next unused slot, time.monotonic()
        self._left = 0
        self._spacing = 1.0 / rate
        self._offsets: collections.deque[float] = collections.deque(maxlen=32)
        self._trips: collections.deque[float] = collections.deque(maxlen=32)
        self._block_seconds, self._lead = BLOCK_SECONDS, BLOCK_SECONDS / 2
        self._ahead: asyncio.Task[tuple[int, Slots]] | None = None
        self._refilled = 0.0
        self._unwaited = 0  # turns of this block that were taken at once

    def at_once(self) -> bool:
        """Take a turn that is due now, if nobody waits: what `wait` would give, without a round of the event loop."""
        if self._line:
            return False
        self._skip_missed()
        if not self._left and self._ahead is not None and self._ahead.done():
            self._adopt(self._ahead)
            self._skip_missed()
        if not self._left or self._first > time.monotonic():
            return False
        self._use()
        self._unwaited += 1
        # Who finds turns that are due again and again sends more slowly than the limit allows, and must not stand
        # still when the block ends.
        if self._ahead is None and self._unwaited >= BUSY and self._left * self._spacing < self._lead:
            self._order()
        return True

    async def wait(self, stopped: Callable[[], bool] | None = None, whose: object = None) -> bool:
        """Return true when it is the caller's turn; the request must leave at once.

        False if `stopped()` became true meanwhile; the turn goes to the next in line. `whose`: those who share a
        place in line.

        Raises:
            DatabaseUnavailable: no slot can be had. Nobody sends without one.
        """
        turn = _Turn(stopped, whose)
        self._line.append(turn)
        while True:
            if self._usher is None or self._usher.done():
                self._usher = asyncio.create_task(self._give(), name="pacer")
            slot = await turn.given
            if slot is None:
                return False
            if time.monotonic() - slot <= TOLERANCE:
                return True
            # The event loop was busy between the giving and us.
            turn = _Turn(stopped, whose)
            self._line.appendleft(turn)

    def forget(self) -> None:
        """Drop the slots in hand: PassKit throttled us and the clock was moved."""
        self._left = 0
        self._ahead = None

    # ── giving ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _give(self) -> None:
        """Give turns while somebody is in line."""
        try:
            while self._line:
                self._skip_missed()
                if not self._left:
                    await self._refill()
                elif (delay := self._first - time.monotonic()) > 0:
                    await asyncio.sleep(min(delay, LOOK_UP))
                    self._dismiss()
                elif (turn := self._next()).unwanted:
                    self._answer(turn, None)
                else:
                    self._answer(turn, self._first)
                    self._use()
                    if (
                        self._ahead is None
                        and self._left * self._spacing <= self._lead
                        and len(self._line) > min(self._left, BUSY)
                    ):
                        self._order()
        except Exception as error:  # noqa: BLE001 - everybody in line is told
            while self._line:
                turn = self._line.popleft()
                if not turn.given.done():
                    turn.given.set_exception(error)

    def _next(self) -> _Turn:
        """The first in line of those whose turn it was not just now; the first of all if there are no others."""
        place = next((n for n, turn in enumerate(self._line) if turn.whose != self._last), 0)
        turn = self._line[place]
        del self._line[place]
        self._last = turn.whose
        return turn

    def _dismiss(self) -> None:
        """Let those go who do not want their turn any more."""
        if any(turn.unwanted for turn in self._line):
            line, self._line = self._line, collections.deque()
            for turn in line:
                if turn.unwanted:
                    self._answer(turn, None)
                else:
                    self._line.append(turn)

    @staticmethod
    def _answer(turn: _Turn, slot: float | None) -> None:
        if not turn.given.done():  # cancelled
            turn.given.set_result(slot)

    def _use(self) -> None:
        self._first += self._spacing
        self._left -= 1

    def _skip_missed(self) -> None:
        now = time.monotonic()
        if self._left and self._first + TOLERANCE < now:
            missed = min(self._left, int((now - self._first) / self._spacing))
            self._first += missed * self._spacing
            self._left -= missed

    # ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _order(self) -> asyncio.Task[tuple[int, Slots]]:
        """Ask for the next block while the present one is being used, so that none of the rate is lost."""
        busy = time.monotonic() - self._refilled < 3 * self._block_seconds
        block = max(1, round(self._rate * self._block_seconds))
        count = block if busy else max(1, min(block, len(self._line)))
        self._ahead = asyncio.create_task(self._ask(count), name="slots")
        self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())  # also if forgotten
        return self._ahead

    async def _refill(self) -> None:
        task = self._ahead or self._order()
        await asyncio.wait([task])
        self._adopt(task)

    def _adopt(self, task: asyncio.Task[tuple[int, Slots]]) -> None:
        if self._ahead is not task:
            return  # forgotten meanwhile
        self._ahead = None
        count, slots = task.result()
        self._spacing = slots.spacing
        self._first = slots.starts_at + min(self._offsets)
        self._left = count
        self._refilled = time.monotonic()
        self._unwaited = 0

    async def _ask(self, count: int) -> tuple[int, Slots]:
        asked = time.monotonic()
        slots = await self._take(count)
        self._trips.append(time.monotonic() - asked)
        trip = sorted(self._trips)[len(self._trips) // 2]
        self._block_seconds = min(MAX_BLOCK_SECONDS, max(BLOCK_SECONDS, 2 * trip))
        # The order must be there before the block ends by the database's clock, which is half a trip before ours.
        self._lead = max(self._block_seconds / 2, 1.5 * trip + BLOCK_SECONDS / 10)
        offset = time.monotonic() - slots.clock
        if self._offsets and abs(offset - min(self._offsets)) > 1.0:
            self._offsets.clear()  # the database's clock was set, or another server took over
        self._offsets.append(offset)
        return count, slots
