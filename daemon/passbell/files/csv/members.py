"""Member lists: every row as typed, checked values, with a sentence for each cell that was not taken.

The file is read three times: for its encoding (`sniff`), for what only the whole column can tell (`_Survey`:
the date order, and which rows are overtaken by a later one), and for the rows. Memory does not grow with the
file, but for 16 MB of the survey. Nothing is guessed: a value that could be wrong is left out, and said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import phonenumbers

from passbell.files.csv import contact, headers
from passbell.files.csv.cells import clean_code, is_missing_code, is_scientific
from passbell.files.csv.consent import Consent
from passbell.files.csv.dateorder import DateColumn, DateRule, Decision
from passbell.files.csv.duplicates import LastRows
from passbell.files.csv.layout import Layout, sniff, unknown_columns
from passbell.files.csv.memberrows import MemberRow, RowReader, id_key, is_blank, too_wide
from passbell.files.csv.refusal import TooManyRows
from passbell.files.csv.source import Source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from datetime import date

    from passbell.files.csv.dates import Order
    from passbell.files.csv.records import Record

DEFAULT_MAX_ROWS: Final = 2_000_000
_NEEDED: Final = 'A member list needs a column "email" or "external_id" (also called "member_id").'


@dataclass(frozen=True, slots=True)
class MemberFile:
    """A member list that was understood. Iterating opens the file anew and gives its rows in order."""

    layout: Layout
    decisions: tuple[Decision, ...]
    total: int  # data rows that are not blank
    notes: tuple[str, ...]  # what was counted: consent, birthdays without a year
    _source: Source
    _rows: RowReader

    def __iter__(self) -> Iterator[MemberRow]:
        with self.layout.open(self._source) as records:
            for record in records:
                if row := self._rows.read(record):
                    yield row


def read_members(
    file: str | os.PathLike[str] | IO[bytes] | Source,
    *,
    default_region: str = "US",
    date_order: Order | None = None,
    today: date,
    code_page: str = "cp1252",
    encoding: str | None = None,
    max_rows: int = DEFAULT_MAX_ROWS,
) -> MemberFile:
    """Understand a member list; the rows come from iterating over the result.

    Args:
        file: a path or a binary stream, which must stay open while the rows are read.
        default_region: ISO 3166 code of the program, for phones without a country code and undecided dates.
        date_order: the program's setting, used only if the dates themselves allow more than one order.
        today: the local date of the program; later birth dates are refused.
        code_page: what a file is taken for that has no mark, is not UTF-8, and looks like nothing else.
        encoding: the encoding that a person has named.
        max_rows: more rows raise `TooManyRows`.

    Raises:
        CsvError: NotCsv, UnknownColumns, AmbiguousDates, TooManyRows, or no such encoding; the file is refused.
        ValueError: no such region.
    """
    region = contact.ALIASES.get(default_region.upper(), default_region.upper())
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{default_region!r} is not the two-letter code of a region")
    source = Source(file)
    layout = sniff(source, code_page=code_page, encoding=encoding, region=region)
    columns = dict(layout.columns)
    decisions: list[Decision] = []
    for name in ("pass_id", "id"):
        if layout.has_header and name in columns and not {"email", "external_id"} & columns.keys():
            columns["external_id"] = columns[name]
            reason = f"there is neither an e-mail nor a member id, so {layout.header[columns[name]]} is used"
            decisions.append(Decision("external_id", f"column {layout.header[columns[name]]}", reason))
    if not layout.has_header or not {"email", "external_id"} & columns.keys():
        raise unknown_columns(layout.header, _NEEDED)
    survey = _Survey(layout, columns, today, source.size(), max_rows)
    with layout.open(source) as records:
        survey.take(records)
    rule: DateRule | None = None
    if survey.dates is not None:
        hint = headers.order_hint(layout.header[columns["birth_date"]])
        rule = survey.dates.decide(date_order, hint, region)
        if rule.decision is not None:
            decisions.append(rule.decision)
    rows = RowReader(layout, columns, region, rule, survey.last, consent=survey.consent)
    return MemberFile(layout, tuple(decisions), survey.total, tuple(survey.notes()), source, rows)


class _Survey:
    """The first pass: counts, evidence about dates, and the last row of every e-mail and id."""

    def __init__(
        self, layout: Layout, columns: dict[str, int], today: date, size: int, max_rows: int
    ) -> None:
        self.total = 0
        self.last = LastRows(size)
        self._birth = columns.get("birth_date", -1)
        self.dates = DateColumn(layout.header[self._birth], today) if self._birth >= 0 else None
        used = {*layout.columns.values(), *(index for more in layout.more.values() for index in more)}
        others = [
            i for i, name in enumerate(layout.header) if i not in used and i not in layout.consent and name
        ]
        self.consent = Consent.of(layout.header, layout.consent, others)
        self._emails = (columns["email"], *layout.more.get("email", ())) if "email" in columns else ()
        self._id = columns.get("external_id", -1)
        self._width = layout.width
        self._max_rows = max_rows

    def take(self, records: Iterator[Record]) -> None:
        """Read all records once. A row with a bad value still overtakes older ones: it was meant to win."""
        birth, emails, id_at, width = self._birth, self._emails, self._id, self._width
        dates, add, consent = self.dates, self.last.add, self.consent
        for row_number, cells, problem in records:
            if is_blank(cells):
                continue
            self.total += 1
            if self.total > self._max_rows:
                raise TooManyRows(f"The list has more than {self._max_rows:,} rows.")
            count = len(cells)
            if problem is not None or (count > width and too_wide(cells, width)):
                continue
            if consent.columns:
                consent.count(cells)
            if key := next((key for at in emails if at < count and (key := _email_key(cells[at]))), None):
                add(key, row_number)
            if 0 <= id_at < count and (key := _id_key(cells[id_at])):
                add(key, row_number)
            if dates is not None and birth < count:
                text = clean_code(cells[birth])
                if not is_missing_code(text):
                    dates.add(row_number, text)

    def notes(self) -> list[str]:
        """Say what was counted."""
        notes = self.consent.notes()
        if not self.total:
            notes.append("There is no row below the header: the file has columns and no members.")
        if self.dates is not None and (count := self.dates.without_year):
            notes.append(
                f"Birthdays without a year: {count:,}. They are not stored; add the year to have them."
            )
        return notes


def _email_key(cell: str) -> str | None:
    text = clean_code(cell)
    return None if is_missing_code(text) else contact.read_email(text).value


def _id_key(cell: str) -> str | None:
    text = clean_code(cell)
    return None if is_missing_code(text) or is_scientific(text) else id_key(text)
