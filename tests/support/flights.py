"""The passes in flight, with no outcome yet: the only ones that may ever be sent twice."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from .wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from .scene import Scene

__all__ = ["Flights"]

SETTLED_SECONDS = 0.03
# Connections of daemons that still do something; the one of a killed daemon ends what it was asked to do.
BUSY = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name = 'passbell' and pid <> pg_backend_pid()
   and backend_type = 'client backend' and (state <> 'idle' or state is null)
"""
REPORTED = """
select p.passkit_internal_id as record from passbell.deliveries d join passes_master p on p.id = d.pass_id
 where d.campaign_id = any(%s)
"""


class Flights:
    """The journal of the sandbox beside the ledger, at every kill.

    `allowed` counts per record how often it was in flight when a daemon was killed: that often it may be repeated.
    """

    def __init__(self, scene: Scene, *campaigns: UUID) -> None:
        self._scene = scene
        self._campaigns = list(campaigns)
        self._next = 0
        self._first: int | None = None
        self.pushes: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.recoveries: list[float] = []
        self._killed = 0.0

    def settle(self) -> None:
        """Wait until what a dead daemon had set going has arrived: its calls and its last transaction."""
        seen, since = -1, time.monotonic()

        def quiet() -> bool:
            nonlocal seen, since
            calls = self._scene.remote.overview()["calls"]
            if calls != seen or self._scene.value(BUSY):
                seen, since = calls, time.monotonic()
            return time.monotonic() - since > SETTLED_SECONDS

        wait_until(quiet, "the dead daemon's last deeds arrive")

    def killed(self, *, settle: bool = True) -> set[str]:
        """Note a kill that has just happened, of all daemons that there were; the records in flight at that moment."""
        killed = time.monotonic()
        if settle:
            self.settle()
        self._read()
        self._killed = killed
        reported = {row["record"] for row in self._scene.rows(REPORTED, [self._campaigns])}
        flying = set(self.pushes) - reported
        self.allowed.update(flying)
        self.sizes.append(len(flying))
        return flying

    def check(self) -> int:
        """No pass was repeated that was not in flight, nor more often, and the bytes were equal; how many repeats."""
        self._read()
        over = {
            record: (pushes - 1, self.allowed[record])
            for record, pushes in self.pushes.items()
            if pushes - 1 > self.allowed[record]
        }
        assert not over, f"repeated more often (first) than in flight at a kill (second): {over}"
        assert self._scene.remote.repeats()["differing"] == 0
        return sum(pushes - 1 for pushes in self.pushes.values())

    def _read(self) -> None:
        calls = self._scene.remote.calls(after=self._next, method="PUT")
        self._note(calls)
        if calls:
            self._next = calls[-1]["sequence"] + 1

    def _note(self, calls: Sequence[dict[str, Any]]) -> None:
        for call in calls:
            self.pushes[call["record"]] += 1
            if self._killed and call["time"] > self._killed:
                self.recoveries.append(call["time"] - self._killed)
                self._killed = 0.0
