"""Generated member lists, written the way any program might write them, come back as they were."""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from typing import Any

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from passbell.files.csv import AmbiguousDates, Layout, Reject, read_ids, read_members, sniff, write_rejects
from passbell.files.csv.cells import clean_words, is_missing, neutralise
from passbell.files.csv.contact import read_email, read_phone

TODAY = date(2026, 11, 21)
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEADERS = {
    "external_id": ("external_id", "Member ID", "MEMBER-ID", " member no "),
    "email": ("email", "E-Mail", "Email Address", "\ufeffMail"),
    "first_name": ("first_name", "First Name", "Vorname", "Given Name"),
    "birth_date": ("birth_date", "DOB", "Date of birth", "Geburtsdatum"),
    "city": ("city", "Town", "Ort", " CITY "),
}
DATE_FORMATS = {
    "%Y-%m-%d": None,
    "%Y/%m/%d": None,
    "%Y%m%d": None,
    "%Y-%m-%d 00:00:00": None,
    "%d %B %Y": None,
    "%b %d, %Y": None,
    "%d/%m/%Y": "DMY",
    "%d.%m.%Y": "DMY",
    "%d-%m-%Y": "DMY",
    "%m/%d/%Y": "MDY",
    "%m-%d-%Y": "MDY",
}
# Spaces, quotes, delimiters, line breaks, letters of the code page: what people's names and cities hold.
WORDS = st.text("abc XYZ'.,;|\"\n\r\téüßñ-", max_size=12).filter(lambda text: "\ufffd" not in text)
# Not the days that exports write for an empty cell: any New Year, and the eve of Unix's first day.
BIRTHDAYS = st.dates(date(1910, 1, 2), TODAY).filter(
    lambda day: (day.month, day.day) != (1, 1) and day != date(1969, 12, 31)
)
IDS = st.from_regex(r"[A-Z]?[0-9]{3,12}", fullmatch=True)


@st.composite
def _member_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 12))
    ids = draw(st.lists(IDS, min_size=count, max_size=count, unique=True))
    return [
        {
            "external_id": external_id,
            "email": f"m{number}@example.com",
            "first_name": draw(WORDS),
            "birth_date": draw(st.none() | BIRTHDAYS),
            "city": draw(WORDS),
        }
        for number, external_id in enumerate(ids)
    ]


def _words(text: str) -> str | None:
    cleaned = clean_words(text)
    return None if is_missing(cleaned) else cleaned


@FAST
@given(
    members=_member_lists(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    date_format=st.sampled_from(sorted(DATE_FORMATS)),
    names=st.fixed_dictionaries({field: st.sampled_from(names) for field, names in HEADERS.items()}),
    sep_line=st.booleans(),
)
def test_member_lists_come_back(
    *,
    members: list[dict[str, Any]],
    encoding: str,
    delimiter: str,
    quoting: Any,
    line_end: str,
    date_format: str,
    names: dict[str, str],
    sep_line: bool,
) -> None:
    """Members that any of the export layouts writes are read back unchanged."""
    if encoding == "cp1252":
        names = {field: name.lstrip("\ufeff") for field, name in names.items()}
    out = io.StringIO(newline="")
    if sep_line:
        out.write(f"sep={delimiter}{line_end}")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerow(names.values())
    for member in members:
        day = member["birth_date"]
        cells = {**member, "birth_date": day.strftime(date_format) if day else ""}
        # The stdlib's writer does not quote a line break that is not its own line end.
        writer.writerow([re.sub(r"[\r\n]", line_end, cells[field]) for field in names])
    content = out.getvalue().encode(encoding)
    # Without a mark only the NULs give UTF-16 away; lists of mostly Latin text, as here, have enough of them.
    # Code pages are told apart by the words of languages, and these letters stand at random: the order names it.
    named = encoding if encoding == "cp1252" else None
    order = DATE_FORMATS[date_format]
    file = read_members(io.BytesIO(content), today=TODAY, date_order=order, encoding=named)
    rows = list(file)
    assert [row.problems for row in rows] == [()] * len(members)
    assert [row.external_id for row in rows] == [member["external_id"] for member in members]
    assert [row.email for row in rows] == [member["email"] for member in members]
    assert [row.birth_date for row in rows] == [member["birth_date"] for member in members]
    assert [row.first_name for row in rows] == [_words(member["first_name"]) for member in members]
    assert [row.city for row in rows] == [_words(member["city"]) for member in members]
    assert [row.row_number for row in rows] == list(range(2, len(members) + 2))
    assert file.total == len(members)


@FAST
@given(
    days=st.lists(BIRTHDAYS, min_size=1, max_size=40),
    order=st.sampled_from(["%d/%m/%Y", "%m/%d/%y", "%d.%m.%y"]),
)
def test_one_settling_date_settles_the_column(days: list[date], order: str) -> None:
    """A single date that can be read one way only decides for all the others, whatever the setting says."""
    assume(all(day.year > 1926 for day in days))  # two digits cannot tell older ones
    lines = ["email,dob", *(f"m{i}@example.com,{day.strftime(order)}" for i, day in enumerate(days))]
    lines.append(f"last@example.com,{date(1990, 12, 31).strftime(order)}")
    wrong = "MDY" if order.startswith("%d") else "DMY"
    try:
        rows = list(read_members(io.BytesIO("\n".join(lines).encode()), today=TODAY, date_order=wrong))
    except AmbiguousDates:
        raise AssertionError(lines) from None
    assert [row.birth_date for row in rows if not row.problems][: len(days)] == days


@FAST
@given(
    ids=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{3,20}", fullmatch=True), min_size=1, max_size=50)
)
def test_hit_lists_come_back(ids: list[str]) -> None:
    """A hit list gives back every id in order, duplicates too."""
    assume(
        not any(value.lower() in {"none", "null", "unknown", "blank", "empty", "missing"} for value in ids)
    )
    assume(not any(value.lower() in {"undefined", "unspecified", "leer", "inconnu"} for value in ids))
    listed = list(read_ids(io.BytesIO("\r\n".join(["Member ID", *ids]).encode())))
    assert [(row.row_number, row.value, row.problem) for row in listed] == [
        (number, value, None) for number, value in enumerate(ids, start=2)
    ]


@FAST
@given(
    cells=st.lists(
        st.lists(st.text("=+-@'a1 ,;\"\n\t\r\uff1d", max_size=6), min_size=2, max_size=2), max_size=8
    )
)
def test_rejects_can_be_uploaded_again_and_opened_safely(cells: list[list[str]]) -> None:
    """The file of rejects holds no cell that a spreadsheet runs, and reads back as the original."""
    layout = Layout("utf-8", ";", ("first_name", "email"), {"first_name": 0, "email": 1})
    rows = [[first, f"m{number}@example.com"] for number, (first, _) in enumerate(cells)]
    out = io.BytesIO()
    assert write_rejects(out, (Reject(row, "=evil()") for row in rows), layout=layout) == len(rows)
    assert not out.closed
    out.seek(0)
    written = list(csv.reader(io.StringIO(out.getvalue().decode("utf-8-sig"), newline=""), delimiter=";"))
    assert not [cell for row in written for cell in row if cell.lstrip(" ")[:1] in tuple("=+-@\t\r\uff1d")]
    again = list(read_members(out, today=TODAY))
    assert [row.first_name for row in again] == [_words(first) for first, _ in rows]
    assert sniff(out).delimiter == ";"


@FAST
@given(st.text("=+-@'ab1 \t\r\n\u200b", max_size=8))
def test_neutralised_cells_mean_the_same(cell: str) -> None:
    """A cell that is made harmless for spreadsheets is imported with the same value."""
    assert clean_words(neutralise(cell)) == clean_words(cell)


@FAST
@given(
    local=st.text("abcXYZ019.!#$%&'*+-_ \"@é", min_size=1, max_size=70),
    domain=st.text("abcX9-.", min_size=1, max_size=12)
    | st.sampled_from(["example.com", "bücher.de", "a.test", "x.invalid"]),
)
def test_email_shortcut_agrees_with_the_library(local: str, domain: str) -> None:
    """The quick way for plain addresses accepts and gives exactly what email-validator does."""
    text = f"{local}@{domain}".strip()
    try:
        checked = validate_email(
            text.lower(), check_deliverability=False, test_environment=True
        ).normalized.lower()
    except EmailNotValidError:
        checked = None
    assert read_email(text).value == checked


@FAST
@given(
    digits=st.from_regex(r"[2-9][0-9]{9}", fullmatch=True),
    form=st.sampled_from(["{0}{1}{2}", "({0}) {1}-{2}", "+1{0}{1}{2}", "{0}.{1}.{2}", "+1 {0} {1} {2}"]),
    region=st.sampled_from(["US", "CA", "PR", "GB", "DE", "IT"]),
)
def test_phone_shortcut_agrees_with_the_library(digits: str, form: str, region: str) -> None:
    """The quick way for North American numbers gives exactly what phonenumbers does."""
    text = form.format(digits[:3], digits[3:6], digits[6:])
    number = phonenumbers.parse(text, region)
    valid = phonenumbers.is_valid_number(number)
    expected = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if valid else None
    assert read_phone(text, region).value == expected


def test_rejects_of_rejects_keep_one_reason() -> None:
    """Rows rejected a second time carry the new reason only, and a row with too many cells stays one."""
    first = b"email,city,first_name\nada@example.com,Portland, OR,Ada\n"
    for _ in range(2):
        file = read_members(io.BytesIO(first), today=TODAY)
        (row,) = file
        assert row.rejected
        out = io.BytesIO()
        write_rejects(out, [Reject(row.cells, row.reason)], layout=file.layout)
        first = out.getvalue()
    header, line = first.decode("utf-8-sig").splitlines()
    assert header == "passbell_reason,email,city,first_name"
    assert line.startswith("row 2: the row has 5 cells and the header 4;")
    assert line.endswith(",ada@example.com,Portland,OR,Ada")
