"""Programs, audiences, counts and samples."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it at run time
from uuid import UUID

from passbell.web.calls.base import AUDIENCE_SECONDS, Asked, Shape

__all__ = [
    "ListPreview",
    "Outlook",
    "Preview",
    "Program",
    "ProgramCalls",
    "Sample",
    "ScreenSample",
    "Segment",
]


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


class Segment(Shape):
    """A named audience. `parameterKind` is none, number, days, tier, list or text."""

    name: str
    description: str
    parameter_kind: str
    default_parameter: str | None
    builtin: bool


class Preview(Shape):
    """The count: matched → in a wallet → not opted out → not left out for now → reachable.

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


class ProgramCalls(Asked):
    """Programs, audiences and counts."""

    async def find_program(self, name: str) -> UUID:
        """The program with this id or PassKit program id."""
        return UUID(
            str(await self._value("select passbell.find_program(p_name => %(name)s)", {"name": name}))
        )

    async def require_scope(self, program: UUID, tenant: str | None, protocol: str | None) -> None:
        """Refuse a tenant or protocol, as the platform's own service sends them, that is not the program's."""
        if tenant is not None or protocol is not None:
            await self._value(
                "select passbell.require_scope(p_program => %(program)s, p_tenant => %(tenant)s,"
                " p_protocol => %(protocol)s)",
                {"program": program, "tenant": tenant, "protocol": protocol},
            )

    async def require_order(self, program: UUID, target: str | None, scheduled_at: datetime | None) -> None:
        """Refuse an order for a suspended program, or for a time in the past."""
        await self._value(
            "select passbell.require_order(p_program => %(program)s, p_target => %(target)s,"
            " p_scheduled_at => %(scheduled_at)s)",
            {"program": program, "target": target, "scheduled_at": scheduled_at},
        )

    async def outlook(self, program: UUID, scheduled_at: datetime | None = None) -> Outlook:
        """When an order for this time could begin, and what holds it back."""
        return await self._one(
            Outlook,
            "select * from passbell.order_outlook(p_program => %(program)s,"
            " p_scheduled_at => %(scheduled_at)s)",
            {"program": program, "scheduled_at": scheduled_at},
        )

    async def programs(self) -> list[Program]:
        """All programs, by name."""
        return await self._rows(Program, "select * from passbell.program_list()")

    async def set_message_limits(self, owner: str, program: UUID, fields: str) -> None:
        """Change the limits and the consent that are given (JSON, by the names of the columns)."""
        await self._value(
            "select passbell.set_message_limits(p_owner => %(owner)s, p_program => %(program)s,"
            " p_fields => %(fields)s::jsonb)",
            {"owner": owner, "program": program, "fields": fields},
        )

    async def segments(self) -> list[Segment]:
        """All named audiences that a person may choose."""
        return await self._rows(
            Segment,
            "select name, description, parameter_kind, default_parameter, builtin from passbell.segments"
            " where name <> 'CSV' order by name <> 'ALL', builtin desc, name",
        )

    async def preview(self, program: UUID, target: str) -> Preview:
        """The count of a target."""
        return await self._one(
            Preview,
            "select * from public.push_preview(program_id => %(program_id)s, target => %(target)s)",
            {"program_id": program, "target": target},
            AUDIENCE_SECONDS,
        )

    async def preview_list(self, campaign: UUID) -> ListPreview:
        """The count of a draft's uploaded list."""
        return await self._one(
            ListPreview,
            "select * from passbell.preview_list(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )

    async def samples(self, program: UUID, message: str, target: str) -> list[Sample]:
        """Five members with their texts."""
        return await self._rows(
            Sample,
            "select * from passbell.sample_messages(p_program => %(program)s,"
            " p_message => %(message)s, p_target => %(target)s, p_limit => 5)",
            {"program": program, "message": message, "target": target},
            AUDIENCE_SECONDS,
        )

    async def warnings(self, program: UUID, message: str) -> list[str]:
        """A sentence for each merge tag of another tool in a message, and for balances that it cannot show."""
        found: list[str] = await self._value(
            "select array(select passbell.order_warnings(p_program => %(program)s, p_text => %(text)s))",
            {"program": program, "text": message},
        )
        return found

    async def screen(
        self, program: UUID, message: str, target: str, member: UUID | None = None
    ) -> ScreenSample | None:
        """One member with the text on the lock screen."""
        found = await self._rows(
            ScreenSample,
            "select * from passbell.sample_message(p_program => %(program)s,"
            " p_message => %(message)s, p_target => %(target)s, p_pass => %(pass)s)",
            {"program": program, "message": message, "target": target, "pass": member},
            AUDIENCE_SECONDS,
        )
        return found[0] if found else None

    async def moment(self, program: UUID, local: str) -> datetime | None:
        """A wall-clock time of the program's zone."""
        value: datetime | None = await self._value(
            "select passbell.program_moment(p_program => %(program)s, p_local => %(local)s)",
            {"program": program, "local": local},
        )
        return value
