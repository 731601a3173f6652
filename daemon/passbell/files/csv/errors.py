"""What can be wrong with a whole file. Every message is one sentence for the person who uploaded it.

    CsvError
    ├── NotCsv            a web page, a workbook, a picture, nothing at all …
    ├── UnknownColumns    a table, but no column that this import can use
    ├── UnclosedQuote     a hit list whose rest is swallowed by a quote
    ├── AmbiguousDates    some dates can only be day first, others only month first
    └── TooManyRows       more rows than the caller allows

Trouble with a single row is never an exception: it travels with the row as a `Problem` or a `problem` text.
"""

from __future__ import annotations

from passbell.errors import PassbellError


class CsvError(PassbellError):
    """The file as a whole is refused; nothing of it should be used."""


class NotCsv(CsvError):
    """The file is not a CSV. `kind` (`html`, `xlsx`, `empty` …) is for programs, the message for people."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class UnknownColumns(CsvError):
    """No header of the file is one that the import knows or needs."""


class UnclosedQuote(CsvError):
    """A quote is never closed: what follows may be rows or one cell, and a message cannot be taken back."""


class AmbiguousDates(CsvError):
    """One date column holds dates of two orders; guessing would give people wrong birthdays."""


class TooManyRows(CsvError):
    """The file has more rows than allowed."""
