"""Hit lists: one member id per row, a million rows in a couple of seconds and a few megabytes."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, NamedTuple

from passbell.csvfile.cells import SCIENTIFIC_ADVICE, clean_code, is_missing_code, is_scientific, shorten
from passbell.csvfile.errors import TooManyRows
from passbell.csvfile.layout import Layout, sniff, unknown_columns
from passbell.csvfile.source import Source

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
    layout: Layout | None = None,
) -> Iterator[ListedId]:
    """Give the ids of a hit list in file order, cleaned but not compared: duplicates come twice.

    The file is looked at before this returns, so `NotCsv` and `UnknownColumns` are raised here; `TooManyRows`
    comes from the iterator after `max_rows` rows. Rows whose id cell is empty are left out. Pass `layout` if
    `sniff` was called already.
    """
    source = Source(file)
    layout = layout or sniff(source, code_page=code_page)
    indexes = [layout.columns[name] for name in _ID_COLUMNS if name in layout.columns]
    if not indexes:
        raise unknown_columns(layout.header, _NEEDED)
    return _ids(source, layout, indexes, max_rows)


def _ids(source: Source, layout: Layout, indexes: list[int], max_rows: int) -> Iterator[ListedId]:
    first, is_clean = indexes[0], _CLEAN.fullmatch
    with layout.open(source) as rows:
        for count, (row_number, cells, problem) in enumerate(rows):
            if count >= max_rows:
                raise TooManyRows(f"The list has more than {max_rows:,} rows.")
            cell = cells[first] if first < len(cells) else ""
            if problem is None and len(cell) >= _MIN_CLEAN and is_clean(cell) and len(cell) <= MAX_ID:
                if cell.isalpha() and is_missing_code(cell):  # "null", "unknown"
                    yield ListedId(row_number, cell, "this is not an id")
                    continue
                yield ListedId(row_number, cell)
            elif problem is not None:
                yield ListedId(row_number, shorten(cell), problem)
            elif listed := _with_care(row_number, cells, indexes):
                yield listed


def _with_care(row_number: int, cells: list[str], indexes: list[int]) -> ListedId | None:
    """Clean a cell that is not plain; fall back to the next id column if it is empty."""
    value = next((text for i in indexes if i < len(cells) and (text := clean_code(cells[i]))), "")
    if not value:
        return None
    if is_scientific(value):
        return ListedId(row_number, value, SCIENTIFIC_ADVICE)
    if is_missing_code(value):
        return ListedId(row_number, value, "this is not an id")
    if len(value) > MAX_ID:
        return ListedId(row_number, shorten(value), f"an id is not longer than {MAX_ID} characters")
    return ListedId(row_number, value)
