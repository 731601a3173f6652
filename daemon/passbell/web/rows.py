"""What the SQL functions return, as the API shows it: snake_case in SQL, camelCase in JSON."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - pydantic reads them at run time
from typing import Literal
from uuid import UUID  # noqa: TC003

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

__all__ = [
    "Account",
    "Automation",
    "AutomationDay",
    "AutomationResult",
    "AutomationRun",
    "Birthday",
    "BirthdayDay",
    "BirthdayRun",
    "CampaignCard",
    "CampaignResult",
    "Daemon",
    "Delivery",
    "GivenBirthdays",
    "ImportCard",
    "ImportRow",
    "ListPreview",
    "ListReason",
    "Outlook",
    "Plan",
    "Preview",
    "Program",
    "ProgramResult",
    "Reason",
    "Sample",
    "ScreenSample",
    "Segment",
    "Shape",
    "Slot",
]

ACTIVE = frozenset({"PENDING", "PROCESSING", "PAUSED"})


class Shape(BaseModel):
    """The root of all shapes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class Program(Shape):
    """A program and its birthday bot. Times are HH:MM in its own zone."""

    program_id: UUID
    name: str
    protocol: str | None
    passkit_program_id: str | None
    timezone: str
    suspended: bool
    birthday_bot_enabled: bool
    birthday_reward_points: int
    birthday_message: str | None
    birthday_send_at: str | None
    push_window_start: str | None
    push_window_end: str | None
    push_consent: str
    """OPT_OUT: a member who never answered may be reached. OPT_IN: only an explicit yes may."""
    push_max: int | None
    push_max_days: int | None
    push_min_hours: int | None


class Suppression(Shape):
    """A member who gets no messages for now; `until` null is no end."""

    id: UUID
    program_id: UUID
    external_id: str
    until: datetime | None
    reason: str | None
    created_by: str | None
    created_at: datetime
    over: bool


class Segment(Shape):
    """A named audience. `parameterKind` is none, number, days, tier, list or text."""

    name: str
    description: str
    parameter_kind: str
    default_parameter: str | None
    builtin: bool


class Preview(Shape):
    """The honest count: matched → in a wallet → not opted out → not left out for now → reachable.

    `would_hold` of the reachable are held back to measure.
    """

    matched: int
    in_wallet: int
    opted_out: int
    capped: int
    reachable: int
    seconds_at_rate: float
    finishes_at: datetime
    too_often: int
    suppressed: int
    would_hold: int


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


class Outlook(Shape):
    """When an order could begin, in the program's zone, and what holds it back until then."""

    starts_at: datetime
    zone: str
    suspended: bool
    notice: str | None


class ListPreview(Preview):
    """The count for an uploaded list: its rows, and how many match no member."""

    listed: int
    unmatched: int


class Sample(Shape):
    """A member of the audience with the text that this member would read."""

    pass_id: UUID
    external_id: str | None
    first_name: str | None
    message: str | None


class ScreenSample(Sample):
    """The member on the lock screen of the page."""

    program_name: str | None
    in_audience: bool | None


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


class ImportCard(Shape):
    """A member import with its totals."""

    import_id: UUID
    program_id: UUID | None
    program_name: str | None
    name: str
    dry_run: bool
    status: str
    status_detail: str | None
    total: int
    processed: int
    created: int
    updated: int
    linked: int
    unchanged: int
    rejected: int
    passes_linked: int
    notes: list[str]
    created_at: datetime
    completed_at: datetime | None
    created_by: str | None
    percent: float


class Problem(Shape):
    """A cell that could not be taken."""

    column: str | None = None
    value: str | None = None
    reason: str | None = None


class ImportRow(Shape):
    """What became of a row; one that is not rejected was taken without the cells named."""

    row_number: int
    result: str
    column_name: str | None
    value: str | None
    reason: str | None
    problems: list[Problem]


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
