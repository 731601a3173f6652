"""The tasks that send: each takes one recipient after the other, from whichever chunk is next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from passbell.delivery.fairline import FairLine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passbell.delivery.held import HeldChunk
    from passbell.delivery.pacing import Pacer

    Deliver = Callable[["Lanes", HeldChunk, int], Awaitable[None]]

__all__ = ["Lanes"]


class Lanes:
    """As many lanes as requests may be in flight serve all chunks that are added.

    Programs and test sends take turns; a program's chunks go one after the other. A lane that has to pause for its pass
    gives its place to another meanwhile. Where chunks have a rate of their own, a lane waits for a slot of that rate
    before it picks a recipient.
    """

    def __init__(self, count: int, deliver: Deliver, own_rate: Pacer | None = None) -> None:
        """`deliver` sends to one recipient, decides or leaves it, and raises nothing."""
        self._free = count
        """Lanes that may be opened. Below 0 after a pause: so many close when they are through."""
        self._deliver = deliver
        self._own_rate = own_rate
        self._line = FairLine["HeldChunk"]()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, held: HeldChunk) -> None:
        """Serve a chunk; see `HeldChunk.through` for its end."""
        self._line.put(held.turn_key, held)
        self._open(held.size)

    async def pause(self, seconds: float) -> None:
        """Sleep; a lane awaits this."""
        self._free += 1
        if self._line:
            self._open(1)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._free -= 1

    def _open(self, most: int) -> None:
        for _ in range(min(most, self._free)):
            self._free -= 1
            task = asyncio.create_task(self._lane(), name="lane")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lane(self) -> None:
        own_rate = self._own_rate
        try:
            while (
                self._free >= 0
                and (own_rate is None or await own_rate.wait(self._is_done))
                and (picked := self._pick()) is not None
            ):
                await self._deliver(self, *picked)
        except Exception as error:  # noqa: BLE001 - raised where the chunk is awaited
            for held in self._line:
                held.fail(error)
        finally:
            self._free += 1

    def _pick(self) -> tuple[HeldChunk, int] | None:
        """The next recipient of the next program; None when all are picked."""
        while self._line:
            held = self._line.head()
            nth = held.pick()
            if nth is not None:
                self._line.rotate()
                return held, nth
            self._line.remove_head()
        return None

    def _is_done(self) -> bool:
        """Whether there is no recipient left to pick."""
        return all(held.is_over() or held.picked >= held.size for held in self._line)
