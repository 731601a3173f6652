"""Code pages: guessed by headers, country and letters; unsure guesses say so, and a word settles them."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest

from passbell.files.csv import CsvError, read_members

CASES = Path(__file__).parent / "cases" / "08_codepage"
TODAY = date(2026, 11, 21)

READ = {
    "pl1250": ("PL", "Łukasz", "Łódź"),
    "ru1251": ("RU", "Иван", "Москва"),
    "tr1254": ("TR", "Şule", "İzmir"),
    "jp932": ("JP", "太郎", "東京"),
    "macroman": ("US", "José", "Zürich"),
}


@pytest.mark.parametrize("name", READ)
def test_names_in_the_page_of_the_programs_country(name: str) -> None:
    """A list in the code page of the program's country is read in it."""
    region, first_name, city = READ[name]
    (row,) = read_members(CASES / f"{name}.csv", today=TODAY, default_region=region)
    assert (row.first_name, row.city) == (first_name, city)


@pytest.mark.parametrize("name", ["pl1250", "ru1251", "tr1254", "macroman"])
def test_far_from_home_the_guess_is_unsure_and_says_what_it_read(name: str) -> None:
    """Names that may be wrong are marked, and the report shows three of them and how to say the encoding."""
    file = read_members(CASES / f"{name}.csv", today=TODAY, default_region="US")
    (row,) = file
    assert row.unsure == ("first_name", "city")
    note = next(note for note in file.layout.notes if "is a guess" in note)
    assert f"{row.first_name}, {row.city}" in note
    assert "--encoding" in note


@pytest.mark.parametrize(
    "names",
    [
        ("José", "Zürich"),
        ("Müller", "Jörg"),
        ("Peña", "Núñez"),
        ("François", "Lefèvre"),
        ("Bjørn", "Ångström"),
        ("Zoë", "Chloé"),
        ("João", "São Paulo"),
        ("Günther", "Weiß"),
    ],
)
@pytest.mark.parametrize("region", ["US", "DE"])
def test_western_names_are_sure(names: tuple[str, str], region: str) -> None:
    """Names of western Europe in Excel's usual page are read without a doubt."""
    text = f"email,first_name,last_name\na@example.com,{names[0]},{names[1]}\n".encode("cp1252")
    (row,) = read_members(io.BytesIO(text), today=TODAY, default_region=region)
    assert (row.first_name, row.last_name, row.unsure) == (*names, ())


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("cp1250", ("Jiří", "Dvořák")),
        ("cp1250", ("Němec", "Kučera")),
        ("cp1250", ("Erzsébet", "Szűcs")),
        ("cp1251", ("Ольга", "Чёрная")),
        ("cp1253", ("Γιώργος", "Παππάς")),
        ("cp1254", ("Çağr\u0131", "Öztürk")),
        ("cp1255", ("משה", "כהן")),
        ("cp1256", ("محمد", "أحمد")),
        ("cp874", ("สมศรี", "ใจดี")),
        ("koi8_r", ("Иван", "Петров")),
        ("mac_roman", ("Jörg", "Müller")),
        ("cp850", ("José", "Muñoz")),
    ],
)
def test_no_wrong_name_is_sure(page: str, names: tuple[str, str]) -> None:
    """In a program of the United States a list in any page is read right, or its names overwrite nothing."""
    text = f"email,first_name,last_name\na@example.com,{names[0]},{names[1]}\n".encode(page)
    (row,) = read_members(io.BytesIO(text), today=TODAY, default_region="US")
    assert (row.first_name, row.last_name) == names or row.unsure == ("first_name", "last_name")


@pytest.mark.parametrize(
    ("page", "region", "names"),
    [
        ("mac_roman", "DE", ("Jürgen", "Köln")),
        ("mac_roman", "FR", ("Zoë", "Düsseldorf")),
        ("mac_roman", "JP", ("François", "Besançon")),
        ("cp850", "DE", ("Müller", "Zürich")),
        ("cp1252", "PL", ("Peña", "Málaga")),
        ("cp1252", "CZ", ("Søren", "Århus")),
        ("cp1254", "DE", ("Gül", "Ayd\u0131n")),
        ("iso8859_2", "US", ("Ľubica", "Žilina")),
        ("euc_jp", "US", ("太郎", "東京")),
        ("big5", "US", ("王小明", "台北")),
        ("big5", "TW", ("陳美", "電視")),
    ],
)
def test_no_wrong_name_is_sure_in_any_country(page: str, region: str, names: tuple[str, str]) -> None:
    """The usual page of the country does not make a wrong name sure: it is right, or it overwrites nothing."""
    text = f"email,first_name,last_name\na@example.com,{names[0]},{names[1]}\n".encode(page)
    (row,) = read_members(io.BytesIO(text), today=TODAY, default_region=region)
    read = {"first_name": row.first_name, "last_name": row.last_name}
    unread = {field for field, value in read.items() if value is None}  # damaged: left out and reported
    assert tuple(read.values()) == names or set(row.unsure) | unread == {"first_name", "last_name"}


@pytest.mark.parametrize("said", ["cp1254", "windows-1254", " CP1254 ", "iso8859-9"])
def test_the_encoding_may_be_said(said: str) -> None:
    """A named encoding counts, under any of its names, and then nothing is unsure."""
    (row,) = read_members(CASES / "tr1254.csv", today=TODAY, encoding=said)
    assert (row.first_name, row.city, row.unsure) == ("Şule", "İzmir", ())


@pytest.mark.parametrize("said", ["nonsense", "hex", "rot13", ""])
def test_what_is_no_encoding_is_refused(said: str) -> None:
    """A name that is none is answered with those that are."""
    with pytest.raises(CsvError, match="There is no encoding"):
        read_members(CASES / "tr1254.csv", today=TODAY, encoding=said)
