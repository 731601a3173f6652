"""Splitting decoded text into records, one at a time, surviving quotes that are never closed.

The stdlib `csv` module does the splitting. Left alone it lets a stray opening quote swallow rows until the
next quote, wherever that is. So the physical lines of the record at hand are kept; when the record cannot be
right they are given back: the first line becomes a rejected row, the others are read again as the rows they
are.

Row numbers are those a spreadsheet shows: the first record is row 1, blank lines count, a quoted line break
does not.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from typing import TYPE_CHECKING, TextIO

from passbell.csvfile.cells import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_CHARS = 1 << 16
MAX_LINE = 1 << 18
MAX_LINES = 100  # of one record; an address has five
KEPT_OF_LONG_LINE = 2_000

CLOSING_QUOTE = 'a quote (") in this row closes one that was opened in an earlier row; remove it or double it'
RUNAWAY_QUOTE = 'a quote (") is opened in this row and not closed where the cell ends; remove it or double it'
LONG_CELL = f"a cell is longer than {csv.field_size_limit():,} characters"
LONG_LINE = f"the row is longer than {MAX_LINE:,} characters"

SEP_LINE = re.compile(r'\ufeff?"?sep=(.)"?[\s,;|]*', re.IGNORECASE)


# Row number, the cells as they stand in the file, and why the row must be rejected (or None). A plain tuple,
# because a million named ones cost a third of the time of reading a hit list.
Record = tuple[int, list[str], str | None]


class _GivenUpError(Exception):
    """The record at hand cannot be right."""


class _Lines:
    """Feeds physical lines to csv readers and remembers those of the record at hand."""

    def __init__(self, block: str, text: TextIO) -> None:
        """Take the lines of `block`, then, if a record needs more, those of `text`."""
        self._block = io.StringIO(block, newline="")
        self._text = text
        self._again: deque[str] = deque()
        self.pending: list[str] = []
        self.cut_off = False
        self._closing: str | None = None

    def _next(self) -> str:
        """Take the next line; beyond the block only if the record at hand is not complete."""
        if line := self._block.readline(MAX_LINE):
            return line
        return self._text.readline(MAX_LINE) if self.pending else ""

    def feed(self) -> Iterator[str]:
        """Yield lines to one csv reader; start a new reader and a new feed after giving up."""
        again, pending = self._again, self.pending
        while True:
            fresh = not again
            line = self._next() if fresh else again.popleft()
            if not line:
                self.cut_off = bool(
                    pending
                )  # the reader wanted more: it is inside quotes at the end of the file
                return
            if "\0" in line:
                line = line.replace("\0", "")
            pending.append(line)
            if len(line) >= MAX_LINE and line[-1] not in "\r\n":
                while fresh and (rest := self._next()) and rest[-1] not in "\r\n":
                    pass  # read to its end without keeping it
                # In the middle of a record the quote is to blame; this line is then met again as the first
                # one.
                raise _GivenUpError(LONG_LINE if len(pending) == 1 else RUNAWAY_QUOTE)
            if line is self._closing:
                self._closing = None
                raise _GivenUpError(CLOSING_QUOTE)
            if len(pending) > MAX_LINES:
                raise _GivenUpError(RUNAWAY_QUOTE)
            yield line

    def swallowed(self, delimiter: str, width: int) -> bool:
        """Tell whether the record at hand is several records: each of its lines alone has every cell."""
        lines = self.pending
        if len(lines) == 1 or not all(line.count(delimiter) + 1 == width for line in lines):
            return False
        self._closing = lines[-1]
        return True

    def give_up(self) -> str:
        """Return the first line of the record at hand; the others will be fed again."""
        first = self.pending[0]
        self._again.extendleft(reversed(self.pending[1:]))
        self.pending.clear()
        self.cut_off = False
        return first


def split_naively(line: str, delimiter: str) -> list[str]:
    """Split one line as if quotes meant nothing."""
    text = line.rstrip("\r\n")
    return [shorten(cell.strip(), KEPT_OF_LONG_LINE) for cell in text.split(delimiter)]


def unwrap(cell: str, delimiter: str) -> list[str]:
    """Split a whole line that was put into one quoted cell; commas of the sheet around it may trail."""
    if delimiter != ",":
        cell = cell.rstrip(",")
    try:
        return next(csv.reader(io.StringIO(cell, newline=""), delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return split_naively(cell, delimiter)


def _plain(block: str, delimiter: str, row: int) -> Iterator[Record]:
    """Read a block of whole lines without a quote: no record spans lines, so nothing has to be remembered."""
    reader = csv.reader(io.StringIO(block, newline=""), delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
        row += 1
        yield row, cells, None


def _careful(lines: _Lines, delimiter: str, row: int, width: int) -> Iterator[Record]:
    """Read a block with quotes, and as much of the text after it as its last record needs."""
    pending = lines.pending
    while True:
        reader = csv.reader(lines.feed(), delimiter=delimiter, skipinitialspace=True)
        try:
            for cells in reader:
                if lines.cut_off or (width and lines.swallowed(delimiter, width)):
                    raise _GivenUpError(RUNAWAY_QUOTE)  # noqa: TRY301 -- one way out for all reasons
                pending.clear()
                row += 1
                yield row, cells, None
        except _GivenUpError as error:
            reason = str(error)
        except csv.Error:
            reason = LONG_CELL if len(pending) == 1 else RUNAWAY_QUOTE
        else:
            return
        row += 1
        yield row, split_naively(lines.give_up(), delimiter), reason


def records(
    text: TextIO, delimiter: str, *, width: int = 0, wrapped: bool = False, skip_sep_line: bool = False
) -> Iterator[Record]:
    """Yield every record of a text opened with `newline=""`, the header and blank lines (no cells) included.

    `width` (0 = not known) is the number of columns, used to see that a quote swallowed rows. `wrapped` takes
    each line out of its one quoted cell. Memory: a block of `BLOCK_CHARS`, and one record of at most
    `MAX_LINES` lines.
    """
    if skip_sep_line:
        text.readline(MAX_LINE)
    row = 0
    while block := text.read(BLOCK_CHARS):
        if block[-1] != "\n":  # a lone \r may be half of a line end
            block += text.readline(MAX_LINE)
        longest = (
            len(block) < csv.field_size_limit() or max(map(len, block.split("\n"))) < csv.field_size_limit()
        )
        if longest and '"' not in block and "\0" not in block:
            part = _plain(block, delimiter, row)
        else:
            part = _careful(_Lines(block, text), delimiter, row, 0 if wrapped else width)
        record = None
        for record in part:
            if wrapped and record[1] and not any(record[1][1:]):
                yield record[0], unwrap(record[1][0], delimiter), record[2]
            else:
                yield record
        if record is not None:
            row = record[0]
