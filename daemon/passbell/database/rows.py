"""What the functions of the queue answer: a row is one of these types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "OWN",
    "AccountSettings",
    "ClaimedCampaign",
    "ClaimedChunk",
    "Finished",
    "WorkWaiting",
]


@dataclass(frozen=True, slots=True)
class ClaimedCampaign:
    """What claim_campaign did: action is expanded, failed, held, set_aside or download."""

    campaign_id: UUID
    action: str
    detail: str | None
    recipients: int
    program_id: UUID | None
    csv_url: str | None
    claim_token: UUID | None


@dataclass(frozen=True, slots=True)
class ClaimedChunk:
    """Passes to push now, as parallel lists, under a lease that every report must prove with `claim_token`."""

    campaign_id: UUID
    chunk_no: int
    claim_token: UUID
    attempt: int
    program_id: UUID
    kind: str
    rate_per_second: float | None
    pass_ids: list[str]
    passkit_ids: list[str | None]
    external_ids: list[str | None]
    protocols: list[str]
    passkit_program_id: str | None
    texts: list[str]
    account: str = ""
    """The PassKit account whose program this is; empty is the daemon's own."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What finish_chunk made of a report."""

    remaining: int = 0
    status: str = ""
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Of those that failed or were skipped, how many for which reason."""
    postponed: dict[str, int] = field(default_factory=dict)
    """Of those that stay for another attempt, how many were reported as what."""


OWN: Final = ""
"""The account of programs that name none."""


class AccountSettings(NamedTuple):
    """A row of `passbell.accounts` that is switched on; None: the daemon's own setting holds."""

    account: str
    passkit_url: str
    message_key: str | None
    rate_per_second: float | None


class WorkWaiting(NamedTuple):
    """For which loops there may be something to do. False is certain, true may mean "not yet"."""

    campaigns: bool
    chunks: bool
    imports: bool
    breaker: bool
    """The account's breaker is open, so a daemon must probe."""
    accounts: int | None
    """A number that changes when the rows of accounts do; None if it is not known."""
