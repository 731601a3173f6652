"""Files with the mistakes that a person makes: what is read of them, and what the report says to do."""

from __future__ import annotations

import io
from datetime import date

import pytest

from passbell.files.csv import read_members

TODAY = date(2026, 11, 21)


def report(text: str, region: str = "US") -> tuple[list[str | None], dict[int, str]]:
    """The e-mails that are taken, and the reasons by row."""
    rows = list(read_members(io.BytesIO(text.encode()), today=TODAY, default_region=region))
    return [row.email for row in rows if not row.rejected], {
        row.row_number: row.reason for row in rows if row.problems
    }


@pytest.mark.parametrize(
    "total",
    [
        "Total,,,42",
        "TOTAL:,,,42",
        "Total: 2 members,,,42",
        ",Grand Total,,42",
        "Summe,,,42",
        "Totale,,,42",
        "Razem,,,42",
        "Celkem:,,,42",
        "Genel Toplam,,,42",
        "合計,,,42",
        "总计,,,42",
        "الإجمالي,,,42",
        "Yhteensä,,,42",
        "I alt,,,42",
    ],
)
def test_a_row_of_totals_is_no_member(total: str) -> None:
    """The last line of a report is refused with a sentence; "Total" is no member id."""
    emails, reasons = report(f"Member ID,Name,Email,Points\nM-1,Ann Archer,a@example.com,42\n{total}\n")
    assert emails == ["a@example.com"]
    assert list(reasons) == [3]
    assert "looks like the row of totals" in reasons[3]


@pytest.mark.parametrize(
    "row", ["M-2,Sum Total,,1", "Total,Ann,b@example.com,1", "M-3,Total,c@example.com,1"]
)
def test_a_member_who_is_called_like_a_total_is_one(row: str) -> None:
    """A row with an id or an address is a member's, whatever the first cell says."""
    _, reasons = report(f"Member ID,Name,Email,Points\n{row}\n")
    assert reasons == {}


def test_a_header_in_the_middle_is_told() -> None:
    """If two lists are joined, the second header is rejected as a header, and the rows below it are read."""
    emails, reasons = report(
        "Member ID,Name,Email\nM-1,Ann Archer,a@example.com\nMember ID,Name,Email\nM-2,Bob Baker,b@example.com\n"
    )
    assert emails == ["a@example.com", "b@example.com"]
    assert reasons == {3: "row 3: this row repeats the header; delete it"}


@pytest.mark.parametrize("cell", ["=B2", "=VLOOKUP(A2;Sheet2!A:B;2)", "########", "#REF!"])
def test_a_formula_or_an_error_is_no_member_id(cell: str) -> None:
    """A formula or an error in place of an id is rejected, and the report says how to get the value."""
    text = f"Member ID\tEmail\n{cell}\ta@example.com\n".encode()
    rows = list(read_members(io.BytesIO(text), today=TODAY))
    assert rows[0].external_id is None
    assert "paste it as values" in rows[0].reason or cell == "#REF!"  # an error counts as missing


def test_an_id_behind_a_text_formula_is_still_one() -> None:
    """Exports keep leading zeros with ="00123"."""
    (row,) = read_members(io.BytesIO(b'Member ID,Email\n"=""00123""",a@example.com\n'), today=TODAY)
    assert (row.external_id, row.problems) == ("00123", ())


def test_a_file_with_a_header_alone_says_so() -> None:
    """A file with a header and no rows imports nothing, and the notes say why."""
    file = read_members(io.BytesIO(b"Member ID,Email,First Name\n"), today=TODAY)
    assert file.total == 0
    assert any("no row below the header" in note for note in file.notes)


def test_dates_that_allow_both_orders_say_how_to_turn_them() -> None:
    """If dates allow both orders, the notes name the guess and the option that changes it."""
    text = b"Member ID,Email,Birthday\nM-1,a@example.com,03/04/1990\n"
    for region, other in (("US", "DMY"), ("GB", "MDY")):
        (decision,) = read_members(io.BytesIO(text), today=TODAY, default_region=region).decisions
        assert f"say date_order {other} and import it again" in decision.reason


def test_a_table_above_the_header_and_gaps_of_merged_cells_are_no_members() -> None:
    """A title, a line of groups and the gaps of merged cells are skipped; the members between them are read."""
    emails, reasons = report(
        "Members of Tea Club,,,\n,,,\nBranch,Member ID,Name,Email\nNorth,M-1,Ann Archer,a@example.com\n"
        ",M-2,Bob Baker,b@example.com\n,,,\nSouth,,,\n,M-3,Cy Cole,c@example.com\n"
    )
    assert emails == ["a@example.com", "b@example.com", "c@example.com"]
    assert list(reasons) == [7]
