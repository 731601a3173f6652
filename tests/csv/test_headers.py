"""Names of columns in the languages that passbell knows, and what is no id."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest

from passbell.files.csv import UnknownColumns, read_ids, read_members
from passbell.files.csv.headers import field_of
from passbell.files.csv.words import fold, table

TODAY = date(2026, 11, 21)
FIELDS = (
    "external_id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "birth_date",
    "zip",
    "city",
    "country",
    "marketing_opt_in",
)
LANGUAGES = dict(
    line.split(": ", 1)
    for line in (Path(__file__).parent / "languages.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_columns_of_a_language_are_known(language: str) -> None:
    """A list with headers of this language is understood without renaming a column."""
    names = LANGUAGES[language].split("|")
    assert dict(zip(names, map(field_of, names), strict=True)) == dict(zip(names, FIELDS, strict=True))


def test_no_name_means_two_things() -> None:
    """No name of a column stands for two columns."""
    meanings: dict[str, set[str]] = {}
    for field, _rank, _language, names in table("columns.tsv"):
        for name in names.split(","):
            meanings.setdefault(fold(name), set()).add(field)
    assert {name: fields for name, fields in meanings.items() if len(fields) > 1 or not name} == {}


@pytest.mark.parametrize(
    "text",
    [
        "Card Number,Name\n4242424242424242,Ann\n5555555555554444,Bob\n",
        "Card Number,Card Brand,Last 4\n1234,Visa,4242\n",
        "Order no.,Attendee no.\n123456789,987654321\n",
    ],
)
def test_what_is_no_member_id(text: str) -> None:
    """Payment cards, orders and tickets name no member."""
    with pytest.raises(UnknownColumns):
        list(read_ids(io.BytesIO(text.encode())))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Card Number,Name\n1000234,Ann\n", ["1000234"]),
        ("Loyalty Card #,Name\n4242424242424242,Ann\n", ["4242424242424242"]),
        ("Customer ID,Customer code\n0a1b2c3d,M-1\n", ["M-1"]),
        ("Reference ID,Member ID\n77,M-1\n", ["M-1"]),
        ("Member ID,Customer ID\n,M-1\n,M-2\n", ["M-1", "M-2"]),
        ("Square Customer ID,Reference ID\nABC123,M-1\n", ["M-1"]),
    ],
)
def test_the_column_that_names_the_member(text: str, ids: list[str]) -> None:
    """Of several id columns the best known one with values is taken; a shop's own card number is an id."""
    assert [row.value for row in read_ids(io.BytesIO(text.encode()))] == ids


def _row(text: str, region: str = "US") -> dict[str, object]:
    (row,) = read_members(io.BytesIO(text.encode()), today=TODAY, default_region=region)
    return {name: value for name, value in row._asdict().items() if value is not None}


def test_a_second_column_fills_the_first() -> None:
    """An empty Phone leaves it to Mobile; zip and city come from one address; the country is the phone's."""
    text = (
        "Email,Phone,Mobile,Country,Home City,Home Postcode,Billing City,Billing Zip\n"
        "a@example.com,,0171 1234567,Germany,,,Bonn,53111\n"
    )
    row = _row(text)
    assert (row["phone"], row["city"], row["zip"]) == ("+491711234567", "Bonn", "53111")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("昭和55年3月4日", date(1980, 3, 4)),
        ("S55.3.4", date(1980, 3, 4)),
        ("令和元年5月1日", date(2019, 5, 1)),
        ("1990年4月3日", date(1990, 4, 3)),
        ("١٩٩٠/٠٤/٠٣", date(1990, 4, 3)),
        ("۱۹۹۰-۰۴-۰۳", date(1990, 4, 3)),
        ("2533-04-03", date(1990, 4, 3)),
        ("3 kwietnia 1990", date(1990, 4, 3)),
        ("3. huhtikuuta 1990", date(1990, 4, 3)),
        ("3 Nisan 1990", date(1990, 4, 3)),
        ("3 أبريل 1990", date(1990, 4, 3)),
        ("04/12", "a birthday without a year"),
        ("--05-17", "a birthday without a year"),
        ("1604-05-17", "a birthday without a year"),
        ("4 March", "a birthday without a year"),
        ("1969-12-31", "this is a placeholder"),
        ("12/31/1969", "this is a placeholder"),
        ("1369/01/14", "this is a year of another calendar"),
    ],
)
def test_birthdays_of_other_calendars_and_scripts(cell: str, expected: date | str) -> None:
    """Eras, other digits and other calendars are read; a cell that cannot be a birthday is reported."""
    (row,) = read_members(io.BytesIO(f"email,dob\na@example.com,{cell}\n".encode()), today=TODAY)
    if isinstance(expected, str):
        assert row.birth_date is None
        assert row.problems[0].reason.startswith(expected)
    else:
        assert (row.birth_date, row.problems) == (expected, ())


@pytest.mark.parametrize("full", [",", ", ,", ",,", "Mr.", "Mr. ,", ", Jr.", "Dr. Jr.", "van", "\u3000,"])
def test_a_full_name_of_signs_ends_no_import(full: str) -> None:
    """A name that is a comma or a title alone costs its own row at most; the others are read."""
    text = f'email,name\na@example.com,"{full}"\nb@example.com,Ada Love\n'
    odd, plain = read_members(io.BytesIO(text.encode()), today=TODAY)
    assert odd.email == "a@example.com"
    assert (plain.first_name, plain.last_name) == ("Ada", "Love")
