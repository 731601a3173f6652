"""How many calls a second: the highest count in any sliding second.

A sliding second is half open: two calls exactly one second apart are not in the same one.

A call is stamped when the event loop gets to it. If the loop was held up (a garbage collection, a busy
machine), calls that came in evenly are stamped together afterwards. `Heartbeat` notes such hold-ups, and
`certain_peak` counts a call only where it must have arrived, so that a limit is never called broken
because the observer was late. `peak` counts the stamps as they are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
import time

__all__ = ["Heartbeat", "Stall", "certain_peak", "peak"]


class Stall(NamedTuple):
    """A hold-up of the event loop, in seconds of the monotonic clock, until all that came meanwhile was stamped."""

    since: float
    until: float


def peak(times: array[float], width: float = 1.0) -> int:
    """The highest number of stamps within one `width` of each other; one pass."""
    return certain_peak(times, [], width)


def certain_peak(times: array[float], stalls: list[Stall], width: float = 1.0) -> int:
    """The highest number of calls that certainly arrived within one `width` of each other.

    A call stamped during a stall may have arrived at any moment since the stall began. It counts in a window
    only if it contains that whole span.
    """
    earliest = array("d", times)
    at = 0
    for since, until in stalls:
        at = bisect_left(times, since, at)
        while at < len(times) and times[at] <= until:
            earliest[at] = min(earliest[at], since)
            at += 1
    best = end = 0
    for first, begin in enumerate(earliest):
        while end < len(times) and times[end] < begin + width:
            end += 1
        best = max(best, end - first)
    return best


class Heartbeat:
    """Wakes every 10 ms and notes when it was woken late: the loop or the whole process was held up."""

    interval = 0.01
    tolerance = 0.005
    kept = 10_000
    rounds = 4
    """Of the loop, after which whatever came in a hold-up is stamped, a new connection's first call as well."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.stalls: deque[Stall] = deque(maxlen=self.kept)
        self.worst = 0.0

    def start(self) -> None:
        """Begin to beat."""
        self._due = time.monotonic() + self.interval
        self._timer = self._loop.call_later(self.interval, self._beat)

    def stop(self) -> None:
        """End; safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        now = time.monotonic()
        late = now - self._due
        if late > self.tolerance:
            self.worst = max(self.worst, late)
            self._loop.call_soon(self._catch_up, self._due, self.rounds)
        self.start()

    def _catch_up(self, since: float, rounds: int) -> None:
        if rounds:
            self._loop.call_soon(self._catch_up, since, rounds - 1)
        else:
            self.stalls.append(Stall(since, time.monotonic()))

    def between(self, since: float, until: float) -> list[Stall]:
        """Stalls that touch the range, oldest first."""
        return [stall for stall in self.stalls if stall.until >= since and stall.since < until]
