"""What becomes of a pass, and why a chunk is given up: one vocabulary from the HTTP status to the metrics.

HTTP status  ─ passkit.answers.verdict_of ─▶  Verdict   what PassKit says
Verdict      ─ OUTCOMES ───────────────────▶  Outcome   what became of the pass in this attempt
Outcome      ─ as_reported ────────────────▶  Outcome   the same, or MAYBE: it may have arrived
Outcome      ─ passbell.finish_chunk ──────▶  a row of the ledger, or another attempt; its counts are the metrics
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from passbell.passkit.answers import Verdict

__all__ = ["OUTCOMES", "POSTPONING", "Decision", "Outcome", "Stop", "as_reported"]


class Outcome(enum.StrEnum):
    """What became of a pass in one attempt, in the words of `passbell.finish_chunk`."""

    SENT = "sent"
    """PassKit took it."""
    NOT_FOUND = "not_found"
    """PassKit does not know the record: failed for good."""
    REJECTED = "rejected"
    """PassKit will never take it: failed for good."""
    SERVER_ERROR = "server_error"
    """PassKit answered 500: tried three times, then failed."""
    RETRY = "retry"
    """The network or PassKit failed for this pass: tried again with backoff, a bounded number of times."""
    BACK = "back"
    """Not sent: it stays, and no attempt is used up."""
    MAYBE = "maybe"
    """It may have arrived: it stays with the same text, and no attempt is used up."""


class Stop(enum.StrEnum):
    """Why nothing more of a held chunk may be sent."""

    LOST = "lost"
    """Its lease has run out, or another worker holds it: nothing may be reported either."""
    PAUSED = "paused"
    """Its campaign or program may not be sent now, or was cancelled."""
    BREAKER = "breaker"
    """PassKit is down or refuses the credentials."""
    THROTTLED = "throttled"
    """PassKit asks for a long pause (429)."""
    DATABASE = "database"
    """No rate slot can be reserved."""
    ACCOUNT = "account"
    """Its account is not served any more."""
    STOPPING = "stopping"
    """The daemon stops."""
    ERROR = "error"
    """An unexpected error."""


class Decision(NamedTuple):
    """What became of one pass."""

    pass_id: str
    outcome: Outcome
    http_status: int | None
    detail: str


OUTCOMES: Final = {
    Verdict.SENT: Outcome.SENT,
    Verdict.NOT_FOUND: Outcome.NOT_FOUND,
    Verdict.REJECTED: Outcome.REJECTED,
    Verdict.SERVER_ERROR: Outcome.SERVER_ERROR,
    Verdict.RETRY: Outcome.RETRY,
    Verdict.THROTTLED: Outcome.BACK,
    Verdict.REFUSED: Outcome.BACK,
}

POSTPONING: Final = (Outcome.RETRY, Outcome.SERVER_ERROR, Outcome.MAYBE, Outcome.BACK)
"""Outcomes after which a pass may be tried again."""


def as_reported(outcome: Outcome, stop: Stop | None, *, doubtful: bool) -> Outcome:
    """`outcome` as it is reported when its chunk ended with `stop`: MAYBE for what may have arrived and is not tried.

    Args:
        outcome: of the attempt.
        stop: why the chunk was stopped, if it was.
        doubtful: whether a request for the pass failed in a way that leaves open whether it arrived.
    """
    # A pass that is handed back after such a request keeps its text.
    if outcome is Outcome.BACK and doubtful:
        return Outcome.MAYBE
    # It was PassKit, not this pass: no attempt is used up. But a request may have arrived.
    if stop is Stop.BREAKER and outcome in {Outcome.RETRY, Outcome.SERVER_ERROR}:
        return Outcome.MAYBE
    return outcome
