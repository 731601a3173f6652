"""Big and broken files: memory stays small, one bad row costs one row."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passbell.files.csv import CsvError, NotCsv, TooManyRows, read_ids, read_members, sniff

CORPUS = Path(__file__).parent / "corpus"
TODAY = date(2026, 11, 21)

_MEASURE = """
import resource, sys
from passbell.files.csv import read_ids
from passbell.files.csv import read_members
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
count = sum(1 for _ in read_ids(sys.argv[1]))
print(count, int(peak() - before))
"""


@pytest.mark.slow
@pytest.mark.parametrize("quoted", [False, True], ids=["plain", "quoted"])
def test_a_million_ids_take_little_memory(*, tmp_path: Path, quoted: bool) -> None:
    """A hit list of a million rows grows the process by less than 60 MB."""
    path = tmp_path / "ids.csv"
    shape = '"M-{:09d}"\n' if quoted else "M-{:09d}\n"
    with path.open("w") as out:
        out.write("member_id\n")
        out.writelines(map(shape.format, range(1_000_000)))
    done = subprocess.run([sys.executable, "-c", _MEASURE, path], check=True, capture_output=True, text=True)
    count, megabytes = map(int, done.stdout.split())
    assert count == 1_000_000
    assert megabytes < 60


def test_too_many_rows_end_the_reading() -> None:
    """A list longer than allowed is refused, not cut."""
    content = b"member_id\n" + b"M-123\n" * 11
    assert len(list(read_ids(io.BytesIO(content), max_rows=11))) == 11
    with pytest.raises(TooManyRows, match="more than 10 rows"):
        list(read_ids(io.BytesIO(content), max_rows=10))
    with pytest.raises(TooManyRows):
        read_members(io.BytesIO(content), today=TODAY, max_rows=10)


@pytest.mark.parametrize("rows_before", [0, 1, 9_000])
def test_a_quote_that_is_never_closed_ends_the_file(rows_before: int) -> None:
    """What follows a quote that is never closed is one cell: no row is made of it, and the report says so."""
    before = "".join(f"a{i}@example.com,Ann\n" for i in range(rows_before))
    after = "".join(f"b{i}@example.com,Bob\n" for i in range(20_000))
    content = f'email,first_name\n{before}"x@example.com,Cy\n{after}'.encode()
    rows = list(read_members(io.BytesIO(content), today=TODAY))
    assert [row.row_number for row in rows] == list(range(2, rows_before + 3))
    assert [row.row_number for row in rows if row.rejected] == [rows_before + 2]
    assert "never closed, so what follows belongs to it (20,000 lines)" in rows[-1].reason


@pytest.mark.parametrize("size", [200_000, 300_000, 1_500_000])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_very_long_line_costs_one_row(size: int, quote: str, end: str) -> None:
    """A row longer than any row is rejected by itself, wherever the blocks of reading fall."""
    lines = [
        "email,first_name",
        "a@example.com,Ann",
        f"x@example.com,{quote}{'x' * size}{quote}",
        "b@example.com,Bob",
    ]
    rows = list(read_members(io.BytesIO(end.join([*lines, ""]).encode()), today=TODAY))
    assert [(row.row_number, row.email, row.rejected) for row in rows] == [
        (2, "a@example.com", False),
        (3, None, True),
        (4, "b@example.com", False),
    ]
    assert "longer than" in rows[1].reason
    assert sum(map(len, rows[1].cells)) < 5_000


def test_rows_are_whole_wherever_the_blocks_of_reading_fall() -> None:
    """Rows with quoted line breaks, plain rows and every line end survive being read in blocks."""
    for end in ("\n", "\r\n", "\r"):
        lines = [
            f'a{i}@example.com,"A{end}{i}"' if i % 7 == 0 else f"a{i}@example.com,A {i}"
            for i in range(12_000)
        ]
        content = end.join(["email,first_name", *lines]).encode()
        rows = list(read_members(io.BytesIO(content), today=TODAY))
        assert [row.first_name for row in rows] == [f"A {i}" for i in range(12_000)]
        assert [row.row_number for row in rows] == list(range(2, 12_002))


def test_an_endless_first_line_is_not_a_csv() -> None:
    """Half a megabyte without a line end is refused with a sentence."""
    with pytest.raises(NotCsv, match="first line is longer"):
        sniff(io.BytesIO(b"x" * 600_000))


@pytest.mark.parametrize(
    ("names", "kind", "word"),
    [
        (("xl/workbook.xml", "[Content_Types].xml"), "xlsx", "Excel"),
        (("[Content_Types].xml", "word/document.xml"), "docx", "Word"),
        (("[Content_Types].xml", "ppt/presentation.xml"), "pptx", "presentation"),
        (("Index/Document.iwa",), "numbers", "Numbers"),
        (("members.csv",), "zip", "Unpack it"),
    ],
)
def test_a_zip_is_called_what_it_is(names: tuple[str, ...], kind: str, word: str) -> None:
    """An Office document renamed to .csv is named, whatever the order of the files in it; big ones too."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("docProps/thumbnail.jpeg", bytes(200_000))
        for name in names:
            archive.writestr(name, "x")
    with pytest.raises(NotCsv, match=word) as refused:
        sniff(out)
    assert refused.value.kind == kind


class _Pipe(io.RawIOBase):
    """Bytes that come once and cannot be read again, as from a socket."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(buffer)


def test_a_stream_that_cannot_rewind_is_read_too() -> None:
    """An upload may come as a stream that can be read only once."""
    pipe = cast("IO[bytes]", io.BufferedReader(_Pipe(b"member_id\n001\n002\n")))
    assert [row.value for row in read_ids(pipe)] == ["001", "002"]


def test_reading_leaves_the_callers_stream_open() -> None:
    """A stream belongs to the caller; it can be read twice and is not closed."""
    stream = io.BytesIO(b"email\na@example.com\n")
    file = read_members(stream, today=TODAY)
    assert list(file) == list(file)
    assert not stream.closed


def test_many_rows_with_the_same_address_name_the_last_one() -> None:
    """Among thousands of rows each earlier one names the last row with its address."""
    content = "email\n" + "".join(f"m{i % 3000}@example.com\n" for i in range(9_000))
    rows = list(read_members(io.BytesIO(content.encode()), today=TODAY))
    assert [row.superseded_by for row in rows[:6000]] == [
        row.row_number + (6000 - 3000 * (i // 3000)) for i, row in enumerate(rows[:6000])
    ]
    assert not any(row.rejected for row in rows[6000:])


def test_an_unknown_region_is_a_mistake_of_the_caller() -> None:
    """A region that does not exist is refused before anything is read; UK means GB."""
    with pytest.raises(ValueError, match="two-letter code"):
        read_members(io.BytesIO(b""), today=TODAY, default_region="XX")
    file = read_members(
        io.BytesIO(b"email,phone\na@example.com,020 7946 0958\n"), today=TODAY, default_region="UK"
    )
    assert [row.phone for row in file] == ["+442079460958"]


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(path.name for path in CORPUS.glob("*.csv"))),
    cut=st.integers(0, 400),
    noise=st.binary(max_size=6),
    where=st.integers(0, 400),
)
def test_damaged_files_are_read_or_refused_never_a_crash(
    name: str, cut: int, noise: bytes, where: int
) -> None:
    """Any bytes give rows or one sentence, never a traceback."""
    content = (CORPUS / name).read_bytes()
    content = (content[:where] + noise + content[where:])[: len(content) - cut or None]
    for read in (read_ids, partial(read_members, today=TODAY)):
        with suppress(CsvError):
            list(read(io.BytesIO(content)))
