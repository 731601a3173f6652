"""What passbell should do, in plain Python: the small model that the model test compares the database with.

No SQL here and no chunks: a campaign has passes that are *to do* or have a result, a worker holds some of them under
a claim, a phone shows a text. The model does not foresee which chunk is handed out next; it judges whether what was
handed out was allowed, and then knows exactly what every other step must lead to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

__all__ = ["FAILURES", "Campaign", "Claim", "Model", "Pass", "Result"]

DAY = timedelta(hours=24)
FAILURES = ("not_found", "rejected", "attempts_exhausted", "render_error")


@dataclass
class Pass:
    """A member's pass and the phone it is on."""

    id: UUID
    program: UUID
    user: UUID
    external_id: str
    installed: bool = True
    opted_in: bool = True
    there: bool = True
    shown: str | None = None
    blind: bool = False
    """Whether passbell cannot know what the phone shows: what it knew was erased."""
    points: int = 0

    @property
    def reachable(self) -> bool:
        """Whether a push would arrive."""
        return self.there and self.installed


@dataclass(frozen=True)
class Result:
    """A row of the ledger: sent (reason None) or why not."""

    outcome: str
    reason: str | None
    at: datetime
    attempts: int | None = None
    """How often it was tried, the last time included; None for a pass that was closed without a try."""


@dataclass
class Member:
    """One pass in one campaign."""

    result: Result | None = None
    attempts: int = 0
    text: str | None = None
    """The bytes that were delivered first; every repeat must be the same."""
    delivered: bool = False
    handed: bool = False
    unsettled: bool = False
    """Handed out by a claim whose end is unknown."""
    buzzes: int = 0
    allowed: int = 1


@dataclass
class Campaign:
    """An order and its frozen recipients."""

    id: UUID
    program: UUID
    message: str
    target: set[str] | None
    created: datetime
    scheduled: datetime | None = None
    status: str = "PENDING"
    kind: str = "BROADCAST"
    submitted: datetime | None = None
    released: bool = False
    started: bool = False
    completed: datetime | None = None
    recipients: int = 0
    logged: bool = False
    members: dict[UUID, Member] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=lambda: {"sent": 0, "failed": 0, "skipped": 0})

    @property
    def todo(self) -> set[UUID]:
        """The passes without a result."""
        return {one for one, member in self.members.items() if member.result is None}

    def counts(self) -> dict[str, int]:
        """What sent_count, failed_count and skipped_count must say."""
        found = dict(self.pruned)
        for member in self.members.values():
            if member.result is not None:
                found[member.result.outcome] += 1
        return found

    def settle(self, now: datetime) -> None:
        """Complete it if nothing is left to do."""
        if self.todo or self.status not in {"PROCESSING", "CANCELLED"} or not self.started:
            return
        if self.status == "PROCESSING":
            self.status, self.completed = "COMPLETED", now
        self.logged = True


@dataclass
class Claim:
    """Passes in a worker's hands."""

    token: UUID
    campaign: UUID
    chunk_no: int
    worker: UUID
    lease_until: datetime
    texts: dict[UUID, str]
    before: dict[UUID, bool]
    """Per pass: whether an earlier claim's end was unknown."""
    remaining: set[UUID]
    delivered: set[UUID] = field(default_factory=set)
    valid: bool = True


class Model:
    """Programs, passes, campaigns, claims, gifts; and the clock."""

    def __init__(self, now: datetime, reward: int) -> None:
        self.now = now
        self.reward = reward
        self.passes: dict[UUID, Pass] = {}
        self.birth: dict[UUID, tuple[int, int]] = {}
        self.suspended: dict[UUID, bool] = {}
        self.campaigns: dict[UUID, Campaign] = {}
        self.claims: dict[UUID, Claim] = {}
        self.gifts: dict[tuple[UUID, int], date] = {}
        """(pass, birthday year) and the day of the gift."""

    # ── who ─────────────────────────────────────────────────────

    def audience(self, campaign: Campaign) -> set[UUID]:
        """Who is frozen into a campaign that starts now."""
        return {
            one.id
            for one in self.passes.values()
            if one.program == campaign.program
            and one.reachable
            and one.opted_in
            and (campaign.target is None or one.external_id.lower() in campaign.target)
        }

    def listed(self, campaign: Campaign) -> bool:
        """Whether anybody on a campaign's list is in its program, reachable or not."""
        return campaign.target is None or any(
            one.there and one.program == campaign.program and one.external_id.lower() in campaign.target
            for one in self.passes.values()
        )

    # ── what is under way ───────────────────────────────────────

    def live_claims(self) -> Iterator[Claim]:
        """Claims whose lease has not run out."""
        return (one for one in self.claims.values() if one.valid and one.lease_until > self.now)

    def holder(self, campaign: UUID, pass_id: UUID) -> Claim | None:
        """Who holds a pass of a campaign at this moment."""
        for claim in self.live_claims():
            if claim.campaign == campaign and pass_id in claim.remaining:
                return claim
        return None

    def under_way(self, campaign: UUID, pass_id: UUID) -> list[Campaign]:
        """Other campaigns whose message to this pass may be on its way, or be repeated."""
        return [
            other
            for other in self.campaigns.values()
            if other.id != campaign
            and (member := other.members.get(pass_id)) is not None
            and member.result is None
            and member.unsettled
            and (other.status == "PROCESSING" or self.holder(other.id, pass_id) is not None)
        ]

    def sent_today(self, pass_id: UUID) -> int:
        """Rows of the ledger that count against the daily cap."""
        return sum(
            1
            for campaign in self.campaigns.values()
            if (member := campaign.members.get(pass_id)) is not None
            and member.result is not None
            and member.result.outcome == "sent"
            and member.result.at > self.now - DAY
        )

    def may_have_reached(self, campaign: UUID, pass_id: UUID) -> bool:
        """Whether another campaign was ever handed out for the pass."""
        return any(
            other.id != campaign and (member := other.members.get(pass_id)) is not None and member.handed
            for other in self.campaigns.values()
        )

    # ── what happens ────────────────────────────────────────────

    def deliver(self, claim: Claim, pass_id: UUID) -> None:
        """PassKit takes the text: the phone shows it, and buzzes if it is another one than before."""
        phone, member = self.passes[pass_id], self.campaigns[claim.campaign].members[pass_id]
        text = claim.texts[pass_id]
        fresh = member.text is None
        assert fresh or member.text == text, f"a repeat with other bytes: {member.text!r}, {text!r}"
        if fresh and not phone.blind:
            assert phone.shown != text, f"a new campaign with the text that the phone shows: {text!r}"
        if phone.shown != text:
            member.buzzes += 1
            assert member.buzzes <= member.allowed, f"buzzed {member.buzzes} times by one campaign: {text!r}"
        phone.shown, member.text, member.delivered = text, text, True
        claim.delivered.add(pass_id)

    def decide(
        self, campaign: Campaign, pass_id: UUID, outcome: str, reason: str | None, attempts: int | None = None
    ) -> None:
        """A row of the ledger."""
        member = campaign.members[pass_id]
        if outcome == "sent" and member.text is not None:
            self.passes[pass_id].blind = False
        member.result, member.unsettled = Result(outcome, reason, self.now, attempts), False

    def cancel_free(self, campaign: Campaign, closed: set[UUID] | None = None) -> None:
        """Close what no worker holds of a cancelled campaign, or of that what was `closed`."""
        for one in campaign.todo:
            if self.holder(campaign.id, one) is None and (closed is None or one in closed):
                self.decide(campaign, one, "skipped", "cancelled")
                for claim in self.claims.values():
                    if claim.campaign == campaign.id and one in claim.remaining:
                        claim.valid = False
        campaign.settle(self.now)

    def drop(self, campaign: Campaign, pass_id: UUID, outcome: str) -> None:
        """A pass leaves the campaign's books and stays in its counts."""
        del campaign.members[pass_id]
        campaign.pruned[outcome] += 1

    # ── birthdays ───────────────────────────────────────────────

    def birthday_people(self, program: UUID, on: date) -> dict[UUID, bool]:
        """Pass that stands for each person whose birthday it is, and whether there is a gift already."""
        found = {}
        for user, birthday in self.birth.items():
            if birthday != (on.month, on.day):
                continue
            own = [
                one
                for one in self.passes.values()
                if one.user == user and one.program == program and one.there
            ]
            had = any(
                gifted == one.id and (year == on.year or abs((day - on).days) < 300)
                for one in own
                for (gifted, year), day in self.gifts.items()
            )
            here = sorted(
                (one for one in own if one.reachable),
                key=lambda one: ((one.id, on.year) not in self.gifts, one.id),
            )
            if here:
                found[here[0].id] = had
        return found


def moment(text: str) -> datetime:
    """A time as PostgreSQL writes it in JSON."""
    return datetime.fromisoformat(text).astimezone(UTC)
