"""Reading the CSV files that people really have: hit lists and member lists. No database, no network.

    sniff(file) -> Layout                     encoding, delimiter, header, columns, notes; or NotCsv
    read_ids(file) -> Iterator[ListedId]      a hit list, a million rows in a couple of seconds
    read_members(file, today=…) -> MemberFile checked rows, with the decisions made for the whole file
    write_rejects(out, rows, layout=…)        what was not taken, to be corrected and uploaded again

`file` is a path or a binary stream; everything is streamed, nothing is held. Row numbers are a spreadsheet's.
"""

from __future__ import annotations

from passbell.files.csv.dateorder import Decision
from passbell.files.csv.ids import ListedId, read_ids
from passbell.files.csv.layout import Layout, sniff
from passbell.files.csv.memberrows import MemberRow, Problem
from passbell.files.csv.members import MemberFile, read_members
from passbell.files.csv.refusal import (
    AmbiguousDates,
    CsvError,
    NotCsv,
    TooManyRows,
    UnclosedQuote,
    UnknownColumns,
)
from passbell.files.csv.rejects import Reject, write_rejects

__all__ = [
    "AmbiguousDates",
    "CsvError",
    "Decision",
    "Layout",
    "ListedId",
    "MemberFile",
    "MemberRow",
    "NotCsv",
    "Problem",
    "Reject",
    "TooManyRows",
    "UnclosedQuote",
    "UnknownColumns",
    "read_ids",
    "read_members",
    "sniff",
    "write_rejects",
]
