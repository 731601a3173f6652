"""Programs, audiences and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from passbell.web import rows as shapes
from passbell.web.calls.base import AUDIENCE_SECONDS, Asked

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ProgramCalls"]


class ProgramCalls(Asked):
    """Programs, audiences and counts."""

    async def find_program(self, name: str) -> UUID:
        """The program with this id or PassKit program id."""
        return UUID(
            str(await self._value("select passbell.find_program(p_name => %(name)s)", {"name": name}))
        )

    async def require_scope(self, program: UUID, tenant: str | None, protocol: str | None) -> None:
        """What the platform's own service says beside the program must be true of it."""
        if tenant is not None or protocol is not None:
            await self._value(
                "select passbell.require_scope(p_program => %(program)s, p_tenant => %(tenant)s,"
                " p_protocol => %(protocol)s)",
                {"program": program, "tenant": tenant, "protocol": protocol},
            )

    async def require_order(self, program: UUID, target: str | None, scheduled_at: datetime | None) -> None:
        """Refuse what no order may be: a program that is suspended, a time that is over."""
        await self._value(
            "select passbell.require_order(p_program => %(program)s, p_target => %(target)s,"
            " p_scheduled_at => %(scheduled_at)s)",
            {"program": program, "target": target, "scheduled_at": scheduled_at},
        )

    async def outlook(self, program: UUID, scheduled_at: datetime | None = None) -> shapes.Outlook:
        """When an order for this time could begin, and what holds it back."""
        found = await self._rows(
            shapes.Outlook,
            "select * from passbell.order_outlook(p_program => %(program)s,"
            " p_scheduled_at => %(scheduled_at)s)",
            {"program": program, "scheduled_at": scheduled_at},
        )
        return found[0]

    async def programs(self) -> list[shapes.Program]:
        """All programs, by name."""
        return await self._rows(shapes.Program, "select * from passbell.program_list()")

    async def set_message_limits(self, owner: str, program: UUID, fields: str) -> None:
        """Change the limits and the consent that are given (JSON, by the names of the columns)."""
        await self._value(
            "select passbell.set_message_limits(p_owner => %(owner)s, p_program => %(program)s,"
            " p_fields => %(fields)s::jsonb)",
            {"owner": owner, "program": program, "fields": fields},
        )

    async def segments(self) -> list[shapes.Segment]:
        """All named audiences that a person may choose."""
        return await self._rows(
            shapes.Segment,
            "select name, description, parameter_kind, default_parameter, builtin from passbell.segments"
            " where name <> 'CSV' order by name <> 'ALL', builtin desc, name",
        )

    async def preview(self, program: UUID, target: str) -> shapes.Preview:
        """The honest count of a target."""
        found = await self._rows(
            shapes.Preview,
            "select * from public.push_preview(program_id => %(program_id)s, target => %(target)s)",
            {"program_id": program, "target": target},
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def preview_list(self, campaign: UUID) -> shapes.ListPreview:
        """The honest count of a draft's uploaded list."""
        found = await self._rows(
            shapes.ListPreview,
            "select * from passbell.preview_list(p_campaign => %(campaign)s)",
            {"campaign": campaign},
            AUDIENCE_SECONDS,
        )
        return found[0]

    async def samples(self, program: UUID, message: str, target: str) -> list[shapes.Sample]:
        """Five members with their texts."""
        return await self._rows(
            shapes.Sample,
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
    ) -> shapes.ScreenSample | None:
        """One member with the text on the lock screen."""
        found = await self._rows(
            shapes.ScreenSample,
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
