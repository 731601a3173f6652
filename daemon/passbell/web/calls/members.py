"""Member imports, and members who get no messages for now."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from passbell.errors import CampaignError
from passbell.web import rows as shapes
from passbell.web.calls.base import Asked

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MemberCalls"]


class MemberCalls(Asked):
    """Member imports, and members who get no messages for now."""

    async def suppressions(self, program: UUID) -> list[shapes.Suppression]:
        """Those of a program, newest first."""
        return await self._rows(
            shapes.Suppression,
            "select * from passbell.suppression_list(p_program => %(program)s)",
            {"program": program},
        )

    async def suppression(self, row: UUID) -> shapes.Suppression:
        """One of them."""
        found = await self._rows(
            shapes.Suppression,
            "select * from passbell.suppression_list(p_program => null, p_id => %(id)s)",
            {"id": row},
        )
        if not found:
            raise CampaignError(f"There is no suppression {row}.", "PB404")
        return found[0]

    async def suppress(
        self, owner: str, program: UUID, member: str, until: datetime | None, reason: str | None
    ) -> shapes.Suppression:
        """Add a member."""
        made = await self._value(
            "select passbell.suppress(p_owner => %(owner)s, p_program => %(program)s,"
            " p_external_id => %(external_id)s, p_until => %(until)s, p_reason => %(reason)s)",
            {"owner": owner, "program": program, "external_id": member, "until": until, "reason": reason},
        )
        return await self.suppression(UUID(str(made)))

    async def unsuppress(self, owner: str, row: UUID) -> None:
        """Remove a row."""
        await self._database.fetch(
            "select passbell.unsuppress(p_owner => %(owner)s, p_id => %(id)s)", {"owner": owner, "id": row}
        )

    async def imports(self) -> list[shapes.ImportCard]:
        """The last imports."""
        return await self._rows(shapes.ImportCard, "select * from passbell.import_cards()")

    async def member_import(self, import_id: UUID) -> shapes.ImportCard:
        """One import."""
        found = await self._rows(
            shapes.ImportCard,
            "select * from passbell.import_cards(p_import => %(import)s)",
            {"import": import_id},
        )
        if not found:
            raise CampaignError(f"There is no import {import_id}.", "PB404")
        return found[0]

    async def import_report(
        self, import_id: UUID, after: int = 0, limit: int = 200
    ) -> list[shapes.ImportRow]:
        """Rows with a problem."""
        return await self._rows(
            shapes.ImportRow,
            "select * from passbell.import_report(p_import => %(import)s, p_after => %(after)s,"
            " p_limit => %(limit)s)",
            {"import": import_id, "after": after, "limit": limit},
        )

    async def cancel_import(self, owner: str, import_id: UUID) -> None:
        """End an import; what was applied stays."""
        await self._database.fetch(
            "select passbell.cancel_import(p_owner => %(owner)s, p_import => %(import)s)",
            {"owner": owner, "import": import_id},
        )
