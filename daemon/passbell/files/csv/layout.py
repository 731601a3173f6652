"""How a file is laid out: encoding, delimiter, header, and which column is which.

The delimiter is the one that yields known headers; statistics over the data are only asked when no header is
known. The header is the first row that names columns. A row of data with the words Email or City in it is not taken for
one, because the cells below an e-mail header are addresses, and because only titles may come before a header.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TYPE_CHECKING, Final

from passbell.files.csv import charset, headers, refusal
from passbell.files.csv.cells import clean_code, clean_words, shorten
from passbell.files.csv.records import LONG_LINE, SEP_LINE, Record, records, unwrap
from passbell.files.csv.refusal import UnknownColumns
from passbell.files.csv.source import Source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_CHARS: Final = 1 << 19
SAMPLE_RECORDS: Final = 20
_TITLE_CELLS = 2  # more filled cells make a row of data, or a header
_STEADY = 0.9
REASON_HEADER: Final = "passbell_reason"
_WITH_DIGIT = re.compile(r"\S*\d\S*")
# What at least one of the cells below a header must hold, if any of them is filled.
_EVIDENCE: Final = {
    "email": re.compile("@"),
    "phone": re.compile(r"\d"),
    "birth_date": re.compile(r"\d"),
    "zip": re.compile(r"\d"),
    "external_id": re.compile(r"\w"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What `sniff` found. `columns` maps a known field to its index; `notes` are for the admin.

    `more` are columns that are read where that one is empty, `consent` all those that say who may be sent
    marketing. A list without a header has `header == ()`, `has_header` False and its ids in column 0.
    `header_row` is the header's row number (0 without one): records up to it are not data. `sure` is False when
    the encoding is a guess that would make other names of the same bytes.
    """

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    columns: Mapping[str, int]
    notes: list[str] = field(default_factory=list)
    has_header: bool = True
    header_row: int = 1
    errors: str = "strict"
    wrapped: bool = False
    sep_line: bool = False
    more: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    consent: tuple[int, ...] = ()
    sure: bool = True

    @property
    def width(self) -> int:
        """Number of columns, 0 if there is no header to tell."""
        return len(self.header)

    @contextmanager
    def open(self, source: Source) -> Iterator[Iterator[Record]]:
        """Open the data rows (after the header) of the file this layout was sniffed from."""
        with source.text(self.encoding, self.errors) as text:
            rows = records(text, self.delimiter, wrapped=self.wrapped, skip_sep_line=self.sep_line)
            if self.header_row:
                for row_number, _cells, _problem in rows:
                    if row_number >= self.header_row:
                        break
            yield rows


@dataclass(frozen=True, slots=True)
class _Guess:
    """One delimiter tried on the beginning of the file."""

    delimiter: str
    rows: list[Record]
    header_at: int  # index into rows, -1 = no known header
    known: int
    wrapped: bool

    @property
    def score(self) -> tuple[int, int]:
        """Known columns first, then all columns."""
        return self.known, len(self.rows[self.header_at][1]) if self.known else 0


def _take(sample: str, delimiter: str, *, sep_line: bool) -> list[Record]:
    text = io.StringIO(sample, newline="")
    filled = (
        record
        for record in records(text, delimiter, skip_sep_line=sep_line)
        if any(map(str.strip, record[1]))
    )
    return list(islice(filled, SAMPLE_RECORDS))


def _filled(cells: Sequence[str]) -> int:
    return sum(1 for cell in cells if cell.strip())


def _named(cells: Sequence[str], below: Sequence[Record]) -> int:
    """Count the cells that name a known column, and have below them what such a column holds."""
    count = 0
    for index, cell in enumerate(cells):
        if (name := headers.field_of(clean_words(cell))) is None:
            continue
        if evidence := _EVIDENCE.get(name):
            values = [text for _, row, _ in below if index < len(row) and (text := clean_code(row[index]))]
            if values and not any(evidence.search(value) for value in values):
                continue
        count += 1
    return count


def _try(delimiter: str, rows: list[Record]) -> _Guess:
    """Look for a header among the first records: as they are, then with each line taken out of its one quoted cell."""
    for wrapped in (False, True):
        taken = _unwrapped(rows, delimiter) if wrapped else rows
        for at, (_, cells, _) in enumerate(taken or ()):
            above = max((_filled(row) for _, row, _ in rows[:at]), default=0)
            if above > _TITLE_CELLS and not _is_stamp(rows[0][1]):
                break
            if at and above >= _filled(cells) and not _is_stamp(rows[0][1]):
                if any(
                    looks_like_id(text)
                    for _, row, _ in rows[: at + 1]
                    for cell in row
                    if (text := clean_words(cell))
                ):
                    break
                continue  # a second line of the title: "Generated 01/02/2026"
            if known := _named(cells, taken[at + 1 :]):
                if _filled(cells) == 1 and any(_named(row, ()) > 1 for _, row, _ in taken[at + 1 : at + 3]):
                    continue  # a title that is the name of a column: "Newsletter"
                return _Guess(delimiter, taken, at, known, wrapped)
    return _Guess(delimiter, rows, -1, 0, wrapped=False)


def _is_stamp(cells: Sequence[str]) -> bool:
    """Say whether the first line is the one that DATEV writes above its header, with many cells."""
    return cells[0].strip() in {"EXTF", "DTVF"}


def _unwrapped(rows: list[Record], delimiter: str) -> list[Record]:
    """Take each line out of its one quoted cell; nothing unless nearly all of them are such."""
    lone = [record for record in rows if not any(record[1][1:])]
    taken = [
        (number, unwrap(cells[0], delimiter), problem) if not any(cells[1:]) else (number, cells, problem)
        for number, cells, problem in rows
    ]
    inner = sum(1 for _, cells, _ in taken if len(cells) > 1)
    return taken if 2 * len(lone) > len(rows) and inner >= _STEADY * len(rows) else []


def _steadiness(guess: _Guess) -> tuple[bool, int]:
    """For files without a known header: do nearly all sample rows have the same number of cells?"""
    widths = Counter(len(cells) for _, cells, _ in guess.rows)
    width, count = widths.most_common(1)[0]
    return width > 1 and count >= _STEADY * len(guess.rows), width


def looks_like_id(text: str) -> bool:
    """Say whether a cell may be a member id: one word with a digit in it."""
    return _WITH_DIGIT.fullmatch(text) is not None


def sniff(
    file: str | os.PathLike[str] | IO[bytes] | Source,
    *,
    code_page: str = "cp1252",
    encoding: str | None = None,
    region: str | None = None,
) -> Layout:
    """Find out how the file is laid out. Reads all of it once (for the encoding) and keeps none of it.

    `encoding` is the one that a person has named; `region` helps to guess it, `code_page` is the last resort.
    Raises `NotCsv` if it is not a CSV. A table without one known column gives a layout with empty `columns`.
    """
    source = Source(file)
    refusal.check_bytes(source.head(charset.HEAD_BYTES), source)
    found = charset.detect(source, code_page, encoding=encoding, region=region)
    with source.text(found.encoding, found.errors) as text:
        sample = text.read(SAMPLE_CHARS)
    refusal.check_text(sample[: charset.HEAD_BYTES])
    notes = list(found.notes)
    sep = SEP_LINE.match(sample.split("\n", 1)[0].split("\r", 1)[0] + "\n")
    candidates = tuple(dict.fromkeys((sep[1], *DELIMITERS))) if sep else DELIMITERS
    guesses = [
        _try(delimiter, rows)
        for delimiter in candidates
        if (rows := _take(sample, delimiter, sep_line=sep is not None))
    ]
    if not guesses:
        raise refusal.refuse("empty")
    best = max(guesses, key=lambda guess: guess.score)
    if best.known:
        return _with_header(best, found, notes, sep_line=sep is not None)
    best = max(guesses, key=_steadiness)
    if not _steadiness(best)[0]:
        best = guesses[0]
    return _without_header(best, found, notes, sep_line=sep is not None)


def _with_header(guess: _Guess, found: charset.Charset, notes: list[str], *, sep_line: bool) -> Layout:
    row_number, cells, _ = guess.rows[guess.header_at]
    header = tuple(clean_words(name.replace('"', "")) for name in cells)
    while header and not header[-1]:
        header = header[:-1]
    columns = headers.match(header, [row for _, row, _ in guess.rows[guess.header_at + 1 :]])
    if guess.header_at:
        notes.append(f"{row_number - 1} rows above the header (row {row_number}) were skipped.")
    if guess.wrapped:
        notes.append("Every line was one quoted cell (a Google Sheets accident); the lines were taken apart.")
    notes.extend(columns.notes)
    used = {
        *columns.first.values(),
        *columns.consent,
        *(index for more in columns.more.values() for index in more),
    }
    unused = [
        shorten(name, 40) for i, name in enumerate(header) if i not in used and name and name != REASON_HEADER
    ]
    if unused:
        notes.append(f"Columns not used: {', '.join(unused)}.")
    return Layout(
        encoding=found.encoding,
        errors=found.errors,
        delimiter=guess.delimiter,
        header=header,
        columns=columns.first,
        notes=notes,
        header_row=row_number,
        wrapped=guess.wrapped,
        sep_line=sep_line,
        more=columns.more,
        consent=columns.consent,
        sure=found.sure,
    )


def _without_header(guess: _Guess, found: charset.Charset, notes: list[str], *, sep_line: bool) -> Layout:
    row_number, first, problem = guess.rows[0]
    if problem == LONG_LINE:
        raise refusal.refuse("long line")
    cells = [clean_words(cell) for cell in first]
    headerless = not any(cells[1:]) or looks_like_id(cells[0])
    matched = headers.match([] if headerless else cells, [row for _, row, _ in guess.rows[1:]])
    notes += matched.notes
    if headerless:
        notes.append("The list has no header; its first row was taken as data and its first column as ids.")
    return Layout(
        encoding=found.encoding,
        errors=found.errors,
        delimiter=guess.delimiter,
        header=() if headerless else tuple(cells),
        columns={"external_id": 0} if headerless else matched.first,
        consent=matched.consent,
        more=matched.more,
        notes=notes,
        has_header=not headerless,
        header_row=0 if headerless else row_number,
        sep_line=sep_line,
        sure=found.sure,
    )


def unknown_columns(header: Sequence[str], needed: str) -> UnknownColumns:
    """Build the refusal of a table that lacks what the caller needs."""
    names = ", ".join(f'"{shorten(name, 40)}"' for name in header[:12] if name)
    found = f"The columns are: {names}." if names else "The file has no header row."
    return UnknownColumns(f"{found} {needed}")
