"""Birthdays and automations, and the daemons and accounts that serve them."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - pydantic reads them at run time
from uuid import UUID  # noqa: TC003

from passbell.web.rows.base import Shape

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
