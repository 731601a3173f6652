"""Birthdays and automations; the daemons and accounts that serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from passbell.errors import CampaignError
from passbell.web import rows as shapes
from passbell.web.calls.base import AUDIENCE_SECONDS, Asked

if TYPE_CHECKING:
    from datetime import date

__all__ = ["TimedCalls"]


class TimedCalls(Asked):
    """Birthdays and automations; the daemons and accounts that serve them."""

    async def run_birthdays(self, program: UUID | None, day: date | None) -> list[shapes.GivenBirthdays]:
        """Give gifts now. One call stops by itself in time and keeps what it gave."""
        return await self._rows(
            shapes.GivenBirthdays,
            "select * from public.run_birthdays(program_id => %(program_id)s, on_date => %(on_date)s)",
            {"program_id": program, "on_date": day},
            AUDIENCE_SECONDS,
        )

    async def birthdays(self, program: UUID | None, day: date | None) -> list[shapes.Birthday]:
        """Whose birthday it is."""
        return await self._rows(
            shapes.Birthday,
            "select * from public.get_birthdays_today(program_id => %(program_id)s, on_date => %(on_date)s)",
            {"program_id": program, "on_date": day},
            AUDIENCE_SECONDS,
        )

    async def birthdays_ahead(self, program: UUID) -> list[shapes.BirthdayDay]:
        """The coming seven days."""
        return await self._rows(
            shapes.BirthdayDay,
            "select * from passbell.birthdays_ahead(p_program => %(program)s)",
            {"program": program},
            AUDIENCE_SECONDS,
        )

    async def birthday_history(self, program: UUID) -> list[shapes.BirthdayRun]:
        """The last runs."""
        return await self._rows(
            shapes.BirthdayRun,
            "select * from passbell.birthday_history(p_program => %(program)s)",
            {"program": program},
        )

    async def daemons(self) -> list[shapes.Daemon]:
        """Daemons of the last day."""
        return await self._rows(shapes.Daemon, "select * from passbell.daemon_list()")

    async def accounts(self) -> list[shapes.Account]:
        """PassKit accounts with rate and breaker."""
        return await self._rows(shapes.Account, "select * from passbell.account_list()")

    async def automations(self, program: UUID | None = None) -> list[shapes.Automation]:
        """Those of a program, or all."""
        return await self._rows(
            shapes.Automation,
            "select * from passbell.automation_cards(p_program => %(program)s)",
            {"program": program},
        )

    async def automation(self, automation: UUID) -> shapes.Automation:
        """One of them."""
        found = await self._rows(
            shapes.Automation,
            "select * from passbell.automation_cards(p_program => null, p_automation => %(automation)s)",
            {"automation": automation},
        )
        if not found:
            raise CampaignError(f"There is no automation {automation}.", "PB404")
        return found[0]

    async def automation_history(self, automation: UUID) -> list[shapes.AutomationRun]:
        """Its last runs, newest first."""
        return await self._rows(
            shapes.AutomationRun,
            "select * from passbell.automation_history(p_automation => %(automation)s)",
            {"automation": automation},
        )

    async def automation_preview(self, automation: UUID, days: int) -> list[shapes.AutomationDay]:
        """The backtest, a row per local day."""
        return await self._rows(
            shapes.AutomationDay,
            "select * from public.automation_preview(id => %(id)s, days => %(days)s)",
            {"id": automation, "days": days},
            AUDIENCE_SECONDS,
        )

    async def automation_results(self, automation: UUID) -> shapes.AutomationResult:
        """What it has brought so far."""
        found = await self._rows(
            shapes.AutomationResult,
            "select * from public.automation_results(id => %(id)s)",
            {"id": automation},
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def save_automation(self, owner: str, automation: UUID | None, fields: str) -> shapes.Automation:
        """Make one (no id), or change the fields that are given (JSON, by the names of the columns)."""
        saved = await self._value(
            "select passbell.save_automation(p_owner => %(owner)s, p_automation => %(automation)s,"
            " p_fields => %(fields)s::jsonb)",
            {"owner": owner, "automation": automation, "fields": fields},
            AUDIENCE_SECONDS,
        )
        return await self.automation(UUID(str(saved)))

    async def delete_automation(self, owner: str, automation: UUID) -> None:
        """Delete one that has no campaign under way."""
        await self._database.fetch(
            "select passbell.delete_automation(p_owner => %(owner)s, p_automation => %(automation)s)",
            {"owner": owner, "automation": automation},
        )
