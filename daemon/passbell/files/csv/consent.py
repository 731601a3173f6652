"""Who may be sent marketing, as the columns of an export say it: yes, no, or no answer.

Consent is never guessed. A column of an opt-in says yes or no. A column of an opt-out (Email Opt Out, UNSUB,
do_not_email, BOUNCE) can only say no: a box that was not ticked is no consent. If a column holds when or why
a member left (UNSUB_TIME, Bounce reason), a filled cell says no. A column `Status` means consent only by the
words of consent, and so does the cell "Unsubscribed" of any column: there it can only say no. A column about SMS,
calls or letters cannot say yes to anything else, and its plain "no" (the default of shops for members without a
phone) only counts where no other column says yes.

Of several columns any no wins, else any yes. The words are data: consent.tsv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passbell.files.csv.cells import clean_code, shorten
from passbell.files.csv.consentcells import Answer, answer
from passbell.files.csv.consentnames import Kind, is_tags, kind_of, legend_of
from passbell.files.csv.words import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_WORD = 40
_TICK = 10


def _said(name: str, cell: str) -> str:
    """Give what a cell stands for: a code that the header explains; a ticked box of a form repeats the question."""
    if (legend := legend_of(name)) and (code := cell.strip()) in legend:
        return legend[code]
    return "yes" if len(cell) > _TICK and fold(cell) == fold(name) else cell


@dataclass(slots=True)
class Count:
    """How many rows said yes and no in one column, or altogether."""

    yes: int = 0
    no: int = 0

    def add(self, *, says: bool) -> None:
        """Count one answer."""
        if says:
            self.yes += 1
        else:
            self.no += 1

    def of(self, rows: int) -> str:
        """Say it; the other rows did not answer."""
        return f"{self.yes:,} yes, {self.no:,} no, {rows - self.yes - self.no:,} without an answer"


@dataclass(slots=True)
class Consent:
    """The columns of consent of one file."""

    columns: tuple[tuple[int, str, Kind], ...]
    counts: dict[int, Count] = field(default_factory=dict)
    total: Count = field(default_factory=Count)
    rows: int = 0

    @classmethod
    def of(cls, header: Sequence[str], indexes: Sequence[int], others: Sequence[int]) -> Consent:
        """Take the columns that `headers.match` found, and `others`, which mean nothing else."""
        named = [(i, header[i], kind) for i in indexes if (kind := kind_of(header[i]))]
        return cls((*named, *((i, header[i], "tags" if is_tags(header[i]) else "any") for i in others)))

    def _answers(self, cells: list[str]) -> list[tuple[int, str, Answer]]:
        count = len(cells)
        return [
            (index, name, answer(kind, _said(name, cell)))
            for index, name, kind in self.columns
            # Numbers, dates and notes of other columns are no words of consent: they need not be looked up.
            if index < count
            and (cell := cells[index])
            and (kind != "any" or (cell[0] not in "0123456789+-$'" and len(cell) <= _LONGEST_WORD))
        ]

    def read(self, cells: list[str]) -> tuple[bool | None, list[tuple[str, str, str]]]:
        """Give what the row says, and the cells that say nothing known: column, value, reason."""
        answers = self._answers(cells)
        problems = [
            (name, shorten(clean_code(cells[index])), given.problem)
            for index, name, given in answers
            if given.problem
        ]
        return _decide([given for _, _, given in answers]), problems

    def count(self, cells: list[str]) -> None:
        """Count one row, for `notes`."""
        self.rows += 1
        answers = self._answers(cells)
        for index, _, given in answers:
            if given.says is not None:
                self.counts.setdefault(index, Count()).add(says=given.says)
        if (says := _decide([given for _, _, given in answers])) is not None:
            self.total.add(says=says)

    def notes(self) -> list[str]:
        """Say how many rows answered what, and by which column."""
        used = [
            (name, self.counts.get(index, Count()))
            for index, name, kind in self.columns
            # A column `Status` about something else is no column of consent: it is not named.
            if index in self.counts or (self.rows and kind not in {"status", "any", "tags"})
        ]
        if not used:
            return []
        by = "; ".join(f'"{name}": {count.of(self.rows)}' for name, count in used)
        return [f"Consent: {self.total.of(self.rows)}. By column: {by}."]


def _decide(answers: list[Answer]) -> bool | None:
    if any(given.says is False and not given.weak for given in answers):
        return False
    if any(given.says for given in answers):
        return True
    return False if any(given.says is False for given in answers) else None
