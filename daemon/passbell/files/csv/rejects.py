"""The file of rejects: the original cells with the reason in front, to be corrected and uploaded again."""

from __future__ import annotations

import csv
import io
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from passbell.files.csv.cells import neutralise
from passbell.files.csv.layout import REASON_HEADER, Layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Reject(NamedTuple):
    """One row of the file of rejects."""

    cells: Sequence[str]
    reason: str


def write_rejects(out: IO[bytes], rows: Iterable[Reject], *, layout: Layout) -> int:
    """Write a header and the rows to a binary stream (left open); give the number of rows.

    UTF-8 with a byte-order mark (Excel needs it) and the delimiter of the original. The reason is the first
    column, so a row with too many cells stays one; the importer does not know its name and passes it over.
    Cells that a spreadsheet would run as a formula begin with an apostrophe, which reading takes off again.
    """
    text = io.TextIOWrapper(cast("io.BufferedWriter", out), "utf-8-sig", newline="", write_through=False)
    try:
        writer = csv.writer(text, delimiter=layout.delimiter, lineterminator="\r\n")
        old = layout.header.index(REASON_HEADER) if REASON_HEADER in layout.header else None

        def line(first: str, cells: Sequence[str]) -> list[str]:
            kept = [cell for index, cell in enumerate(cells) if index != old]
            return [neutralise(cell) for cell in (first, *kept)]

        writer.writerow(line(REASON_HEADER, layout.header))
        count = 0
        for row in rows:
            writer.writerow(line(row.reason, row.cells))
            count += 1
        text.flush()
        return count
    finally:
        text.detach()
