"""The SQL functions that the page alone calls (86_page.sql, 87_automation_cards.sql), typed."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID  # noqa: TC003 - pydantic reads it at run time

from passbell.web.calls import AUDIENCE_SECONDS, Calls, Shape
from passbell.web.calls.campaigns import CampaignCard, ListReason, Reason  # noqa: TC001
from passbell.web.calls.members import ImportRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passbell.web.calls.campaigns import Order

__all__ = ["DraftRow", "Moment", "Month", "Occasion", "PageCalls", "ProgramPage", "Slot"]


class Slot(Shape):
    """A stretch of time and what was sent in it."""

    slot: int
    starts_at: datetime
    seconds: float
    sent: int
    failed: int


class Moment(Shape):
    """A campaign with all its numbers, read in one statement."""

    card: CampaignCard
    reasons: list[Reason]
    slots: list[Slot]
    listed: list[ListReason]
    average_per_second: float | None


class DraftRow(Shape):
    """A draft, for the form."""

    campaign_id: UUID
    program_id: UUID | None
    name: str | None
    message: str | None
    target: str
    at_local: str | None
    holdout_percent: float | None
    is_list: bool


class Month(Shape):
    """The results of a program in a span, in guests and in money; `month` None is the whole span."""

    month: date | None
    since: date
    until: date
    campaigns: int
    sent: int | None
    held: int | None
    measure_days: int | None = None
    extra: float | None
    extra_lo: float | None
    extra_hi: float | None
    verdict: str
    sentence: str
    money: float | None
    money_lo: float | None
    money_hi: float | None


class ProgramPage(Shape):
    """What a program says about its messages."""

    program_id: UUID
    name: str
    timezone: str
    suspended: bool
    push_window_start: str | None
    push_window_end: str | None
    holdout_percent: float
    holdout_group: bool
    average_bill: float | None
    push_max: int | None
    push_max_days: int | None
    push_min_hours: int | None
    push_consent: str
    this_month: date
    daily_cap: int


class Occasion(Shape):
    """A rule that automations can name."""

    name: str
    description: str
    parameter_kind: str
    default_parameter: str | None


class ResultVerdict(Shape):
    """A counted campaign's verdict."""

    campaign_id: UUID
    verdict: str


class PageCalls(Calls):
    """Those of the API, and one method per SQL function of the page's own."""

    async def when(self, program: UUID, at: datetime | None) -> str | None:
        """A moment in the program's zone, with the zone named."""
        if at is None:
            return None
        return str(
            await self._value(
                "select passbell.page_when(p_program => %(program)s, p_at => %(at)s)",
                {"program": program, "at": at},
            )
        )

    async def moment_of(self, campaign: UUID) -> Moment:
        """All numbers of a campaign's page, of one moment."""
        return await self._one(
            Moment,
            "select * from passbell.page_campaign(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
            missing=f"There is no campaign {campaign}.",
        )

    # ── orders and drafts ────────────────────────────────────

    async def draft(self, campaign: UUID) -> DraftRow:
        """A draft."""
        return await self._one(
            DraftRow,
            "select * from passbell.page_draft(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )

    async def save_draft(self, owner: str, campaign: UUID | None, order: Order) -> UUID:
        """Keep the form as a draft."""
        return await self._id(
            "select passbell.page_save_draft(p_owner => %(owner)s, p_campaign => %(campaign)s,"
            " p_program => %(program)s, p_message => %(message)s, p_target => %(target)s,"
            " p_name => %(name)s, p_scheduled_at => %(scheduled_at)s,"
            " p_holdout => %(holdout_percent)s::numeric)",
            {"owner": owner, "campaign": campaign, **order._asdict()},
            AUDIENCE_SECONDS,
        )

    async def submit_draft(self, owner: str, campaign: UUID, order: Order) -> None:
        """Submit a draft as it was confirmed."""
        await self._value(
            "select passbell.page_submit_draft(p_owner => %(owner)s, p_campaign => %(campaign)s,"
            " p_program => %(program)s, p_message => %(message)s, p_target => %(target)s,"
            " p_name => %(name)s, p_scheduled_at => %(scheduled_at)s, p_expected => %(expected)s,"
            " p_holdout => %(holdout_percent)s::numeric)",
            {"owner": owner, "campaign": campaign, **order._asdict()},
            AUDIENCE_SECONDS,
        )

    # ── results ──────────────────────────────────────────────

    async def verdicts(self, campaigns: Sequence[UUID]) -> dict[UUID, str]:
        """The verdicts of those that are counted."""
        found = await self._rows(
            ResultVerdict,
            "select * from passbell.page_verdicts(p_campaigns => %(campaigns)s::uuid[])",
            {"campaigns": list(campaigns)},
            AUDIENCE_SECONDS,
        )
        return {row.campaign_id: row.verdict for row in found}

    async def months(self, program: UUID) -> list[Month]:
        """The last twelve months, the whole span first."""
        return await self._rows(
            Month,
            "select * from passbell.page_program_results(p_program => %(program)s)",
            {"program": program},
            AUDIENCE_SECONDS,
        )

    async def program_page(self, program: UUID) -> ProgramPage:
        """What a program says about its messages."""
        return await self._one(
            ProgramPage,
            "select * from passbell.page_program(p_program => %(program)s)",
            {"program": program},
            missing=f"There is no program {program}.",
        )

    async def report(self, program: UUID, month: date) -> dict[str, Any]:
        """The month's figures."""
        row: dict[str, Any] = await self._value(
            "select passbell.page_report(p_program => %(program)s, p_month => %(month)s)",
            {"program": program, "month": month},
            AUDIENCE_SECONDS,
        )
        return row | {"month": date.fromisoformat(row["month"])}

    async def import_rows(self, made: UUID, after: int, limit: int, *, rejected: bool) -> list[ImportRow]:
        """Rows with a problem, either the rejected ones or the others."""
        return await self._rows(
            ImportRow,
            "select * from passbell.page_import_rows(p_import => %(import)s,"
            " p_rejected => %(rejected)s, p_after => %(after)s, p_limit => %(limit)s)",
            {"import": made, "rejected": rejected, "after": after, "limit": limit},
        )

    # ── automations ──────────────────────────────────────────

    async def occasions(self) -> list[Occasion]:
        """The rules."""
        return await self._rows(Occasion, "select * from passbell.page_occasions()")
