"""A chunk in this daemon's hands: what is unsent, what came of the rest, whether we may go on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from passbell.passkit import Recipient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from passbell.db.calls import ClaimedChunk
    from passbell.engine.accounts import Account

__all__ = ["HeldChunk", "Outcome", "lease_clock"]

Outcome = tuple[str, str, int | None, str]
"""pass id, outcome as finish_chunk knows it, HTTP status, detail."""


# time.monotonic() stands still while a machine sleeps; the lease in the database does not.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds of a clock that nobody sets and that, where the system has one, goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class HeldChunk:
    """Lanes take recipients from the front; outcomes are reported in parts and at the end."""

    def __init__(self, chunk: ClaimedChunk, lease_seconds: float, claimed_at: float) -> None:
        """`claimed_at`: lease_clock() from before the claim was asked for, so our idea of the lease ends first."""
        self.chunk = chunk
        self.size = len(chunk.pass_ids)
        self.whose = (chunk.program_id, chunk.kind == "TEST")
        """Who takes turns with others: the program; beside it its test sends, because somebody looks at a phone."""
        self.claimed_at = claimed_at
        self.lease_ends = claimed_at + lease_seconds
        self.renewed_at = claimed_at
        self.stopped: str | None = None
        """Why nothing more may be sent: stopping, paused, lost, breaker, throttled."""
        self.outcomes: list[Outcome] = []
        """Decided and not yet reported."""
        self.doubtful: set[int] = set()
        """Recipients of whom a request failed in a way that leaves open whether it arrived."""
        self.withdrawn: set[int] = set()
        """Recipients who may no longer be sent anything: uninstalled or opted out meanwhile. They are handed back."""
        self.account: Account | None = None
        """Under which it was claimed."""
        self.first_unreported = 0.0
        self.ask_host = True
        """Whether reports may touch the host's tables; see `Queue.finish_chunk`."""
        self.reporting = asyncio.Lock()
        self.when_stopped: Callable[[], None] | None = None
        self.low_mark = 0
        """How many are decided when `when_low` is called: time to claim the next chunk, before this one runs out."""
        self.when_low: Callable[[], None] | None = None
        self.decided = 0
        self.picked = 0

    def recipient(self, index: int) -> Recipient:
        """One of the chunk's passes."""
        chunk = self.chunk
        return Recipient(
            chunk.pass_ids[index],
            chunk.protocols[index],
            chunk.passkit_ids[index],
            chunk.external_ids[index],
            chunk.passkit_program_id,
        )

    @property
    def undecided(self) -> int:
        """Recipients still to be sent, or in flight."""
        return 0 if self.stopped else self.size - self.decided

    @property
    def lost(self) -> bool:
        """Whether the chunk is another worker's by now, for all we know."""
        return self.stopped == "lost" or lease_clock() >= self.lease_ends

    @property
    def all_picked(self) -> bool:
        """Whether nobody will be picked any more."""
        return self.stopped is not None or self.picked >= self.size

    def pick(self) -> int | None:
        """Index of the next recipient; None if there is none or nothing may be sent."""
        while not self.stopped and self.picked < self.size:
            self.picked += 1
            if self.picked - 1 not in self.withdrawn:
                return self.picked - 1
        return None

    def withdraw(self, pass_ids: Iterable[str]) -> None:
        """Send these passes nothing more; the next claim says why."""
        for pass_id in pass_ids:
            self.withdrawn.add(self.chunk.pass_ids.index(pass_id))

    def stop(self, why: str) -> None:
        """Send nothing more. The first reason stays, except that a lost lease overrides it."""
        if self.stopped is None or why == "lost":
            self.stopped = why
            if self.when_stopped is not None:
                self.when_stopped()

    def is_over(self) -> bool:
        """Whether nothing more may be sent: stopped, or the lease has run out unrenewed."""
        if self.stopped is None and lease_clock() >= self.lease_ends:
            self.stop("lost")
        return self.stopped is not None

    def plain_words(self) -> None:
        """Keep of PassKit's words what every database can store."""
        self.outcomes = [
            (pass_id, outcome, status, detail.encode("ascii", "replace").decode())
            for pass_id, outcome, status, detail in self.outcomes
        ]

    def decide(self, index: int, outcome: str, status: int | None, detail: str) -> None:
        """Note what became of a recipient."""
        if not self.outcomes:
            self.first_unreported = time.monotonic()
        self.outcomes.append((self.chunk.pass_ids[index], outcome, status, detail))
        self.decided += 1
        if self.decided == self.low_mark and self.when_low is not None:
            self.when_low()
