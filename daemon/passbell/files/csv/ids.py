"""Hit lists: one member id per row, a million rows in a couple of seconds and a few megabytes.

A list is a column of a table, or a few lines of ids. In a table a row with more cells than the header is rejected:
where its comma slipped in cannot be known, and the cell below the header may be another member. Only a list that
is nothing but ids may have several in one row, and only where they look alike ("M-1,M-2,M-3").
"""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, NamedTuple

from passbell.files.csv.cells import SCIENTIFIC_ADVICE, clean_code, is_missing_code, is_scientific, shorten
from passbell.files.csv.layout import Layout, looks_like_id, sniff, unknown_columns
from passbell.files.csv.memberrows import too_wide
from passbell.files.csv.records import UNCLOSED
from passbell.files.csv.refusal import TooManyRows, UnclosedQuote
from passbell.files.csv.source import Source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

DEFAULT_MAX_ROWS = 2_000_000
MAX_ID = 200
_ID_COLUMNS = ("external_id", "pass_id", "id")
_NEEDED = 'A hit list needs a column "member_id", "external_id", "pass_id" or "id".'
# What needs no cleaning. No point and no sign, so a number in scientific notation does not match.
_CLEAN = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
_MIN_CLEAN = 4  # "n/a", "na", "nan" and "nil" are shorter

_SHAPE_DIGITS = re.compile(r"\d+")
_SHAPE_LETTERS = re.compile(r"[^\W\d_]+")
_SEPARATORS = re.compile(r"\s*[,;|]\s*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_DECIMAL = re.compile(r"\d+,\d{1,2}")
_LINE_BREAK = re.compile(r"[\r\n]")
_MIN_LINE = 3  # ids of one line that are bare numbers; two may be one number with a comma

LINE_BREAK = "there is a line break in this cell; an id stands on one line"
TWO_IDS = "this may be one number with a separator of thousands, or several ids; write one id per line"


class ListedId(NamedTuple):
    """One row of a hit list. `problem` is None for a usable id, else the advice for the admin."""

    row_number: int
    value: str
    problem: str | None = None


def read_ids(
    file: str | os.PathLike[str] | IO[bytes] | Source,
    max_rows: int = DEFAULT_MAX_ROWS,
    *,
    code_page: str = "cp1252",
    encoding: str | None = None,
    layout: Layout | None = None,
) -> Iterator[ListedId]:
    """Give the ids of a hit list in file order, cleaned but not compared: duplicates come twice.

    The file is looked at before this returns, so `NotCsv` and `UnknownColumns` are raised here; `TooManyRows`
    comes from the iterator after `max_rows` rows, `UnclosedQuote` at the end of the file. Several ids of one row
    are counted on: each has a number of its own. Rows whose id cell is empty are left out. Pass `layout` if
    `sniff` was called already.
    """
    source = Source(file)
    layout = layout or sniff(source, code_page=code_page, encoding=encoding)
    indexes = [layout.columns[name] for name in _ID_COLUMNS if name in layout.columns]
    if not indexes:
        raise unknown_columns(layout.header, _NEEDED)
    return _ids(source, layout, indexes, max_rows)


def _ids(source: Source, layout: Layout, indexes: list[int], max_rows: int) -> Iterator[ListedId]:
    first, is_clean, width = indexes[0], _CLEAN.fullmatch, layout.width
    lone = width <= 1  # nothing but ids
    rows_of_ids = lone and _rows_of_ids(source, layout)
    count = extra = 0
    with layout.open(source) as rows:
        for row_number, cells, problem in rows:
            if count >= max_rows:
                raise TooManyRows(f"The list has more than {max_rows:,} rows.")
            count += 1
            cell = cells[first] if first < len(cells) else ""
            if problem is not None:
                if UNCLOSED in problem:
                    raise UnclosedQuote(f"Row {row_number}: {problem}. Nothing was read.")
                yield ListedId(row_number + extra, shorten(cell), problem)
            elif len(cells) > 1 and (
                rows_of_ids or (width and len(cells) > width and too_wide(cells, width))
            ):
                for nth, listed in enumerate(_wide(row_number + extra, cells, layout, several=rows_of_ids)):
                    count, extra = count + bool(nth), extra + bool(nth)
                    yield listed
            elif len(cell) >= _MIN_CLEAN and is_clean(cell) and len(cell) <= MAX_ID:
                if cell.isalpha() and is_missing_code(cell):  # "null", "unknown"
                    yield ListedId(row_number + extra, cell, "this is not an id")
                    continue
                yield ListedId(row_number + extra, cell)
            else:
                for nth, listed in enumerate(_with_care(row_number + extra, cells, indexes, lone=lone)):
                    count, extra = count + bool(nth), extra + bool(nth)
                    yield listed


def shape(text: str) -> str:
    """Reduce an id to how it is built: `M-1` and `M-20` are both `a-9`, `M-1` and `Doe` are not alike."""
    return _SHAPE_LETTERS.sub("a", _SHAPE_DIGITS.sub("9", text))


def _alike(parts: list[str]) -> bool:
    """Say whether ids are built alike. Zeros alone do not count: they are the decimals of `1042,00`."""
    return (
        all(map(looks_like_id, parts))
        and len({shape(part) for part in parts}) == 1
        and not any(part.strip("0") == "" for part in parts)
    )


def _rows_of_ids(source: Source, layout: Layout) -> bool:
    """Say whether every cell of a list without a table is an id: all are built alike, and there is no column.

    Bare numbers count as ids only in a single line, or if the lines are of several lengths. Otherwise they may be ids
    beside numbers of another kind, and the first column is taken.
    """
    with layout.open(source) as rows:
        sample = []
        for _, cells, problem in rows:
            filled = [text for cell in cells if (text := clean_code(cell))]
            if filled and problem is None:
                sample.append(filled)
            if len(sample) > 20:  # noqa: PLR2004 -- as many as the layout was found by
                break
    parts = [part for cells in sample for part in cells]
    if len(parts) == len(sample) or not _alike(parts):
        return False
    if not parts[0].isdigit():
        return True
    if layout.has_header or len(sample) > 1:
        return len({len(cells) for cells in sample}) > 1 and not any(
            _THOUSANDS.fullmatch(text) or _DECIMAL.fullmatch(text)
            for text in (",".join(cells) for cells in sample if len(cells) > 1)
        )
    return True


def _wide(row_number: int, cells: list[str], layout: Layout, *, several: bool) -> Iterator[ListedId]:
    """Give the ids of a row with several cells, or the reason why none of them is taken."""
    parts = [text for cell in cells if (text := clean_code(cell))]
    several = several or (layout.width <= 1 and not any(map(str.isdigit, parts)))
    one_number = len(parts) < _MIN_LINE and _THOUSANDS.fullmatch(",".join(parts))
    if several and _alike(parts) and not one_number and not any(map(_LINE_BREAK.search, cells)):
        for number, part in enumerate(parts, start=row_number):
            yield ListedId(number, part)
        return
    line = layout.delimiter.join(cells)
    if layout.width <= 1 and _THOUSANDS.fullmatch(",".join(parts)):
        yield ListedId(row_number, shorten(line), TWO_IDS)
        return
    reason = (
        f"the row has {len(cells)} cells and the header {layout.width}; a cell with the delimiter in it must "
        "stand in quotes"
        if layout.width > 1
        else "the row has several cells that are not built alike; write one id per line"
    )
    yield ListedId(row_number, shorten(line), reason)


def _with_care(row_number: int, cells: list[str], indexes: list[int], *, lone: bool) -> Iterator[ListedId]:
    """Clean a cell that is not plain; fall back to the next id column if it is empty."""
    found = next(
        ((cells[i], text) for i in indexes if i < len(cells) and (text := clean_code(cells[i]))), None
    )
    if found is None:
        return
    cell, value = found
    if is_scientific(value):
        yield ListedId(row_number, value, SCIENTIFIC_ADVICE)
    elif is_missing_code(value):
        yield ListedId(row_number, value, "this is not an id")
    elif len(value) > MAX_ID and not lone:
        yield ListedId(row_number, shorten(value), f"an id is not longer than {MAX_ID} characters")
    elif _LINE_BREAK.search(cell.strip()):
        yield ListedId(row_number, shorten(value), LINE_BREAK)
    elif lone and (parts := _in_one_cell(value)):
        for number, part in enumerate(parts, start=row_number):
            yield ListedId(number, part)
    elif len(value) > MAX_ID:
        yield ListedId(row_number, shorten(value), f"an id is not longer than {MAX_ID} characters")
    else:
        yield ListedId(row_number, value)


def _in_one_cell(value: str) -> list[str]:
    """Split `M-1, M-2` and `M-1 M-2`, the whole of a list in one cell; nothing where it may be one id.

    Numbers with spaces are groups of one number, as on a card; with a comma they may be one as well.
    """
    parts = [part for part in _SEPARATORS.split(value) if part]
    if len(parts) > 1:
        return (
            parts
            if _alike(parts) and not _THOUSANDS.fullmatch(value) and not _DECIMAL.fullmatch(value)
            else []
        )
    parts = value.split()
    return parts if len(parts) > 1 and _alike(parts) and not parts[0].isdigit() else []
