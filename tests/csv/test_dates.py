"""Birthdays as tools of other countries and databases write them."""

from __future__ import annotations

import io
from datetime import date

import pytest

from passbell.files.csv import read_members

TODAY = date(2026, 11, 21)


def _read(cells: list[str], region: str) -> list[date | None]:
    lines = "".join(f'a{at}@example.com,"{cell}"\n' for at, cell in enumerate(cells))
    text = f"email,birthday\n{lines}".encode()
    return [row.birth_date for row in read_members(io.BytesIO(text), today=TODAY, default_region=region)]


@pytest.mark.parametrize(
    ("region", "cell"),
    [
        ("JP", "平2.4.3"),
        ("JP", "平成2年4月3日"),
        ("JP", "H02/04/03"),
        ("JP", "1990年4月3日(火)"),
        ("JP", "1990年4月3日（火曜日）"),  # noqa: RUF001
        ("US", "Tue, 3 Apr 1990"),
        ("US", "Tuesday, April 3, 1990"),
        ("US", "Apr 3, 1990"),
        ("DE", "Di 03.04.1990"),
        ("DE", "Dienstag, 3. April 1990"),
        ("FR", "mardi 3 avril 1990"),
        ("US", "1990-04-03 00:00:00+00"),
        ("SA", "٠٣-٠٤-١٩٩٠"),
    ],
)
def test_a_birthday_in_the_words_of_a_country_is_read(region: str, cell: str) -> None:
    """Eras by one sign, the day of the week beside the date, a time stamp of PostgreSQL: all mean 3 April 1990."""
    assert _read([cell], region) == [date(1990, 4, 3)]


@pytest.mark.parametrize("cell", ["Mar 3, 1990", "March 3 1990"])
def test_march_is_no_day_of_the_week(cell: str) -> None:
    """French Tuesdays and March begin alike."""
    assert _read([cell], "US") == [date(1990, 3, 3)]


@pytest.mark.parametrize("default", ["12/31/1969", "12/31/1969 4:00:00 PM", "12/31/9999"])
def test_what_a_program_writes_for_nothing_decides_no_order(default: str) -> None:
    """A default date in American order does not refuse a file whose birthdays are day first."""
    assert _read(["25/12/1985", default, "03/04/1990"], "GB") == [
        date(1985, 12, 25),
        None,
        date(1990, 4, 3),
    ]
