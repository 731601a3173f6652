"""Orders and campaigns: how they are created and stopped, their rows, their ledger, what they brought."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - pydantic reads them at run time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from uuid import UUID  # noqa: TC003

from passbell.web.calls.base import AUDIENCE_SECONDS, Asked, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CLOSE_LIST_ORDER",
    "OPEN_LIST_ORDER",
    "CampaignCalls",
    "CampaignCard",
    "CampaignResult",
    "Delivery",
    "ListReason",
    "Order",
    "Plan",
    "ProgramResult",
    "Reason",
]

OPEN_LIST_ORDER: Final = """
    select campaign, ready
      from passbell.open_list_order(
           p_owner => %(owner)s, p_key => %(key)s, p_program => %(program)s, p_message => %(message)s,
           p_name => %(name)s, p_scheduled_at => %(scheduled_at)s)
"""
CLOSE_LIST_ORDER: Final = """
    select passbell.close_list_order(p_campaign => %(campaign)s, p_digest => %(digest)s, p_submit => %(submit)s)
"""
"""Both in the transaction that stages the list: see `passbell.web.uploads`."""

ACTIVE: Final = frozenset({"PENDING", "PROCESSING", "PAUSED"})


class Order(NamedTuple):
    """What an order says. None: as the program says, or by default."""

    program: UUID
    message: str
    target: str
    name: str | None = None
    scheduled_at: datetime | None = None
    expected: int | None = None
    """How many phones were shown; the order is refused where the audience differs by now."""
    holdout_percent: float | None = None
    measure_days: int | None = None
    priority: int | None = None


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


class CampaignCalls(Asked):
    """Campaigns: their rows, their ledger, what they brought."""

    async def campaigns(
        self,
        program: UUID | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
        status: str | None = None,
    ) -> list[CampaignCard]:
        """One page of campaigns, newest first."""
        moment, campaign = before or (None, None)
        return await self._rows(
            CampaignCard,
            "select * from passbell.campaign_page(p_program => %(program)s, p_before => %(before)s,"
            " p_before_id => %(before_id)s, p_limit => %(limit)s, p_status => %(status)s)",
            {"program": program, "before": moment, "before_id": campaign, "limit": limit, "status": status},
        )

    async def campaign(self, campaign: UUID) -> CampaignCard:
        """One campaign."""
        return await self._one(
            CampaignCard,
            "select * from passbell.campaign_card(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            missing=f"There is no campaign {campaign}.",
        )

    async def cards(self, campaigns: Sequence[UUID]) -> list[CampaignCard]:
        """Several campaigns, in the order asked for; unknown ones are left out."""
        return await self._rows(
            CampaignCard,
            "select k.* from passbell.known_campaigns(p_campaigns => %(campaigns)s::uuid[]) w cross"
            " join lateral passbell.campaign_card(w.campaign_id) k order by w.place",
            {"campaigns": list(campaigns)},
        )

    async def reasons(self, campaign: UUID) -> list[Reason]:
        """Outcomes by reason."""
        return await self._rows(
            Reason,
            "select * from passbell.campaign_reasons(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )

    async def list_reasons(self, campaign: UUID) -> list[ListReason]:
        """Rows of the list that reach no member, by reason."""
        return await self._rows(
            ListReason,
            "select * from passbell.list_reasons(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )

    async def deliveries(
        self, campaign: UUID, after: UUID | None, limit: int, outcome: str | None, reason: str | None
    ) -> list[Delivery]:
        """One page of the ledger."""
        return await self._rows(
            Delivery,
            "select * from passbell.delivery_page(p_campaign => %(campaign)s, p_after => %(after)s,"
            " p_limit => %(limit)s, p_outcome => %(outcome)s, p_reason => %(reason)s)",
            {"campaign": campaign, "after": after, "limit": limit, "outcome": outcome, "reason": reason},
            AUDIENCE_SECONDS,
        )

    async def results(self, campaign: UUID) -> CampaignResult:
        """What a campaign brought."""
        return await self._one(
            CampaignResult,
            "select * from public.push_results(campaign_id => %(campaign_id)s)",
            {"campaign_id": campaign},
            AUDIENCE_SECONDS,
        )

    async def results_total(
        self, program: UUID, since: date | None = None, until: date | None = None
    ) -> ProgramResult:
        """What a program's campaigns brought, added up."""
        return await self._one(
            ProgramResult,
            "select * from public.push_results_total(program_id => %(program_id)s,"
            " since => %(since)s, until => %(until)s)",
            {"program_id": program, "since": since, "until": until},
            AUDIENCE_SECONDS,
        )

    async def plan(self, program: UUID, target: str, holdout_percent: float) -> Plan:
        """What holding a share back would show."""
        return await self._one(
            Plan,
            "select * from public.push_plan(program_id => %(program_id)s, target => %(target)s,"
            " holdout_percent => %(holdout_percent)s::numeric)",
            {"program_id": program, "target": target, "holdout_percent": holdout_percent},
            AUDIENCE_SECONDS,
        )

    async def order_push(self, owner: str, key: str | None, order: Order) -> UUID:
        """Create a campaign."""
        return await self._id(
            "select passbell.order_push(p_owner => %(owner)s, p_key => %(key)s,"
            " p_program => %(program)s, p_message => %(message)s, p_target => %(target)s,"
            " p_name => %(name)s, p_scheduled_at => %(scheduled_at)s, p_expected => %(expected)s,"
            " p_holdout_percent => %(holdout_percent)s::numeric,"
            " p_measure_days => %(measure_days)s::integer, p_priority => %(priority)s::integer)",
            {"owner": owner, "key": key, **order._asdict()},
            AUDIENCE_SECONDS,
        )

    async def order_test(self, owner: str, program: UUID, external_id: str, message: str) -> UUID:
        """Send one real push to one pass."""
        return await self._id(
            "select passbell.order_test(p_owner => %(owner)s, p_program => %(program)s,"
            " p_external_id => %(external_id)s, p_message => %(message)s)",
            {"owner": owner, "program": program, "external_id": external_id, "message": message},
        )

    async def discard_draft(self, campaign: UUID) -> None:
        """Drop a draft that was not confirmed."""
        await self._database.fetch(
            "select passbell.discard_draft(p_campaign => %(campaign)s)", {"campaign": campaign}
        )

    async def verb(self, owner: str, verb: str, campaign: UUID) -> CampaignCard:
        """Pause, resume, cancel or retry-failed; the campaign as it is afterwards."""
        await self._database.fetch(
            "select passbell.order_verb(p_owner => %(owner)s, p_verb => %(verb)s,"
            " p_campaign => %(campaign)s)",
            {"owner": owner, "verb": verb, "campaign": campaign},
            deadline=AUDIENCE_SECONDS,
        )
        return await self.campaign(campaign)
