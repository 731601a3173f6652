"""When the next request may leave: even spacing, one clock for all daemons, nothing caught up.

The limit belongs to the PassKit account, so slots come from the database (`passbell.take_slots`, a GCRA row) in
blocks of about a tenth of a second (`passbell.engine.blocks`). Inside a block this process spaces its requests evenly.

Between a slot and the arrival at PassKit there are 8 ms of air (`passbell.slot_air`). A request may use `AIR` of
them; the rest belongs to what happens after it left. One that leaves later is paid for: an order soon after moves the
clock on by as much, so that no later call, whoever makes it, meets the late one within a second. A slot that was missed
by more than `LATEST` is forfeited.
"""

from __future__ import annotations

import asyncio
import collections
import math
import time
from typing import TYPE_CHECKING, Final

from passbell.engine.blocks import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.engine.blocks import Block, Take

__all__ = ["Pacer"]

AIR: Final = 0.002
"""Seconds after its slot that a request may leave without consequences."""
LATEST: Final = 0.006
"""Seconds after its slot that a request may leave at all: less than the air, because a killed daemon never makes up
for its late call."""
BUSY: Final = 8
"""Turns taken at once within a block that show a sender who is slower than the limit."""
PATIENCE: Final = 0.1
"""Part of a wide slot, of a campaign's own rate, by which a request may leave late: to forfeit it would cost seconds.
It is paid for before the next slot is asked for."""
WIDE: Final = 0.1
"""Seconds from which on a slot is wide."""
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

    def __init__(self, take: Take, rate: float, *, patient: bool = False) -> None:
        """`rate` per second is the configured one, only to size the blocks.

        `patient`: the rate is a wish and no limit of PassKit's, and a slot serves for as long as `PATIENCE` allows.
        """
        self._patient = patient
        self.blocks = Blocks(take, rate)
        # By whose they are, so that the next one is found without a look at the others.
        self._line: collections.OrderedDict[object, collections.deque[_Turn]] = collections.OrderedDict()
        self._in_line = 0
        self._usher: asyncio.Task[None] | None = None
        self._payment: asyncio.Task[Block] | None = None
        self._ahead: asyncio.Task[Block] | None = None
        self._first = 0.0  # start of the next unused slot, time.monotonic()
        self._left = 0
        self._size, self._missed = 0, 0  # of this block
        self._spacing = 1.0 / rate
        self._tolerance = AIR
        self._refilled = 0.0
        self._unwaited = 0  # turns of this block that were taken at once

    def at_once(self) -> bool:
        """Take a turn that is due now, if nobody waits: what `wait` would give, without a round of the event loop."""
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
        if now - self._first > AIR:
            self.blocks.owes(now - self._first - AIR, now)
        self._first += self._spacing
        self._left -= 1
        self._unwaited += 1
        # Who finds turns that are due again and again sends more slowly than the limit allows, and must not stand
        # still when the block ends.
        if self._ahead is None and self._unwaited >= BUSY and self._left * self._spacing < self.blocks.lead:
            self._order()
        return True

    async def wait(
        self, stopped: Callable[[], bool] | None = None, whose: object = None, *, first: bool = False
    ) -> bool:
        """Return true when it is the caller's turn; the request must leave at once.

        False if `stopped()` became true meanwhile; the turn goes to the next in line. `whose`: those who share a
        place in line. `first`: before all others, who had a turn and could not use it.

        Raises:
            DatabaseUnavailable: no slot can be had. Nobody sends without one.
        """
        turn = _Turn(stopped, whose)
        self._join(turn, first=first)
        while True:
            if self._usher is None or self._usher.done():
                self._usher = asyncio.create_task(self._give(), name="pacer")
            slot = await turn.given
            if slot is None:
                return False
            if time.monotonic() - slot <= self._tolerance:
                self._leaves(slot)
                return True
            # The event loop was busy between the giving and us.
            turn = _Turn(stopped, whose)
            self._join(turn, first=True)

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
        late = now - slot - AIR
        if late > 0:
            # However late it left, it is one call, and a slot or two make room for it.
            self.blocks.owes(min(late, LATEST + 2 * self._spacing), now)
            # Nobody in line, so there may be no next order to pay with.
            if not self._line and self._ahead is None and (self._payment is None or self._payment.done()):
                self._payment = self._asked(0)

    # ── giving ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _give(self) -> None:
        """Give turns while somebody is in line."""
        try:
            while self._line:
                self._skip_missed(time.monotonic())
                if not self._left:
                    await self._refill()
                elif (delay := self._first - time.monotonic()) > 0:
                    await asyncio.sleep(min(delay, LOOK_UP))
                    self._dismiss()
                elif (turn := self._next()).unwanted:
                    self._answer(turn, None)
                else:
                    self._answer(turn, self._paid_start())
                    self._first += self._spacing
                    self._left -= 1
                    if (
                        self._ahead is None
                        and self._left * self._spacing <= self.blocks.lead
                        and self._in_line > min(self._left, BUSY)
                    ):
                        self._order()
        except Exception as error:  # noqa: BLE001 - everybody in line is told
            while self._line:
                turn = self._next()
                if not turn.given.done():
                    turn.given.set_exception(error)

    def _paid_start(self) -> float:
        """Start of the next slot; of a wide one that began before, the present, and the clock is moved by as much."""
        now = time.monotonic()
        if self._tolerance <= LATEST or now - self._first <= AIR:
            return self._first
        self.blocks.owes(now - self._first, now)
        return now

    def _join(self, turn: _Turn, *, first: bool) -> None:
        turns = self._line.setdefault(turn.whose, collections.deque())
        if first:
            turns.appendleft(turn)
            self._line.move_to_end(turn.whose, last=False)
        else:
            turns.append(turn)
        self._in_line += 1

    def _next(self) -> _Turn:
        """The first of those whose turn is next; afterwards all others come before them."""
        whose, turns = next(iter(self._line.items()))
        turn = turns.popleft()
        self._in_line -= 1
        if not turns:
            del self._line[whose]
        elif len(self._line) > 1:
            self._line.move_to_end(whose)
        return turn

    def _dismiss(self) -> None:
        """Let those go who do not want their turn any more."""
        if any(turn.unwanted for turns in self._line.values() for turn in turns):
            line, self._line, self._in_line = self._line, collections.OrderedDict(), 0
            for turns in line.values():
                for turn in turns:
                    if turn.unwanted:
                        self._answer(turn, None)
                    else:
                        self._join(turn, first=False)

    @staticmethod
    def _answer(turn: _Turn, slot: float | None) -> None:
        if not turn.given.done():  # cancelled
            turn.given.set_result(slot)

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
        self._ahead = self._asked(block if busy else max(1, min(block, self._in_line)))
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
        self._tolerance = LATEST if self.blocks.in_time else AIR
        if self._patient and self._spacing >= WIDE:
            self._tolerance = self._spacing * PATIENCE
        self._refilled = time.monotonic()
        self._unwaited = 0
