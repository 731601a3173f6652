"""Campaigns: their rows, their ledger, what they brought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passbell.errors import CampaignError
from passbell.web import rows as shapes
from passbell.web.calls.base import AUDIENCE_SECONDS, Asked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from uuid import UUID

__all__ = ["CampaignCalls"]


class CampaignCalls(Asked):
    """Campaigns: their rows, their ledger, what they brought."""

    async def campaigns(
        self,
        program: UUID | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
        status: str | None = None,
    ) -> list[shapes.CampaignCard]:
        """One page of campaigns, newest first."""
        moment, campaign = before or (None, None)
        return await self._rows(
            shapes.CampaignCard,
            "select * from passbell.campaign_page(p_program => %(program)s, p_before => %(before)s,"
            " p_before_id => %(before_id)s, p_limit => %(limit)s, p_status => %(status)s)",
            {"program": program, "before": moment, "before_id": campaign, "limit": limit, "status": status},
        )

    async def campaign(self, campaign: UUID) -> shapes.CampaignCard:
        """One campaign."""
        found = await self._rows(
            shapes.CampaignCard,
            "select * from passbell.campaign_card(p_campaign => %(campaign)s)",
            {"campaign": campaign},
        )
        if not found:
            raise CampaignError(f"There is no campaign {campaign}.", "PB404")
        return found[0]

    async def cards(self, campaigns: Sequence[UUID]) -> list[shapes.CampaignCard]:
        """Several campaigns, in the order asked for; unknown ones are left out."""
        return await self._rows(
            shapes.CampaignCard,
            "select k.* from passbell.known_campaigns(p_campaigns => %(campaigns)s::uuid[]) w cross"
            " join lateral passbell.campaign_card(w.campaign_id) k order by w.place",
            {"campaigns": list(campaigns)},
        )

    async def reasons(self, campaign: UUID) -> list[shapes.Reason]:
        """Outcomes by reason."""
        return await self._rows(
            shapes.Reason,
            "select * from passbell.campaign_reasons(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )

    async def list_reasons(self, campaign: UUID) -> list[shapes.ListReason]:
        """Rows of the list that reach no member, by reason."""
        return await self._rows(
            shapes.ListReason,
            "select * from passbell.list_reasons(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )

    async def deliveries(
        self, campaign: UUID, after: UUID | None, limit: int, outcome: str | None, reason: str | None
    ) -> list[shapes.Delivery]:
        """One page of the ledger."""
        return await self._rows(
            shapes.Delivery,
            "select * from passbell.delivery_page(p_campaign => %(campaign)s, p_after => %(after)s,"
            " p_limit => %(limit)s, p_outcome => %(outcome)s, p_reason => %(reason)s)",
            {"campaign": campaign, "after": after, "limit": limit, "outcome": outcome, "reason": reason},
            AUDIENCE_SECONDS,
        )

    async def results(self, campaign: UUID) -> shapes.CampaignResult:
        """What a campaign brought."""
        found = await self._rows(
            shapes.CampaignResult,
            "select * from public.push_results(campaign_id => %(campaign_id)s)",
            {"campaign_id": campaign},
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def results_total(
        self, program: UUID, since: date | None = None, until: date | None = None
    ) -> shapes.ProgramResult:
        """What a program's campaigns brought, added up."""
        found = await self._rows(
            shapes.ProgramResult,
            "select * from public.push_results_total(program_id => %(program_id)s,"
            " since => %(since)s, until => %(until)s)",
            {"program_id": program, "since": since, "until": until},
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def plan(self, program: UUID, target: str, holdout_percent: float) -> shapes.Plan:
        """What holding a share back would show."""
        found = await self._rows(
            shapes.Plan,
            "select * from public.push_plan(program_id => %(program_id)s, target => %(target)s,"
            " holdout_percent => %(holdout_percent)s::numeric)",
            {"program_id": program, "target": target, "holdout_percent": holdout_percent},
            AUDIENCE_SECONDS,
        )
        return found[0]
