"""Birthdays and automations; the daemons and accounts that serve them."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - pydantic reads them at run time
from uuid import UUID

from passbell.web.calls.base import AUDIENCE_SECONDS, Asked, Shape

__all__ = [
    "Account",
    "Automation",
    "AutomationDay",
    "AutomationResult",
    "AutomationRun",
    "Birthday",
    "BirthdayDay",
    "BirthdayRun",
    "Daemon",
    "GivenBirthdays",
    "Person",
    "TimedCalls",
]


class GivenBirthdays(Shape):
    """What a birthday run did in one program."""

    program_id: UUID
    local_date: date
    eligible: int
    gifted: int
    already_gifted: int
    failed: int
    campaign_id: UUID | None


class Birthday(Shape):
    """A member whose birthday it is."""

    pass_id: UUID
    program_id: UUID
    external_id: str | None
    first_name: str | None
    birth_date: date
    birthday_year: int
    reward_points: int
    message: str | None
    already_gifted: bool


class Person(Shape):
    """A name on the birthday calendar."""

    external_id: str | None
    first_name: str | None
    gifted: bool


class BirthdayDay(Shape):
    """One coming day."""

    local_date: date
    today: bool
    n: int
    gifted: int
    people: list[Person]


class BirthdayRun(Shape):
    """A past run of the birthday bot."""

    local_date: date
    started_at: datetime
    completed_at: datetime | None
    eligible: int
    gifted: int
    failed: int
    campaign_id: UUID | None
    detail: str | None


class Daemon(Shape):
    """A daemon that reported within the last day."""

    id: UUID
    host: str
    pid: int
    version: str
    account: str | None
    started_at: datetime
    silent_seconds: int
    alive: bool
    doing: str | None


class Account(Shape):
    """A PassKit account: its rate, and the breaker."""

    account: str
    rate_per_second: float | None
    rate_now: float | None
    breaker: str
    breaker_kind: str | None
    breaker_reason: str | None
    opened_at: datetime | None
    blocked_seconds: int | None
    programs: int | None
    served: bool | None
    enabled: bool | None
    trouble: str | None
    """Why its programs send nothing, where that is not PassKit: no daemon has its credentials."""


class Automation(Shape):
    """A message that sends itself, as its row is. `automationId` is `id`, by the name that campaigns give theirs."""

    id: UUID
    automation_id: UUID
    program_id: UUID
    program_name: str | None
    name: str | None
    occasion: str
    message_text: str
    target_query: str | None
    is_on: bool
    send_at: str
    send_days: str | None
    again_after_days: int
    catch_up_days: int
    daily_limit: int | None
    holdout_percent: float
    measure_days: int
    reward_points: int
    priority: int
    starts_on: date | None
    ends_on: date | None
    switched_on_on: date | None
    last_run_on: date | None
    fired_count: int
    status_detail: str | None
    created_by: str | None
    created_at: datetime
    updated_at: datetime


class AutomationRun(Shape):
    """What an automation did on a local date."""

    local_date: date
    started_at: datetime
    completed_at: datetime | None
    campaign_id: UUID | None
    campaign_status: str | None
    due: int
    fired: int
    failed: int
    held_back_by_limit: int
    detail: str | None


class AutomationDay(Shape):
    """How many an automation would have been due for on a local date."""

    local_date: date
    due: int


class AutomationResult(Shape):
    """What an automation has brought so far; the interval is valid at every look."""

    campaign_id: UUID | None
    measure_days: int
    ready_at: datetime | None
    counted_at: datetime | None
    sent: int
    sent_came: int
    held: int
    held_came: int
    diff: float | None
    diff_lo: float | None
    diff_hi: float | None
    extra: float | None
    extra_lo: float | None
    extra_hi: float | None
    verdict: str
    sentence: str


class TimedCalls(Asked):
    """Birthdays and automations; the daemons and accounts that serve them."""

    async def run_birthdays(self, program: UUID | None, day: date | None) -> list[GivenBirthdays]:
        """Give gifts now. One call stops by itself in time and keeps what it gave."""
        return await self._rows(
            GivenBirthdays,
            "select * from public.run_birthdays(program_id => %(program_id)s, on_date => %(on_date)s)",
            {"program_id": program, "on_date": day},
            AUDIENCE_SECONDS,
        )

    async def birthdays(self, program: UUID | None, day: date | None) -> list[Birthday]:
        """Whose birthday it is."""
        return await self._rows(
            Birthday,
            "select * from public.get_birthdays_today(program_id => %(program_id)s, on_date => %(on_date)s)",
            {"program_id": program, "on_date": day},
            AUDIENCE_SECONDS,
        )

    async def birthdays_ahead(self, program: UUID) -> list[BirthdayDay]:
        """The coming seven days."""
        return await self._rows(
            BirthdayDay,
            "select * from passbell.birthdays_ahead(p_program => %(program)s)",
            {"program": program},
            AUDIENCE_SECONDS,
        )

    async def birthday_history(self, program: UUID) -> list[BirthdayRun]:
        """The last runs."""
        return await self._rows(
            BirthdayRun,
            "select * from passbell.birthday_history(p_program => %(program)s)",
            {"program": program},
        )

    async def daemons(self) -> list[Daemon]:
        """Daemons of the last day."""
        return await self._rows(Daemon, "select * from passbell.daemon_list()")

    async def accounts(self) -> list[Account]:
        """PassKit accounts with rate and breaker."""
        return await self._rows(Account, "select * from passbell.account_list()")

    async def automations(self, program: UUID | None = None) -> list[Automation]:
        """Those of a program, or all."""
        return await self._rows(
            Automation,
            "select * from passbell.automation_cards(p_program => %(program)s)",
            {"program": program},
        )

    async def automation(self, automation: UUID) -> Automation:
        """One of them."""
        return await self._one(
            Automation,
            "select * from passbell.automation_cards(p_program => null, p_automation => %(automation)s)",
            {"automation": automation},
            missing=f"There is no automation {automation}.",
        )

    async def automation_history(self, automation: UUID) -> list[AutomationRun]:
        """Its last runs, newest first."""
        return await self._rows(
            AutomationRun,
            "select * from passbell.automation_history(p_automation => %(automation)s)",
            {"automation": automation},
        )

    async def automation_preview(self, automation: UUID, days: int) -> list[AutomationDay]:
        """The backtest, a row per local day."""
        return await self._rows(
            AutomationDay,
            "select * from public.automation_preview(id => %(id)s, days => %(days)s)",
            {"id": automation, "days": days},
            AUDIENCE_SECONDS,
        )

    async def automation_results(self, automation: UUID) -> AutomationResult:
        """What it has brought so far."""
        return await self._one(
            AutomationResult,
            "select * from public.automation_results(id => %(id)s)",
            {"id": automation},
            AUDIENCE_SECONDS,
        )

    async def save_automation(self, owner: str, automation: UUID | None, fields: str) -> Automation:
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
