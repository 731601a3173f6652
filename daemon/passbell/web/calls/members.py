"""Member imports, and members who get no messages for now."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it at run time
from uuid import UUID

from passbell.web.calls.base import Asked, Shape

__all__ = ["ImportCard", "ImportRow", "MemberCalls", "Problem", "Suppression"]


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


class MemberCalls(Asked):
    """Member imports, and members who get no messages for now."""

    async def suppressions(self, program: UUID) -> list[Suppression]:
        """Those of a program, newest first."""
        return await self._rows(
            Suppression,
            "select * from passbell.suppression_list(p_program => %(program)s)",
            {"program": program},
        )

    async def suppression(self, row: UUID) -> Suppression:
        """One of them."""
        return await self._one(
            Suppression,
            "select * from passbell.suppression_list(p_program => null, p_id => %(id)s)",
            {"id": row},
            missing=f"There is no suppression {row}.",
        )

    async def suppress(
        self, owner: str, program: UUID, member: str, until: datetime | None, reason: str | None
    ) -> Suppression:
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

    async def imports(self) -> list[ImportCard]:
        """The last imports."""
        return await self._rows(ImportCard, "select * from passbell.import_cards()")

    async def member_import(self, import_id: UUID) -> ImportCard:
        """One import."""
        return await self._one(
            ImportCard,
            "select * from passbell.import_cards(p_import => %(import)s)",
            {"import": import_id},
            missing=f"There is no import {import_id}.",
        )

    async def import_report(self, import_id: UUID, after: int = 0, limit: int = 200) -> list[ImportRow]:
        """Rows with a problem."""
        return await self._rows(
            ImportRow,
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
