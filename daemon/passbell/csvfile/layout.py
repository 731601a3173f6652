"""How a file is laid out: encoding, delimiter, header, and which column is which.

The delimiter is the one that yields known headers; statistics over the data are only asked when no header is
known.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TYPE_CHECKING, Final

from passbell.csvfile import charset, headers, refusal
from passbell.csvfile.cells import clean_words, shorten
from passbell.csvfile.errors import UnknownColumns
from passbell.csvfile.records import LONG_LINE, SEP_LINE, Record, records, unwrap
from passbell.csvfile.source import Source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_CHARS: Final = 1 << 19
SAMPLE_RECORDS: Final = 20
_PREAMBLE_FIELDS = 2  # a title line is followed by a header only if that one has this many known columns
_STEADY = 0.9
REASON_HEADER: Final = "passbell_reason"
_WITH_DIGIT = re.compile(r"\S*\d\S*")


@dataclass(frozen=True, slots=True)
class Layout:
    """What `sniff` found. `columns` maps a known field to its index; `notes` are for the admin.

    A list without a header has `header == ()`, `has_header` False and its ids in column 0. `header_row` is
    the header's row number (0 without one): records up to it are not data.
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

    @property
    def width(self) -> int:
        """Number of columns, 0 if there is no header to tell."""
        return len(self.header)

    @contextmanager
    def open(self, source: Source) -> Iterator[Iterator[Record]]:
        """Open the data rows (after the header) of the file this layout was sniffed from."""
        with source.text(self.encoding, self.errors) as text:
            rows = records(
                text,
                self.delimiter,
                width=self.width,
                wrapped=self.wrapped,
                skip_sep_line=self.sep_line,
            )
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
    columns: Mapping[str, int]
    wrapped: bool

    @property
    def score(self) -> tuple[int, int]:
        """Known columns first, then all columns."""
        return len(self.columns), len(self.rows[self.header_at][1]) if self.columns else 0


def _take(sample: str, delimiter: str, *, sep_line: bool) -> list[Record]:
    text = io.StringIO(sample, newline="")
    filled = (record for record in records(text, delimiter, skip_sep_line=sep_line) if record[1])
    return list(islice(filled, SAMPLE_RECORDS))


def _try(delimiter: str, rows: list[Record]) -> _Guess:
    """Look for a header among the first records, as they stand and taken out of one quoted cell per line."""
    best = _Guess(delimiter, rows, -1, {}, wrapped=False)
    for at, (row_number, first_cells, problem) in enumerate(rows):
        for wrapped in (False, True):
            if wrapped and any(first_cells[1:]):
                continue
            cells = unwrap(first_cells[0], delimiter) if wrapped else first_cells
            columns, _ = headers.match(cells)
            needed = _PREAMBLE_FIELDS if at or wrapped else 1
            if len(columns) >= max(needed, len(best.columns) + 1):
                header: Record = (row_number, cells, problem)
                best = _Guess(delimiter, [*rows[:at], header, *rows[at + 1 :]], at, columns, wrapped)
    return best


def _steadiness(guess: _Guess) -> tuple[bool, int]:
    """For files without a known header: do nearly all sample rows have the same number of cells?"""
    widths = Counter(len(cells) for _, cells, _ in guess.rows)
    width, count = widths.most_common(1)[0]
    return width > 1 and count >= _STEADY * len(guess.rows), width


def looks_like_id(text: str) -> bool:
    """Say whether a cell may be a member id: one word with a digit in it."""
    return _WITH_DIGIT.fullmatch(text) is not None


def sniff(file: str | os.PathLike[str] | IO[bytes] | Source, *, code_page: str = "cp1252") -> Layout:
    """Find out how the file is laid out. Reads all of it once (for the encoding) and keeps none of it.

    Raises `NotCsv` if it is not a CSV. A table without one known column gives a layout with empty `columns`.
    """
    source = Source(file)
    refusal.check_bytes(source.head(charset.HEAD_BYTES))
    found = charset.detect(source, code_page)
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
    if best.columns:
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
    columns, doubled = headers.match(header)
    if guess.header_at:
        notes.append(f"{guess.header_at} rows above the header (row {row_number}) were skipped.")
    if guess.wrapped:
        notes.append("Every line was one quoted cell (a Google Sheets accident); the lines were taken apart.")
    notes.extend(doubled)
    used = set(columns.values())
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
        columns=columns,
        notes=notes,
        header_row=row_number,
        wrapped=guess.wrapped,
        sep_line=sep_line,
    )


def _without_header(guess: _Guess, found: charset.Charset, notes: list[str], *, sep_line: bool) -> Layout:
    row_number, first, problem = guess.rows[0]
    if problem == LONG_LINE:
        raise refusal.refuse("long line")
    cells = [clean_words(cell) for cell in first]
    headerless = not any(cells[1:]) or looks_like_id(cells[0])
    if headerless:
        notes.append("The list has no header; its first row was taken as data and its first column as ids.")
    return Layout(
        encoding=found.encoding,
        errors=found.errors,
        delimiter=guess.delimiter,
        header=() if headerless else tuple(cells),
        columns={"external_id": 0} if headerless else {},
        notes=notes,
        has_header=not headerless,
        header_row=0 if headerless else row_number,
        sep_line=sep_line,
    )


def unknown_columns(header: Sequence[str], needed: str) -> UnknownColumns:
    """Build the refusal of a table that lacks what the caller needs."""
    names = ", ".join(f'"{shorten(name, 40)}"' for name in header[:12] if name)
    found = f"The columns are: {names}." if names else "The file has no header row."
    return UnknownColumns(f"{found} {needed}")
