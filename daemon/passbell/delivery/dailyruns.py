"""What the runs of birthdays and of automations have in common as a kind of work (delivery/work.py).

Awards and rules are the host's, and may hang or wait for locks. So a run works for a slice of time and then rests for a
moment, in which the runs of other programs are claimed before it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from passbell.database.claims import Claims
from passbell.database.runs import AutomationRuns, BirthdayRuns
from passbell.delivery.work import work_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.database.claims import Claim
    from passbell.database.runs import Run

__all__ = ["SLICE_SECONDS", "DailyRuns"]

SLICE_SECONDS: Final = 10.0
"""After which a run lets those of others go first."""
REST_SECONDS: Final = 2.0


Runs = TypeVar("Runs", AutomationRuns, BirthdayRuns)


class DailyRuns(ABC, Generic[Runs]):
    """A run is worked off in batches, and each batch extends its lease."""

    renew_every: float | None = None

    def __init__(self, runs: Runs, queued: Callable[[], None]) -> None:
        """`queued()` is called when messages of the runs may be waiting in the queue."""
        self._runs: Runs = runs
        self._queued = queued
        self._claims = Claims()
        self._resting = 0

    @abstractmethod
    def names(self, held: Run) -> dict[str, str]:
        """How the log calls it."""

    @abstractmethod
    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run."""

    @abstractmethod
    async def work(self, held: Run) -> None:
        """Work off a run, or a slice of it."""

    async def off(self) -> int:
        """Work off every run that is due, also those that rest meanwhile; returns how many there were."""
        count = 0
        while True:
            self._resting = 0
            count += await work_off(self, self._claims)
            if not self._resting:
                return count
            await asyncio.sleep(REST_SECONDS)

    async def rest(self, run: Run) -> None:
        """Hand a run back for a moment."""
        self._resting += 1
        await self._runs.rest(run, REST_SECONDS)

    async def renew(self, held: Run) -> bool:  # noqa: ARG002 - see renew_every
        """Batches do it."""
        return True

    async def release(self, held: Run) -> None:
        """`end()` hands it back: a cancellation ends the schedule, too."""

    async def end(self) -> None:
        """Hand back the run with which this worker was interrupted, if there is one."""
        if self._claims.unsettled:
            await self._runs.release()
