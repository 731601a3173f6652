"""Shows what was read from a file as a few lines of text, so that an expectation can be read by a person."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from passbell.files.csv import CsvError, MemberRow, read_ids, read_members, sniff

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 21)
FIELDS = MemberRow._fields[1:10]


def _problem(column: str, value: str, reason: str, *, fatal: bool) -> str:
    if reason.startswith("this is not an e-mail address"):  # the rest is the library's wording
        reason = reason.partition(":")[0]
    return f'{"rejected" if fatal else "reported"}: {column} "{value}" {reason}'


def _member(row: MemberRow) -> list[str]:
    values: list[Any] = [getattr(row, field) for field in FIELDS]
    shown = (f"{field}={value}" for field, value in zip(FIELDS, values, strict=True) if value is not None)
    problems = [f"       {_problem(p.column, p.value, p.reason, fatal=p.fatal)}" for p in row.problems]
    return [f"  {row.row_number:>3}  {' | '.join(shown)}".rstrip(), *problems]


def render(path: Path, how: str) -> list[str]:
    """Read a file as `ids` or as `members REGION [ORDER]` and show everything that came of it."""
    mode, *options = how.split()
    try:
        layout = sniff(path)
        out = [
            f"  {layout.encoding}, delimiter {layout.delimiter!r}",
            *(f"  note: {note}" for note in layout.notes),
        ]
        if mode == "ids":
            for row_number, value, problem in read_ids(path):
                out.append(
                    f"  {row_number:>3}  {value}" + (f"\n       unusable: {problem}" if problem else "")
                )
            return "\n".join(out).split("\n")
        order: Any = options[1] if options[1:] else None
        file = read_members(path, default_region=options[0], date_order=order, today=TODAY)
        out += [f"  decided: {decision.column}: {decision.reason}" for decision in file.decisions]
        for row in file:
            out += _member(row)
    except CsvError as error:
        return [f"  {type(error).__name__}: {error}"]
    return out
