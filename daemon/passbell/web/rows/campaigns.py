"""Campaigns, their ledger, and what they brought."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads them at run time
from typing import Literal
from uuid import UUID  # noqa: TC003

from passbell.web.rows.base import Shape

__all__ = [
    "CampaignCard",
    "CampaignResult",
    "Delivery",
    "ListReason",
    "Plan",
    "ProgramResult",
    "Reason",
    "Slot",
]

ACTIVE = frozenset({"PENDING", "PROCESSING", "PAUSED"})


class CampaignCard(Shape):
    """A campaign with its progress. `total` is 0 until the audience is frozen."""

    campaign_id: UUID
    program_id: UUID | None
    program_name: str | None
    name: str | None
    message: str | None
    target: str
    kind: str
    status: str
    status_detail: str | None
    total: int
    sent: int
    failed: int
    skipped: int
    remaining: int
    percent: float
    rate_per_second: float
    finishes_at: datetime | None
    scheduled_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    created_by: str | None

    @property
    def active(self) -> bool:
        """Whether its numbers may still move."""
        return self.status in ACTIVE or (self.status == "CANCELLED" and self.remaining > 0)


class Reason(Shape):
    """How many recipients had this outcome, and why."""

    outcome: str
    reason: str | None
    n: int


class ListReason(Shape):
    """How many rows of a list reach no member for this reason, with the first few values."""

    reason: str
    n: int
    examples: str | None


class Slot(Shape):
    """A stretch of time and what was sent in it."""

    slot: int
    starts_at: datetime
    seconds: float
    sent: int
    failed: int


class Delivery(Shape):
    """What became of one recipient."""

    pass_id: UUID
    external_id: str | None
    first_name: str | None
    last_name: str | None
    outcome: str
    reason: str | None
    detail: str | None
    http_status: int | None
    attempts: int
    sent_at: datetime


class CampaignResult(Shape):
    """What a campaign brought. `diff` are fractions, `extra` guests; both with their 95 % interval."""

    campaign_id: UUID | None
    measure_days: int | None
    ready_at: datetime | None
    counted_at: datetime | None
    sent: int | None
    sent_came: int | None
    held: int | None
    held_came: int | None
    diff: float | None
    diff_lo: float | None
    diff_hi: float | None
    extra: float | None
    extra_lo: float | None
    extra_hi: float | None
    verdict: Literal["more", "fewer", "unclear", "too_small", "no_holdout", "open", "untrusted"]
    sentence: str
    beside: str | None = None
    arms_before: str | None = None
    money: float | None = None
    money_lo: float | None = None
    money_hi: float | None = None


class ProgramResult(CampaignResult):
    """What a program's campaigns brought, added up."""

    campaigns: int


class Plan(Shape):
    """What holding a share back would show, before the order is placed."""

    reachable: int
    would_send: int
    would_hold: int
    base_rate: float | None
    smallest_visible: float | None
    sentence: str
