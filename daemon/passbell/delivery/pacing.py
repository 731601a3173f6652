"""When the next request may leave: even spacing, one clock for all daemons, nothing caught up.

A request that finds its slot due leaves at once (`Pacer.at_once`). Otherwise it waits in a fair queue, and a task, the
dispatcher, hands out one slot after the other (`Pacer.wait`).

The limit belongs to the PassKit account, so slots come from the database (`passbell.take_slots`, a GCRA row) in
blocks of about a tenth of a second (`passbell.delivery.blocks`). Inside a block this process spaces its requests
evenly.

Slots are so wide that a request may reach PassKit 8 ms late (`passbell.slot_air`). `ALLOWANCE` of them is for jitter of
the event loop, the rest for delays after the request has left. A request that leaves later makes a debt: the next order
of slots moves the clock on by as much, so that no later request of any daemon meets the late one within a second. A
slot that was missed by more than `LATEST` is forfeited.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final

from passbell.delivery.blocks import Blocks
from passbell.delivery.fairline import FairLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.delivery.blocks import Block, Take

__all__ = ["Pacer"]

ALLOWANCE: Final = 0.002
"""Seconds after its slot that a request may leave without consequences."""
LATEST: Final = 0.006
"""Seconds after its slot that a request may leave at all: less than the 8 ms, because a killed daemon never makes up
for its late call."""
BUSY: Final = 8
"""So many slots taken without waiting in one block show that the sender is slower than the limit."""
PATIENCE: Final = 0.1
"""Part of a wide slot, of a campaign's own rate, by which a request may leave late: to forfeit such a slot would cost
seconds. The clock is moved on by the delay before the next slot is handed out."""
WIDE: Final = 0.1
"""Seconds from which on a slot is wide."""
LOOK_UP: Final = 0.25
"""Seconds between looks whether the wait is still wanted."""


class _Waiter:
    """A request in line for a slot."""

    __slots__ = ("is_over", "slot")

    def __init__(self, is_over: Callable[[], bool] | None) -> None:
        self.is_over = is_over
        self.slot: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        """Start of the slot; None when it is not wanted any more."""

    def is_unwanted(self) -> bool:
        return self.slot.done() or (self.is_over is not None and self.is_over())

    def answer(self, slot: float | None) -> None:
        if not self.slot.done():  # cancelled
            self.slot.set_result(slot)


class Pacer:
    """Hands out the slots of one rate limit. Programs take turns; requests of one program are first come, first served.

    So 50 passes of one program do not wait until all requests of another have left.
    """

    def __init__(self, take: Take, rate: float, *, patient: bool = False) -> None:
        """`rate` per second is the configured one, only to size the blocks.

        `patient`: the rate is a wish and no limit of PassKit's, and a slot serves for as long as `PATIENCE` allows.
        """
        self._patient = patient
        self.blocks = Blocks(take, rate)
        self._line = FairLine[_Waiter]()
        self._dispatcher: asyncio.Task[None] | None = None
        self._payment: asyncio.Task[Block] | None = None
        self._ahead: asyncio.Task[Block] | None = None
        self._first = 0.0  # start of the next unused slot, time.monotonic()
        self._left = 0
        self._size, self._missed = 0, 0  # of this block
        self._spacing = 1.0 / rate
        self._tolerance = ALLOWANCE
        self._refilled = 0.0
        self._unwaited = 0  # slots of this block that were taken at once

    def at_once(self) -> bool:
        """Take a slot that is due now, if no request waits: as `wait`, without a round of the event loop."""
        if self._line:
            return False
        now = time.monotonic()
        if self._first + self._tolerance < now:
            self._skip_missed(now)
        if not self._left and self._ahead is not None and self._ahead.done():
            self._adopt(self._ahead)
            self._skip_missed(now)
        if not self._left or self._first > now:
            return False
        if now - self._first > ALLOWANCE:
            self.blocks.note_late(now - self._first - ALLOWANCE, now)
        self._first += self._spacing
        self._left -= 1
        self._unwaited += 1
        # A sender that finds slots due again and again is slower than the limit. It must not have to wait when the
        # block ends.
        if self._ahead is None and self._unwaited >= BUSY and self._left * self._spacing < self.blocks.lead:
            self._order()
        return True

    async def wait(
        self, is_over: Callable[[], bool] | None = None, turn_key: object = None, *, first: bool = False
    ) -> bool:
        """Return true when the slot of the request has come; it must leave at once.

        False if `is_over()` became true meanwhile; the slot goes to the next in line. `turn_key`: keys
        take turns. `first`: before all others, for a request that had a slot and could not use it.

        Raises:
            DatabaseUnavailable: no slot can be reserved. No request leaves without one.
        """
        waiter = _Waiter(is_over)
        self._line.put(turn_key, waiter, first=first)
        while True:
            if self._dispatcher is None or self._dispatcher.done():
                self._dispatcher = asyncio.create_task(self._dispatch(), name="pacer")
            slot = await waiter.slot
            if slot is None:
                return False
            if time.monotonic() - slot <= self._tolerance:
                self._leaves(slot)
                return True
            # The event loop was busy since the slot was handed out.
            waiter = _Waiter(is_over)
            self._line.put(turn_key, waiter, first=True)

    def forget(self) -> None:
        """Drop the slots in hand: PassKit throttled us and the clock was moved."""
        self._left = 0
        self._ahead = None

    # ── lateness ────────────────────────────────────────────────────────────────────────────────────────────────

    def _leaves(self, slot: float) -> None:
        """Look when the request has really left: the event loop's next round writes it, so in the one after."""
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._left_at, slot)

    def _left_at(self, slot: float) -> None:
        now = time.monotonic()
        late = now - slot - ALLOWANCE
        if late > 0:
            # However late it left, it is one call, and a slot or two make room for it.
            self.blocks.note_late(min(late, LATEST + 2 * self._spacing), now)
            # The line is empty, so there may be no next order to pay with.
            if not self._line and self._ahead is None and (self._payment is None or self._payment.done()):
                self._payment = self._asked(0)

    # ── handing out ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _dispatch(self) -> None:
        """Hand out slots until the line is empty."""
        try:
            while self._line:
                self._skip_missed(time.monotonic())
                if not self._left:
                    await self._refill()
                elif (delay := self._first - time.monotonic()) > 0:
                    await asyncio.sleep(min(delay, LOOK_UP))
                    for waiter in self._line.drop(_Waiter.is_unwanted):
                        waiter.answer(None)
                elif (waiter := self._line.pop()).is_unwanted():
                    waiter.answer(None)
                else:
                    waiter.answer(self._paid_start())
                    self._first += self._spacing
                    self._left -= 1
                    if (
                        self._ahead is None
                        and self._left * self._spacing <= self.blocks.lead
                        and len(self._line) > min(self._left, BUSY)
                    ):
                        self._order()
        except Exception as error:  # noqa: BLE001 - every request in line is told
            while self._line:
                waiter = self._line.pop()
                if not waiter.slot.done():
                    waiter.slot.set_exception(error)

    def _paid_start(self) -> float:
        """Start of the next slot; of a wide one that began before, the present, and the clock is moved by as much."""
        now = time.monotonic()
        if self._tolerance <= LATEST or now - self._first <= ALLOWANCE:
            return self._first
        self.blocks.note_late(now - self._first, now)
        return now

    def _skip_missed(self, now: float) -> None:
        if self._left and (behind := now - self._tolerance - self._first) > 0:
            missed = min(self._left, math.ceil(behind / self._spacing))
            self._first += missed * self._spacing
            self._left -= missed
            self._missed += missed

    # ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, count: int) -> asyncio.Task[Block]:
        task = asyncio.create_task(self.blocks.ask(count), name="slots")
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # also if forgotten
        return task

    def _order(self) -> asyncio.Task[Block]:
        """Ask for the next block while the present one is being used, so that none of the rate is lost."""
        block = self.blocks.size()
        busy = time.monotonic() - self._refilled < 3 * self.blocks.seconds
        self._ahead = self._asked(block if busy else max(1, min(block, len(self._line))))
        return self._ahead

    async def _refill(self) -> None:
        task = self._ahead or self._order()
        await asyncio.wait([task])
        self._adopt(task)

    def _adopt(self, task: asyncio.Task[Block]) -> None:
        if self._ahead is not task:
            return  # forgotten meanwhile
        self._ahead = None
        if self._size:
            self.blocks.was_used(1 - self._missed / self._size)
        self._left, self._first, self._spacing = task.result()
        self._size, self._missed = self._left, 0
        self._tolerance = LATEST if self.blocks.in_time else ALLOWANCE
        if self._patient and self._spacing >= WIDE:
            self._tolerance = self._spacing * PATIENCE
        self._refilled = time.monotonic()
        self._unwaited = 0
