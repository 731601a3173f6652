"""One row of a member list: from its cells to checked values, with a sentence for each cell not taken."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from passbell.files.csv import contact, names
from passbell.files.csv.cells import (
    SCIENTIFIC_ADVICE,
    clean_code,
    clean_words,
    is_missing,
    is_missing_code,
    is_scientific,
    shorten,
)
from passbell.files.csv.dates import Unreadable
from passbell.files.csv.words import fold, owner_of, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from passbell.files.csv.consent import Consent
    from passbell.files.csv.dateorder import DateRule
    from passbell.files.csv.duplicates import LastRows
    from passbell.files.csv.layout import Layout
    from passbell.files.csv.records import Record

MAX_WORDS: Final = 200  # characters of a name, a city or an id


TOTALS: Final = "this looks like the row of totals below a table, not like a member"
HEADER_AGAIN: Final = "this row repeats the header; delete it"
_DIGIT_OR_AT = re.compile(r"[\d@]")
_ERROR_CELL = re.compile(r"=.+|#{2,}|#(ref|value|name|n/a|num|div/0)[!?]?", re.IGNORECASE)
ERROR_CELL: Final = (
    "this is what a spreadsheet shows instead of the value (a formula, an error, or a column too narrow for its "
    "number); copy the column, paste it as values and save again"
)
LINE_BREAK: Final = (
    'there is a line break in this cell; a quote (") may be opened in this row and closed in a later one'
)


class Problem(NamedTuple):
    """A cell that was not taken, and why. `column` is a field or "" (the row); `fatal` rejects the row."""

    column: str
    value: str
    reason: str
    fatal: bool


class MemberRow(NamedTuple):
    """One row. None means: leave what is stored alone. `cells` are the original ones, for rejects.

    `superseded_by` is the row that wins over this one (same e-mail, or same id without an e-mail of its own);
    such a row also has a fatal problem. `unsure` are fields whose value is a guess (of the code page, of where a
    full name parts): they fill what is empty and overwrite nothing.
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
    unsure: tuple[str, ...] = ()

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
        self,
        layout: Layout,
        columns: dict[str, int],
        region: str,
        rule: DateRule | None,
        last: LastRows,
        *,
        consent: Consent,
    ) -> None:
        self._width = layout.width
        self._columns = {name: (index, *layout.more.get(name, ())) for name, index in columns.items()}
        self._sure = layout.sure
        self._region = region
        self._birth_date: Callable[[str], date | Unreadable] | None = rule.cached() if rule else None
        self._last = last
        self._consent = consent
        self._refused: dict[int, int] = {}  # row that wins: an earlier one of the same member that says no
        self._addresses = _addresses(self._columns, layout.header)
        self._header = [fold(name) for name in layout.header]

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
        if reason := self._no_member(cells):
            first = next(filter(None, map(clean_words, cells)), "")
            return MemberRow(
                row_number, problems=(Problem("", shorten(first), reason, fatal=True),), cells=original
            )
        problems = self._broken(cells)
        email = self._first_of(cells, "email", contact.read_email, problems)
        external_id = self._external_id(cells, problems)
        external_id, superseded = self._overtaken(row_number, email, external_id, problems)
        first_name, last_name, split = self._names(cells, problems)
        region = self._region_of(cells)
        phone = self._first_of(cells, "phone", lambda text: contact.read_phone(text, region), problems)
        birth_date = self._date(cells, problems)
        zip_code, city = self._address(cells, region, problems)
        says, unknown = self._consent.read(cells)
        if superseded is not None and says is False:
            self._refused[superseded] = row_number
        elif says is not False and (refused := self._refused.get(row_number)):
            says = False
            problems.append(
                Problem("marketing_opt_in", "", f"row {refused} is the same member and says no", fatal=False)
            )
        problems += [Problem(column, value, reason, fatal=False) for column, value, reason in unknown]
        words = {"first_name": first_name, "last_name": last_name, "city": city}
        row = MemberRow(
            row_number,
            external_id,
            email,
            first_name,
            last_name,
            phone,
            birth_date,
            zip_code,
            city,
            says,
            (),
            original,
            superseded,
            tuple(
                name
                for name, value in words.items()
                if value is not None and ((not self._sure and not value.isascii()) or name in split)
            ),
        )
        if email is None and external_id is None and not any(problem.fatal for problem in problems):
            problems.append(
                Problem("", "", "the row has neither a usable e-mail address nor a member id", fatal=True)
            )
        return row._replace(problems=tuple(problems)) if problems else row

    def _no_member(self, cells: list[str]) -> str | None:
        """Say that a row is the header once more (two lists glued together), or the totals below a table."""
        first = next((cell for cell in cells if cell), "")
        name = first.partition(":")[0]
        if _DIGIT_OR_AT.search(name):
            return None
        folded = fold(name)
        if folded in self._header:
            same = [fold(cell) == name for cell, name in zip(cells, self._header, strict=False) if cell]
            return HEADER_AGAIN if len(same) > 1 and all(same) else None
        at = self._columns.get("external_id", (-1,))[0]
        named = clean_code(cells[at]) if 0 <= at < len(cells) else ""
        if folded not in _totals() or (named and named != clean_code(first)) or "@" in "".join(cells):
            return None
        return TOTALS

    def _broken(self, cells: list[str]) -> list[Problem]:
        """Reject a row whose e-mail or id goes over several lines: a quote swallowed rows, or was cut there."""
        return [
            Problem(field, shorten(clean_code(cells[index])), LINE_BREAK, fatal=True)
            for field in ("email", "external_id")
            for index in self._columns.get(field, ())[:1]
            if index < len(cells) and ("\n" in cells[index].strip() or "\r" in cells[index].strip())
        ]

    def _code(self, cells: list[str], index: int) -> str | None:
        if index >= len(cells) or not cells[index]:
            return None
        text = clean_code(cells[index])
        return None if is_missing_code(text) else text

    def _first_of(
        self, cells: list[str], field: str, read: Callable[[str], contact.Read], problems: list[Problem]
    ) -> str | None:
        """Read the field's columns in turn until one gives a value; else say what is wrong with the first."""
        wrong: Problem | None = None
        for index in self._columns.get(field, ()):
            if (text := self._code(cells, index)) is None:
                continue
            value, reason, fatal = read(text)
            if reason is None:
                return value
            wrong = wrong or Problem(field, shorten(text), reason, fatal)
        if wrong is not None:
            problems.append(wrong)
        return None

    def _region_of(self, cells: list[str]) -> str:
        for index in self._columns.get("country", ()):
            if index < len(cells) and cells[index] and (region := contact.region_of(cells[index])):
                return region
        return self._region

    def _address(
        self, cells: list[str], region: str, problems: list[Problem]
    ) -> tuple[str | None, str | None]:
        """Read zip and city of the first address that has one of them: home, then billing, then the office."""
        for zip_at, city_at in self._addresses:
            text = self._code(cells, zip_at) if zip_at >= 0 else None
            city = self._word(cells, city_at, "city", problems) if city_at >= 0 else None
            if text is None and city is None:
                continue
            if text is None:
                return None, city
            value, reason, _ = contact.read_zip(text, region)
            if reason is not None:
                problems.append(Problem("zip", shorten(text), reason, fatal=False))
            return value, city
        return None, None

    def _external_id(self, cells: list[str], problems: list[Problem]) -> str | None:
        index = self._columns.get("external_id", (-1,))[0]
        text = self._code(cells, index) if index >= 0 else None
        if text is None:
            return None
        if is_scientific(text) or _ERROR_CELL.fullmatch(text):
            advice = SCIENTIFIC_ADVICE if is_scientific(text) else ERROR_CELL
            problems.append(Problem("external_id", text, advice, fatal=True))
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

    def _names(
        self, cells: list[str], problems: list[Problem]
    ) -> tuple[str | None, str | None, frozenset[str]]:
        """Read first and last name; the set names those that were split from a full name."""
        first, last, infix, full = (
            next(
                (
                    text
                    for index in self._columns.get(field, ())
                    if (text := self._word(cells, index, field, problems)) is not None
                ),
                None,
            )
            for field in ("first_name", "last_name", "infix", "name")
        )
        if last is not None and infix is not None:
            last = f"{infix} {last}"
        if full is None or (first is not None and last is not None):
            return first, last, frozenset()
        given = {"first_name": first, "last_name": last}
        first, last = names.complete(first, last, full)
        return first, last, frozenset(name for name, value in given.items() if value is None)

    def _word(self, cells: list[str], index: int, field: str, problems: list[Problem]) -> str | None:
        if index >= len(cells) or not cells[index]:
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
        index = self._columns.get("birth_date", (-1,))[0]
        text = self._code(cells, index) if index >= 0 else None
        if text is None or self._birth_date is None:
            return None
        day = self._birth_date(text)
        if isinstance(day, Unreadable):
            problems.append(Problem("birth_date", shorten(text), day.reason, fatal=False))
            return None
        return day


@cache
def _totals() -> frozenset[str]:
    """Give the words that begin a row of totals, folded."""
    return frozenset(fold(word) for _, words in table("totals.tsv") for word in words.split(","))


def _addresses(columns: Mapping[str, tuple[int, ...]], header: tuple[str, ...]) -> list[tuple[int, int]]:
    """Pair the columns of zip and city that belong to one address, by the words before their names."""
    pairs: dict[str, list[int]] = {}
    for place, field in enumerate(("zip", "city")):
        for index in columns.get(field, ()):
            pairs.setdefault(owner_of(header[index]), [-1, -1])[place] = index
    return [(zip_at, city_at) for zip_at, city_at in pairs.values()]
