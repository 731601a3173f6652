"""Splitting decoded text into records, one at a time, in bounded memory.

The stdlib `csv` module decides what a record is: a line break inside a quoted cell is part of the cell, however
much the lines of that cell look like rows. A record that is longer than anything a spreadsheet writes is one
rejected row; where it ends is found by `_Quotes`, which follows the same rules without keeping the text. A quote
that is never closed takes in the rest of the file, and the row says so.

Row numbers are those a spreadsheet shows: the first record is row 1, blank lines count, a quoted line break
does not.
"""

from __future__ import annotations

import csv
import io
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, TextIO

from passbell.files.csv.cells import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_CHARS = 1 << 16
MAX_LINE = 1 << 18
MAX_RECORD = 1 << 20
KEPT_OF_LONG_LINE = 2_000

LONG_CELL = f"a cell is longer than {csv.field_size_limit():,} characters"
LONG_LINE = f"the row is longer than {MAX_LINE:,} characters"

SEP_LINE = re.compile(r'\ufeff?"?sep=(.)"?[\s,;|]*', re.IGNORECASE)


# Row number, the cells as they stand in the file, and why the row must be rejected (or None). A plain tuple,
# because a million named ones cost a third of the time of reading a hit list.
Record = tuple[int, list[str], str | None]


UNCLOSED = "and never closed, so what follows belongs to it"


def _lines(count: int) -> str:
    return f"{count:,} line" if count == 1 else f"{count:,} lines"


def never_closed(lines: int) -> str:
    """Say what a quote without its end cost."""
    what = f"{UNCLOSED} ({_lines(lines)})" if lines else "and never closed"
    return f'a quote (") is opened in this row {what}; remove it or double it'


def runaway(lines: int) -> str:
    """Say that a quoted cell is longer than any cell."""
    return f'a quote (") in this row takes in what follows ({_lines(lines)}); remove it or double it'


class _GivenUpError(Exception):
    """The record at hand is longer than a record may be."""


class _State(Enum):
    START = auto()  # of a cell
    PLAIN = auto()
    QUOTED = auto()
    QUOTE = auto()  # one inside a quoted cell: its end, or the first of two


class _Quotes:
    """Where a record ends, by the rules of the csv module with `skipinitialspace`; keeps nothing of the text."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._state = _State.START

    def ends_after(self, piece: str) -> bool:
        """Take the next line, or piece of one, of the record; tell whether the record ends with it."""
        state, at, end = self._state, 0, len(piece)
        while at < end:
            if state is _State.QUOTED:
                at = piece.find('"', at) + 1 or end + 1
                state = _State.QUOTE if at <= end else state
            elif state is _State.PLAIN:
                at = piece.find(self._delimiter, at) + 1 or end + 1
                state = _State.START if at <= end else state
            elif piece[at] == '"':
                state, at = _State.QUOTED, at + 1
            elif state is _State.START and piece[at] == " ":
                at += 1
            elif piece[at] == self._delimiter:
                state, at = _State.START, at + 1
            else:
                state = _State.PLAIN
        self._state = state
        return state is not _State.QUOTED and piece[-1:] in {"\r", "\n"}


class _Blocks:
    """Gives the text in blocks of whole lines, without NULs. `partial`: the last line goes on in the next block."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._ahead = ""
        self.partial = False

    def next(self) -> str:
        """Give the next block, empty at the end of the file."""
        while raw := self._ahead + self._text.read(BLOCK_CHARS):
            self._ahead = ""
            if raw[-1] != "\n":  # a lone \r may be half of a line end
                raw += self._text.readline(MAX_LINE)
            while raw[-1] in "\r\0" and (more := self._text.read(1)):
                if more not in "\n\0":
                    self._ahead = more
                    break
                raw += more
            block = raw.replace("\0", "") if "\0" in raw else raw
            if block:
                self.partial = block[-1] not in "\r\n" and len(block) >= MAX_LINE
                return block
        self.partial = False
        return ""


class _Lines:
    """Feeds the lines of a block, and of as many more as the last record needs, to csv readers."""

    def __init__(self, block: str, blocks: _Blocks) -> None:
        self._blocks = blocks
        self._lines = io.StringIO(block, newline="")
        self.pending: list[str] = []
        self.cut_off = False

    def _piece(self) -> str:
        while not (line := self._lines.readline()):
            if not (self.pending and (block := self._blocks.next())):
                return ""
            self._lines = io.StringIO(block, newline="")
        return line

    def feed(self) -> Iterator[str]:
        """Yield lines to one csv reader; start a new reader and a new feed after giving up."""
        pending, size = self.pending, 0
        while True:
            size = size if pending else 0
            if not (line := self._piece()):
                self.cut_off = bool(pending)  # the reader wanted more: it is inside quotes
                return
            pending.append(line)
            size += len(line)
            if size >= MAX_LINE and (size >= MAX_RECORD or (line[-1] not in "\r\n" and self._blocks.partial)):
                raise _GivenUpError
            yield line

    def give_up(self, delimiter: str) -> tuple[str, int, bool]:
        """Read on to the end of the record at hand: its first line, how many follow, and whether it ended."""
        quotes, first, follow, ended = _Quotes(delimiter), self.pending[0], -1, False
        pieces = iter([*self.pending])
        piece = next(pieces)
        while piece:
            follow += 1
            ended = quotes.ends_after(piece)
            if ended:
                break
            piece = next(pieces, "") or self._piece()
        self.pending.clear()
        self.cut_off = False
        return first, follow, ended


def split_naively(line: str, delimiter: str) -> list[str]:
    """Split one line as if quotes meant nothing."""
    text = line[:MAX_LINE].rstrip("\r\n")
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


def _careful(lines: _Lines, delimiter: str, row: int) -> Iterator[Record]:
    """Read a block with quotes, and as much of the text after it as its last record needs."""
    pending = lines.pending
    while True:
        reader = csv.reader(lines.feed(), delimiter=delimiter, skipinitialspace=True)
        try:
            for cells in reader:
                if lines.cut_off:
                    break
                pending.clear()
                row += 1
                yield row, cells, None
            else:
                return
            follow, first, ended = len(pending) - 1, pending[0], False
            pending.clear()
        except (_GivenUpError, csv.Error):
            first, follow, ended = lines.give_up(delimiter)
        row += 1
        if not ended and first[-1] in "\r\n":
            reason = never_closed(follow)
        elif follow and first[-1] in "\r\n":
            reason = runaway(follow)
        else:
            reason = LONG_LINE if len(first) >= MAX_LINE else LONG_CELL if ended else never_closed(0)
        yield row, split_naively(first, delimiter), reason


def records(
    text: TextIO, delimiter: str, *, wrapped: bool = False, skip_sep_line: bool = False
) -> Iterator[Record]:
    """Yield every record of a text opened with `newline=""`, the header and blank lines (no cells) included.

    `wrapped` takes each line out of its one quoted cell. Memory: two blocks, and one record of at most
    `MAX_RECORD` characters.
    """
    if skip_sep_line:
        text.readline(MAX_LINE)
    row, blocks, limit = 0, _Blocks(text), csv.field_size_limit()
    while block := blocks.next():
        short = len(block) < limit or max(map(len, re.split("[\r\n]", block))) < limit
        if short and '"' not in block:
            part = _plain(block, delimiter, row)
        else:
            part = _careful(_Lines(block, blocks), delimiter, row)
        record = None
        for record in part:
            if wrapped and record[1] and not any(record[1][1:]):
                yield record[0], unwrap(record[1][0], delimiter), record[2]
            else:
                yield record
        if record is not None:
            row = record[0]
