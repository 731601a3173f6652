"""Options that several commands take, and how dates and times are written on the command line."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DAY", "MONTH", "TARGETS", "TIME", "any_program_option", "program_option"]

TARGETS: Final = (
    "Who: ALL, VIP, WHALE:500, LOCAL:90210, IDS:M-1,M-2, VIP & SLUMBER:30; an unknown name prints all."
)
program_option = click.option(
    "--program",
    required=True,
    metavar="ID",
    help="The program: its id, its PassKit program id or its exact name.",
)
any_program_option = click.option(
    "--program", metavar="ID", help="Only this program: its id, its PassKit program id or its exact name."
)

When = TypeVar("When", bound=date)


class _Written(click.ParamType[When]):
    """A date or time as ISO 8601 writes it."""

    def __init__(self, name: str, read: Callable[[str], When], example: str) -> None:
        self.name = name
        self._read = read
        self._example = example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> When:
        """Read what was written."""
        try:
            return self._read(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a {self.name}; write it like {self._example}", param, ctx)


DAY: Final = _Written("date", date.fromisoformat, "2026-12-24")
MONTH: Final = _Written("month", lambda text: date.fromisoformat(f"{text}-01"), "2026-11")
"""A month as its first day."""
TIME: Final = _Written(
    "time",
    lambda text: datetime.fromisoformat(text).astimezone(),
    "2026-12-24T18:00 or 2026-12-24T18:00+01:00",
)
"""A time; one without a zone is the reader's own local time."""
