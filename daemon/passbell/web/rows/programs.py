"""Programs, audiences, counts and samples."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads them at run time
from uuid import UUID  # noqa: TC003

from passbell.web.rows.base import Shape

__all__ = ["ListPreview", "Outlook", "Preview", "Program", "Sample", "ScreenSample", "Segment", "Suppression"]


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


class ListPreview(Preview):
    """The count for an uploaded list: its rows, and how many match no member."""

    listed: int
    unmatched: int


class Outlook(Shape):
    """When an order could begin, in the program's zone, and what holds it back until then."""

    starts_at: datetime
    zone: str
    suspended: bool
    notice: str | None


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
