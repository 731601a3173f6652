"""What the runs of birthdays and of automations have in common as a kind of work (delivery/work.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passbell.database.claims import Claims
    from passbell.database.runs import AutomationRuns, BirthdayRuns, Run

__all__ = ["DailyRuns"]


class DailyRuns:
    """A run is worked off in batches, and each batch extends its lease."""

    renew_every: float | None = None
    _claims: Claims
    _runs: AutomationRuns | BirthdayRuns

    async def renew(self, run: Run) -> bool:  # noqa: ARG002 - see renew_every
        """Batches do it."""
        return True

    async def release(self, run: Run) -> None:
        """`end()` hands it back: a cancellation ends the schedule, too."""

    async def end(self) -> None:
        """Hand back the run with which this worker was interrupted, if there is one."""
        if self._claims.unsettled:
            await self._runs.release()
