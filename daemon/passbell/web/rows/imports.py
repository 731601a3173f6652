"""Member imports and their rows."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads them at run time
from uuid import UUID  # noqa: TC003

from passbell.web.rows.base import Shape

__all__ = ["ImportCard", "ImportRow", "Problem"]


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
