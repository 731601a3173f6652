"""The exports of other programs, read as the table beside them says (exports/expected.txt)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passbell.files.csv import read_members

if TYPE_CHECKING:
    from passbell.files.csv import MemberRow

EXPORTS = Path(__file__).parent / "exports"
TODAY = date(2026, 11, 21)
FIELDS = ("external_id", "email", "first_name", "last_name", "phone", "birth_date", "zip", "city")
CONSENT = {True: "yes", False: "no", None: "-"}


def _expected() -> dict[str, list[str]]:
    text = (EXPORTS / "expected.txt").read_text("utf-8")
    blocks = [block.split("\n") for block in text.rstrip("\n").split("\n\n") if not block.startswith("#")]
    return {lines[0]: lines[1:] for lines in blocks}


def _shown(row: MemberRow) -> list[str]:
    values: list[Any] = [getattr(row, field) for field in FIELDS]
    cells = ["-" if value is None else str(value) for value in values]
    problems = [
        f"  rejected: {problem.reason}"
        if problem.fatal
        else f"  {problem.column} {problem.value}: {problem.reason.partition(';')[0]}"
        for problem in row.problems
    ]
    return [" | ".join([str(row.row_number), *cells, CONSENT[row.marketing_opt_in]]), *problems]


@pytest.mark.parametrize(
    ("export", "lines"), _expected().items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_export_is_read_as_a_person_expects(export: str, lines: list[str]) -> None:
    """Every row of the export gives the id, names, phone, birthday, address and consent that a person reads in it."""
    name, region = export.split()
    file = read_members(EXPORTS / name, default_region=region, today=TODAY)
    assert [line for row in file for line in _shown(row)] == lines


def test_every_export_has_its_expectation() -> None:
    """No export lies here without a table of what is in it."""
    assert {path.name for path in EXPORTS.glob("*.csv")} == {name.split()[0] for name in _expected()}
