# ruff: noqa: PLR0917 - the arguments are those of the SQL functions, in their order
"""Orders, and the verbs on campaigns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from passbell.web.calls.base import AUDIENCE_SECONDS
from passbell.web.calls.campaigns import CampaignCalls

if TYPE_CHECKING:
    from datetime import datetime

    from passbell.web import rows as shapes

__all__ = ["CLOSE_LIST_ORDER", "OPEN_LIST_ORDER", "OrderCalls"]

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


class OrderCalls(CampaignCalls):
    """Orders, and the verbs on campaigns."""

    async def order_push(
        self,
        owner: str,
        key: str | None,
        program: UUID,
        message: str,
        target: str,
        name: str | None,
        scheduled_at: datetime | None,
        expected: int | None,
        *,
        holdout_percent: float | None = None,
        measure_days: int | None = None,
        priority: int | None = None,
    ) -> UUID:
        """Create a campaign."""
        value = await self._value(
            "select passbell.order_push(p_owner => %(owner)s, p_key => %(key)s,"
            " p_program => %(program)s, p_message => %(message)s, p_target => %(target)s,"
            " p_name => %(name)s, p_scheduled_at => %(scheduled_at)s, p_expected => %(expected)s,"
            " p_holdout_percent => %(holdout_percent)s::numeric,"
            " p_measure_days => %(measure_days)s::integer, p_priority => %(priority)s::integer)",
            {
                "owner": owner,
                "key": key,
                "program": program,
                "message": message,
                "target": target,
                "name": name,
                "scheduled_at": scheduled_at,
                "expected": expected,
                "holdout_percent": holdout_percent,
                "measure_days": measure_days,
                "priority": priority,
            },
            AUDIENCE_SECONDS,
        )
        return UUID(str(value))

    async def order_test(self, owner: str, program: UUID, external_id: str, message: str) -> UUID:
        """Send one real push to one pass."""
        value = await self._value(
            "select passbell.order_test(p_owner => %(owner)s, p_program => %(program)s,"
            " p_external_id => %(external_id)s, p_message => %(message)s)",
            {"owner": owner, "program": program, "external_id": external_id, "message": message},
        )
        return UUID(str(value))

    async def discard_draft(self, campaign: UUID) -> None:
        """Drop a draft that was not confirmed."""
        await self._database.fetch(
            "select passbell.discard_draft(p_campaign => %(campaign)s)", {"campaign": campaign}
        )

    async def verb(self, owner: str, verb: str, campaign: UUID) -> shapes.CampaignCard:
        """Pause, resume, cancel or retry-failed; the campaign as it is afterwards."""
        await self._database.fetch(
            "select passbell.order_verb(p_owner => %(owner)s, p_verb => %(verb)s,"
            " p_campaign => %(campaign)s)",
            {"owner": owner, "verb": verb, "campaign": campaign},
            deadline=AUDIENCE_SECONDS,
        )
        return await self.campaign(campaign)
