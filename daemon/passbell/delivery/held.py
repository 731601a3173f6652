"""A chunk in this daemon's hands: what is unsent, what came of the rest, whether it may go on.

Its states are drawn in `passbell.delivery`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from passbell.errors import DatabaseUnavailable
from passbell.outcomes import Decision, Outcome, Stop, as_reported
from passbell.passkit import Recipient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from passbell.database.rows import ClaimedChunk
    from passbell.passkit import Answer

__all__ = ["HeldChunk", "SendStopped", "lease_clock"]

log = structlog.get_logger()

# time.monotonic() does not count the time that a machine sleeps; the lease in the database does.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> float:
    """Seconds of a clock that is never set and that, where the system has one, goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class SendStopped(Exception):
    """Raised instead of a request when its chunk was stopped while it waited for its slot."""


class HeldChunk:
    """Lanes pick recipients from the front; each is decided or left. Decisions are reported in parts and at the end."""

    def __init__(self, chunk: ClaimedChunk, lease_seconds: float, claimed_at: float) -> None:
        """`claimed_at`: lease_clock() from before the claim was asked for, so our lease ends before the database's."""
        self.chunk = chunk
        self.size = len(chunk.pass_ids)
        self.turn_key = (chunk.program_id, chunk.kind == "TEST")
        """Keys take turns. Test sends of a program have their own, because a person waits for them."""
        self.claimed_at = claimed_at
        self.lease_ends = claimed_at + lease_seconds
        self.renewed_at = claimed_at
        self.known: dict[str, dict[str, str] | Answer] = {}
        """What each record's metaData holds, by pass id, or the answer that says why it is not known."""
        self.stopped: Stop | None = None
        self.decisions: list[Decision] = []
        """Decided and not yet reported."""
        self.doubtful: set[str] = set()
        """Passes of which a request failed in a way that leaves open whether it arrived."""
        self.withdrawn: set[int] = set()
        """Recipients who may no longer be sent anything: uninstalled or opted out meanwhile. They are handed back."""
        self.first_unreported = 0.0
        self.ask_host = True
        """Whether reports may touch the host's tables; see `Queue.finish_chunk`."""
        self.reporting = asyncio.Lock()
        self.low_mark = 0
        """How many are decided when `when_low` is called: time to claim the next chunk, before this one runs out."""
        self.when_low: Callable[[], None] | None = None
        self.decided = 0
        self.picked = 0
        self._in_flight = 0
        self._through = asyncio.Event()
        self._failure: Exception | None = None

    def recipient(self, nth: int) -> Recipient:
        """One of the chunk's passes."""
        chunk = self.chunk
        return Recipient(
            chunk.pass_ids[nth],
            chunk.protocols[nth],
            chunk.passkit_ids[nth],
            chunk.external_ids[nth],
            chunk.passkit_program_id,
        )

    @property
    def undecided(self) -> int:
        """Recipients still to be sent, or in flight."""
        return 0 if self.stopped else self.size - self.decided

    @property
    def lost(self) -> bool:
        """Whether the chunk may be another worker's by now."""
        return self.stopped is Stop.LOST or lease_clock() >= self.lease_ends

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────

    def pick(self) -> int | None:
        """Take the next recipient, to be decided or left; None if there is none or nothing may be sent."""
        while not self.stopped and self.picked < self.size:
            self.picked += 1
            if self.picked - 1 not in self.withdrawn:
                self._in_flight += 1
                return self.picked - 1
        self._settle()
        return None

    def decide(self, nth: int, outcome: Outcome, status: int | None, detail: str) -> None:
        """Note what became of a picked recipient."""
        self._note(Decision(self.chunk.pass_ids[nth], outcome, status, detail))
        self._in_flight -= 1
        self._settle()

    def leave(self, nth: int, error: Exception) -> None:
        """Give up a picked recipient because of an error that is no answer of PassKit's; it stays in the chunk."""
        self.fail(error)
        if self.chunk.pass_ids[nth] in self.doubtful:
            self._note(Decision(self.chunk.pass_ids[nth], Outcome.BACK, None, ""))
        self._in_flight -= 1
        self._settle()

    def fail(self, error: Exception) -> None:
        """Stop because of an error that is no answer of PassKit's."""
        if isinstance(error, DatabaseUnavailable):
            # Without a database there are no slots: hand back what is unsent.
            if not self.stopped:
                log.warning("sending_interrupted", reason=str(error))
            self.stop(Stop.DATABASE)
        elif not isinstance(error, SendStopped):
            self._failure = error
            self.stop(Stop.ERROR)

    def withdraw(self, pass_ids: Iterable[str]) -> None:
        """Send these passes nothing more; the next claim says why."""
        for pass_id in pass_ids:
            self.withdrawn.add(self.chunk.pass_ids.index(pass_id))

    def stop(self, why: Stop) -> None:
        """Send nothing more. The first reason stays, except that a lost lease overrides it."""
        if self.stopped is None or why is Stop.LOST:
            self.stopped = why
            self._settle()

    def is_over(self) -> bool:
        """Whether nothing more may be sent: stopped, or the lease has run out unrenewed."""
        if self.stopped is None and lease_clock() >= self.lease_ends:
            self.stop(Stop.LOST)
        return self.stopped is not None

    async def through(self) -> None:
        """Wait until no recipient is in flight and none will be picked; raise the unexpected error that stopped it."""
        self._settle()
        await self._through.wait()
        if (failure := self._failure) is not None:
            self._failure = None  # its traceback holds the chunk
            raise failure

    def _settle(self) -> None:
        if not self._in_flight and (self.picked >= self.size or self.stopped is not None):
            self._through.set()

    # ── reporting ───────────────────────────────────────────────────────────────────────────────────────────────

    def report(self, *, release: bool) -> list[Decision]:
        """What is decided and not yet reported, as finish_chunk is to know it; `release`: at the end of the claim."""
        decisions = list(self.decisions)
        if self.stopped is Stop.ERROR and release:
            # What is undecided may have been sent or not.
            known = {decision.pass_id for decision in decisions}
            rest = [pass_id for pass_id in self.chunk.pass_ids if pass_id not in known]
            self.doubtful.update(rest)
            decisions += [Decision(pass_id, Outcome.BACK, None, "") for pass_id in rest]
        if not self.doubtful and self.stopped is not Stop.BREAKER:
            return decisions
        return [
            decision._replace(
                outcome=as_reported(
                    decision.outcome, self.stopped, doubtful=decision.pass_id in self.doubtful
                )
            )
            for decision in decisions
        ]

    def plain_words(self) -> None:
        """Keep of PassKit's words what every database can store."""
        self.decisions = [
            decision._replace(detail=decision.detail.encode("ascii", "replace").decode())
            for decision in self.decisions
        ]

    def _note(self, decision: Decision) -> None:
        if not self.decisions:
            self.first_unreported = time.monotonic()
        self.decisions.append(decision)
        self.decided += 1
        if self.decided == self.low_mark and self.when_low is not None:
            self.when_low()
