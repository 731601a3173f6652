"""What a record is: exactly what the stdlib csv module says, wherever blocks of reading fall."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passbell.files.csv import UnclosedQuote, read_ids, read_members, records
from passbell.files.csv.records import _Quotes

CASES = Path(__file__).parent / "cases"
TEXTS = st.text('ab",;\r\n\0 ', max_size=48)


def _stdlib(text: str) -> list[list[str]]:
    plain = io.StringIO(text.replace("\0", ""), newline="")
    return list(csv.reader(plain, skipinitialspace=True))


@settings(max_examples=2_000, deadline=None)
@given(text=TEXTS, block=st.sampled_from([1, 2, 3, 7, 1 << 16]))
@example(text='";\r;"', block=1 << 16)
@example(text='a,"b\nc,d\ne,f"\ng,h\n', block=1 << 16)
@example(text='"a""\r\n"",b"\r\nc', block=2)
@example(text='a"b\nc"d\n', block=1 << 16)
@example(text="a\r\0\nb\r\rc\n", block=1)
@example(text='a,"b\r', block=3)
def test_b3_records_are_those_of_the_csv_module(text: str, block: int) -> None:
    """Rows, quoted line breaks, doubled and stray quotes, bare CR and NULs are split as Python's reader does."""
    before = records.BLOCK_CHARS
    records.BLOCK_CHARS = block
    try:
        read = list(records.records(io.StringIO(text, newline=""), ","))
    finally:
        records.BLOCK_CHARS = before
    expected = _stdlib(text)
    assert [row for row, _, _ in read] == list(range(1, len(expected) + 1))
    open_at_the_end = bool(read) and read[-1][2] is not None
    assert [cells for _, cells, problem in read if problem is None] == expected[
        : -1 if open_at_the_end else None
    ]
    if open_at_the_end:
        assert "never closed" in (read[-1][2] or "")


@settings(max_examples=2_000, deadline=None)
@given(text=st.text('ab", \r\n', max_size=48), cut=st.integers(0, 5))
def test_the_end_of_a_record_is_found_without_its_text(text: str, cut: int) -> None:
    """Where a record that is too long ends is found by the same rules, also when its lines come in pieces."""
    lines = list(io.StringIO(text, newline=""))
    taken: list[int] = []
    reader = csv.reader(
        (taken.append(number) or line for number, line in enumerate(lines)), skipinitialspace=True
    )  # type: ignore[func-returns-value]
    expected = [taken[-1] for _ in reader]
    found, quotes = [], _Quotes(",")
    for number, line in enumerate(lines):
        ended = [quotes.ends_after(piece) for piece in (line[:cut], line[cut:]) if piece]
        if ended[-1] or number == len(lines) - 1:
            found.append(number)
            quotes = _Quotes(",")
    assert found == expected


@pytest.mark.parametrize("lines", [2, 150, 9_000])
def test_b3_a_long_note_is_one_row(lines: int) -> None:
    """A quoted note of many lines, each of which looks like a row, belongs to one member."""
    note = "\n".join(f"M-{number},x" for number in range(lines))
    content = f'member_id,note\nM-a1,"{note}"\nM-b2,y\n'.encode()
    read = [(row.value, row.problem is None) for row in read_ids(io.BytesIO(content))]
    assert read == [("M-a1", True), ("M-b2", True)]


@pytest.mark.parametrize("lines", [30_000, 200_000])
def test_a_note_longer_than_any_costs_its_row(lines: int) -> None:
    """A cell that is too long for Python's reader rejects its row; the rows after it are read."""
    note = "\n".join(f"M-{number},x" for number in range(lines))
    content = f'member_id,note\nM-a1,"{note}"\nM-b2,y\n'.encode()
    read = list(read_ids(io.BytesIO(content)))
    assert [(row.row_number, row.value, row.problem is None) for row in read] == [
        (2, "M-a1", False),
        (3, "M-b2", True),
    ]
    assert f"takes in what follows ({lines - 1:,} lines)" in (read[0].problem or "")


def test_b3_a_list_whose_rest_is_in_quotes_is_refused() -> None:
    """A list with a quote that is never closed is refused, because it may have swallowed rows."""
    with pytest.raises(
        UnclosedQuote, match=r'Row 3: a quote \("\) is opened .* \(2 lines\).* Nothing was read'
    ):
        list(read_ids(io.BytesIO(b'member_id,note\nM-1,x\nM-2,"called\nM-3,x\nM-4,x\n')))


LISTS = {
    "06_quoted_newline/wrong_people.csv": ["M-1", "M-2"],
    "06_quoted_newline/list2.csv": ["M-1", "M-2"],
    "06_quoted_newline/list3.csv": ["M-1", "M-2"],
    "06_quoted_newline/import4.csv": ["M-1", "M-2"],
    "07_one_line_list/one_line.csv": ["M-1", "M-2", "M-3"],
    "07_one_line_list/semicolon.csv": ["M-1", "M-2", "M-3"],
    "07_one_line_list/spaces.csv": ["M-1", "M-2", "M-3"],
    "07_one_line_list/header.csv": ["M-1", "M-2", "M-3"],
    "07_one_line_list/quoted.csv": ["M-1", "M-2"],
    "07_one_line_list/shifted.csv": ["!Doe,John,M-1", "M-2"],
    "07_one_line_list/shifted_wrong.csv": ["!Doe,M-7,M-1,x", "M-2"],
    "07_one_line_list/unquoted_comma.csv": ["!M-1,Doe,John", "M-2"],
    "17_data_row_taken_as_header/list.csv": ["M-1", "M-2", "M-3", "M-4"],
    "17_data_row_taken_as_header/list2.csv": ["M-1", "M-2", "M-3"],
    "17_data_row_taken_as_header/wrong_col.csv": ["M-1", "M-2", "M-3"],
}
TEXT_LISTS = {
    "1042,1043,1044": ["1042", "1043", "1044"],
    "1,042": ["!1,042"],
    "member_id\n1,042\n": ["!1,042"],
    'member_id\n"1,042"\n': ["1,042"],
    'member_id\n"M-1\nM-2"\nM-3\n': ["!M-1 M-2", "M-3"],
    "M-1,M-2\nM-3,M-4\n": ["M-1", "M-2", "M-3", "M-4"],
    "M-1\nM-2,M-3\nM-4\n": ["M-1", "M-2", "M-3", "M-4"],
    "member_id\nM-1\nM-2,Doe\n": ["M-1", "!M-2,Doe"],
    "1042,62704\n1043,62705\n": ["1042", "1043"],
    "6012 3456 7890\n": ["6012 3456 7890"],
    '"member_id,note"\n"M-1,x"\n"M-2,y"\n': ["M-1", "M-2"],
    "M-1,Phone,Store\nM-2,Email,Newsletter\n": ["M-1", "M-2"],
    "Newsletter\n\nmember_id,email\nM-1,a@example.com\n": ["M-1"],
    "Member #,Name\nM-1,Email\nM-2,City\n": ["M-1", "M-2"],
}


def _list(content: bytes) -> list[str]:
    return [f"{'!' if row.problem else ''}{row.value}" for row in read_ids(io.BytesIO(content))]


@pytest.mark.parametrize("name", LISTS)
def test_b4_a_list_names_whom_a_person_sees_in_it(name: str) -> None:
    """Line breaks in cells add no member, a line of ids is as many members, a shifted row names none."""
    assert _list((CASES / name).read_bytes()) == LISTS[name]


@pytest.mark.parametrize("text", TEXT_LISTS)
def test_lists_of_other_shapes(text: str) -> None:
    """Ids in rows, numbers with commas, cells with several ids: taken where it is evident, else rejected."""
    assert _list(text.encode()) == TEXT_LISTS[text]


def test_b4_the_ids_of_one_line_are_counted() -> None:
    """Each id of a line has a number of its own, so that each can be reported."""
    assert [row.row_number for row in read_ids(io.BytesIO(b"M-1,M-2\nM-3,M-4\n"))] == [1, 2, 3, 4]


@pytest.mark.parametrize(("name", "emails"), [("import.csv", 2), ("import2.csv", 2)])
def test_b4_words_in_a_row_of_data_make_no_header(name: str, emails: int) -> None:
    """A row of data with the words Mobile, Newsletter and City is not taken for a header."""
    rows = list(read_members(CASES / "17_data_row_taken_as_header" / name, today=date(2026, 11, 21)))
    assert [row.email for row in rows] == [f"h{number}@example.com" for number in range(1, emails + 1)]
