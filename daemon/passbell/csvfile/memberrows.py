"""One row of a member list: from its cells to checked values, with a sentence for each cell not taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from passbell.csvfile import contact
from passbell.csvfile.cells import (
    SCIENTIFIC_ADVICE,
    clean_code,
    clean_words,
    is_missing,
    is_missing_code,
    is_scientific,
    shorten,
)
from passbell.csvfile.dates import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from passbell.csvfile.dateorder import DateRule
    from passbell.csvfile.duplicates import LastRows
    from passbell.csvfile.records import Record

MAX_WORDS: Final = 200  # characters of a name, a city or an id


class Problem(NamedTuple):
    """A cell that was not taken, and why. `column` is a field or "" (the row); `fatal` rejects the row."""

    column: str
    value: str
    reason: str
    fatal: bool


class MemberRow(NamedTuple):
    """One row. None means: leave what is stored alone. `cells` are the original ones, for rejects.

    `superseded_by` is the row that wins over this one (same e-mail, or same id without an e-mail of its own);
    such a row also has a fatal problem.
    """

    row_number: int
    external_id: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    birth_date: date | None = None
    zip: str | None = None
    city: str | None = None
    marketing_opt_in: bool | None = None
    problems: tuple[Problem, ...] = ()
    cells: tuple[str, ...] = ()
    superseded_by: int | None = None

    @property
    def rejected(self) -> bool:
        """True if nothing of this row may be used."""
        return any(problem.fatal for problem in self.problems)

    @property
    def reason(self) -> str:
        """All problems in one line: `row 17: birth_date "31/02/1990": there is no such day`."""
        parts = [
            f'{problem.column} "{problem.value}": {problem.reason}' if problem.column else problem.reason
            for problem in self.problems
        ]
        return f"row {self.row_number}: {'; '.join(parts)}"


def id_key(external_id: str) -> str:
    """Give the key under which `LastRows` knows an id: ids are matched without regard to case.

    The NUL keeps an id from being taken for an e-mail address.
    """
    return f"\0{external_id.casefold()}"


def is_blank(cells: list[str]) -> bool:
    """Say whether nothing can be seen in the row."""
    return not any(map(clean_code, cells))


def too_wide(cells: list[str], width: int) -> bool:
    """Say whether there is something in cells beyond the header; trailing delimiters are harmless."""
    return len(cells) > width and any(clean_words(cell) for cell in cells[width:])


class RowReader:
    """The second pass over a file: turns the cells of one record into a `MemberRow`."""

    def __init__(
        self, width: int, columns: dict[str, int], region: str, rule: DateRule | None, last: LastRows
    ) -> None:
        self._width = width
        self._columns = columns
        self._region = region
        self._birth_date: Callable[[str], date | Unreadable] | None = rule.cached() if rule else None
        self._last = last

    def read(self, record: Record) -> MemberRow | None:
        """Read one record; None if all its cells are blank."""
        row_number, cells, problem = record
        original = tuple(cells)
        if problem is None and len(cells) > self._width and too_wide(cells, self._width):
            problem = (
                f"the row has {len(cells)} cells and the header {self._width}; "
                "a cell with the delimiter in it must stand in quotes"
            )
        if problem is not None:
            return MemberRow(
                row_number, problems=(Problem("", shorten(cells[0]), problem, fatal=True),), cells=original
            )
        if is_blank(cells):
            return None
        problems: list[Problem] = []
        email = self._checked(cells, "email", problems)
        external_id = self._external_id(cells, problems)
        external_id, superseded = self._overtaken(row_number, email, external_id, problems)
        row = MemberRow(
            row_number,
            external_id,
            email,
            self._words(cells, "first_name", problems),
            self._words(cells, "last_name", problems),
            self._checked(cells, "phone", problems),
            self._date(cells, problems),
            self._checked(cells, "zip", problems),
            self._words(cells, "city", problems),
            self._opt_in(cells, problems),
            (),
            original,
            superseded,
        )
        if email is None and external_id is None and not any(problem.fatal for problem in problems):
            problems.append(
                Problem("", "", "the row has neither a usable e-mail address nor a member id", fatal=True)
            )
        return row._replace(problems=tuple(problems)) if problems else row

    def _code(self, cells: list[str], field: str) -> str | None:
        index = self._columns.get(field)
        if index is None or index >= len(cells) or not cells[index]:
            return None
        text = clean_code(cells[index])
        return None if is_missing_code(text) else text

    def _checked(self, cells: list[str], field: str, problems: list[Problem]) -> str | None:
        text = self._code(cells, field)
        if text is None:
            return None
        if field == "email":
            value, reason, fatal = contact.read_email(text)
        elif field == "phone":
            value, reason, fatal = contact.read_phone(text, self._region)
        else:
            value, reason, fatal = contact.read_zip(text, self._region)
        if reason is not None:
            problems.append(Problem(field, shorten(text), reason, fatal))
        return value

    def _external_id(self, cells: list[str], problems: list[Problem]) -> str | None:
        text = self._code(cells, "external_id")
        if text is None:
            return None
        if is_scientific(text):
            problems.append(Problem("external_id", text, SCIENTIFIC_ADVICE, fatal=True))
            return None
        if len(text) > MAX_WORDS:
            reason = f"an id is not longer than {MAX_WORDS} characters"
            problems.append(Problem("external_id", shorten(text), reason, fatal=True))
            return None
        return text

    def _overtaken(
        self, row_number: int, email: str | None, external_id: str | None, problems: list[Problem]
    ) -> tuple[str | None, int | None]:
        """Let the last row win, so that reading the same file twice ends in the same state."""
        if email is not None and (later := self._last.later(email, row_number)):
            reason = f"row {later} has the same e-mail address; the last row wins"
            problems.append(Problem("email", email, reason, fatal=True))
            return external_id, later
        if external_id is not None and (later := self._last.later(id_key(external_id), row_number)):
            reason = f"row {later} has the same member id; the last row wins"
            problems.append(Problem("external_id", external_id, reason, fatal=email is None))
            return (None, None) if email is not None else (external_id, later)
        return external_id, None

    def _words(self, cells: list[str], field: str, problems: list[Problem]) -> str | None:
        index = self._columns.get(field)
        if index is None or index >= len(cells) or not cells[index]:
            return None
        text = clean_words(cells[index])
        if is_missing(text):
            return None
        if "\ufffd" in text:
            problems.append(
                Problem(
                    field, shorten(text), "a character of this was damaged before it came here", fatal=False
                )
            )
            return None
        if len(text) > MAX_WORDS:
            reason = f"this is longer than {MAX_WORDS} characters"
            problems.append(Problem(field, shorten(text), reason, fatal=False))
            return None
        return text

    def _date(self, cells: list[str], problems: list[Problem]) -> date | None:
        text = self._code(cells, "birth_date")
        if text is None or self._birth_date is None:
            return None
        day = self._birth_date(text)
        if isinstance(day, Unreadable):
            problems.append(Problem("birth_date", shorten(text), day.reason, fatal=False))
            return None
        return day

    def _opt_in(self, cells: list[str], problems: list[Problem]) -> bool | None:
        text = self._code(cells, "marketing_opt_in")
        if text is None:
            return None
        value, reason = contact.read_opt_in(text)
        if reason is not None:
            problems.append(Problem("marketing_opt_in", shorten(text), reason, fatal=False))
        return value
