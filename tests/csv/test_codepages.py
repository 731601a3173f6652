"""Code pages: guessed by headers, country and letters; unsure guesses say so, and a word settles them."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest

from passbell.files.csv import CsvError, read_members
from passbell.files.csv.charset import detect
from passbell.files.csv.source import Source

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
    """A named encoding is used, under any of its names, and the reading counts as sure."""
    (row,) = read_members(CASES / "tr1254.csv", today=TODAY, encoding=said)
    assert (row.first_name, row.city, row.unsure) == ("Şule", "İzmir", ())


@pytest.mark.parametrize("said", ["nonsense", "hex", "rot13", ""])
def test_what_is_no_encoding_is_refused(said: str) -> None:
    """A name that is none is answered with those that are."""
    with pytest.raises(CsvError, match="There is no encoding"):
        read_members(CASES / "tr1254.csv", today=TODAY, encoding=said)


# Names of persons in each language; each list is written in each page that has its letters.
NAMES = {
    "PL": ("cp1250 iso8859_2 cp852", "Zoła Gąska,Łukasz Wójcik,Bożena Źrebiec,Michał Ćwik,Grażyna Dąbek,Józef Świątek"),
    "CZ": ("cp1250 iso8859_2 cp852", "Anežka Dvořáková,Jiří Němec,Čeněk Šťastný,Bořivoj Říha,Růžena Žáková,Matěj Král"),
    "HU": ("cp1250 iso8859_2 cp852", "Erzsébet Szűcs,Győző Kőrösi,Ágnes Tóth,Ödön Fülöp,Zsófia Kovács,Ernő Vörös"),
    "TR": ("cp1254 mac_turkish", "Ayşe Yıldız,Çağrı Öztürk,İlker Işık,Şule Güneş,Gülşah Doğan,Uğur Çelik"),  # noqa: RUF001
    "RU": ("cp1251 koi8_r cp866 iso8859_5 mac_cyrillic", "Иван Петров,Ольга Кузнецова,Юлия Щербакова,Пётр Жуков"),
    "BG": ("cp1251 iso8859_5", "Георги Димитров,Йорданка Христова,Цветан Ангелов,Щилиян Тодоров,Ваня Илиева"),
    "GR": ("cp1253 iso8859_7 mac_greek", "Γιώργος Παππάς,Ελένη Δημητρίου,Νίκος Ιωάννου,Μαρία Χατζή,Κώστας Ψαρράς"),
    "IL": ("cp1255", "משה כהן,דנה לוי,רות מזרחי,יוסף פרץ,שרה ביטון,אבי אוחנה"),
    "SA": ("cp1256 iso8859_6", "محمد أحمد,سارة العلي,خالد الحربي,منى حسن,فاطمة الزهراني"),
    "TH": ("cp874", "สมศรี ใจดี,ประยุทธ์ แก้วมณี,มาลี ศรีสุข,อนันต์ ทองคำ"),
    "LT": ("cp1257 iso8859_13", "Jonas Žukauskas,Rūta Kazlauskienė,Mindaugas Šimkus,Eglė Čepaitė,Agnė Jankūnaitė"),
    "DE": ("cp1252 cp850 mac_roman", "Jürgen Groß,Änne Müller,Jörg Weiß,Käthe Böhm,Günther Schröder"),
    "FR": ("cp1252 cp850 mac_roman", "Zoë Lefèvre,Benoît Gérard,Cédric Hébert,François Bérenger,Hélène Noël"),
    "SE": ("cp1252 cp850 mac_roman", "Åsa Ångström,Björn Öberg,Märta Sjögren,Göran Åkesson,Örjan Lindström"),
    "JP": ("cp932 euc_jp", "山田太郎,佐藤花子,鈴木一郎,高橋美咲,伊藤健太"),
    "CN": ("gb18030", "王伟,李娜,张敏,刘洋,陈静,赵磊"),
    "TW": ("big5", "王小明,陳美玲,林志豪,黃淑芬,張家瑋"),
    "KR": ("cp949", "김민수,이서연,박지훈,최유진,정하은"),
}  # fmt: skip
REGIONS = ("US", "DE", "PL", "RU", "GR", "TR", "IL", "SA", "JP", "TW", "KR", "MX")


def test_names_of_many_languages_are_never_wrong_and_sure() -> None:
    """Lists of one to six persons, in 30 pages, in programs of their own country and of others.

    Where a list is read in the wrong page the guess is unsure, so that no stored name is overwritten; at home most
    lists are read without a doubt.
    """
    wrong: list[tuple[str, str, str, str, int]] = []
    sure = at_home = 0
    for language, (pages, listed) in NAMES.items():
        names = listed.split(",")
        for page in pages.split():
            for count in (1, 2, len(names)):
                text = "email,name\n" + "".join(
                    f"m{n}@example.com,{one}\n" for n, one in enumerate(names[:count])
                )
                for region in {language, *REGIONS[count::4]}:
                    found = detect(Source(io.BytesIO(text.encode(page))), region=region)
                    right = text.encode(page).decode(found.encoding, found.errors) == text
                    if found.sure and not right:
                        wrong.append((language, page, region, found.encoding, count))
                    if region == language:
                        at_home += 1
                        sure += found.sure and right
    assert wrong == []
    assert sure >= at_home // 2
