"""Reading one birth date from a cell, without yet deciding between day first and month first.

`read` gives what the cell can mean; `passbell.files.csv.dateorder` decides for the whole column. No general
date parser is used: they read 1990-04-03 as 4 March when told "day first", and make a date of "Friday" or
"N/A".
"""

from __future__ import annotations

import calendar
import re
import unicodedata
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

from passbell.files.csv.words import table

MAX_AGE_YEARS: Final = 120
# Day 0 of Excel's 1900 system, moved by one day for the 29 February 1900 that Excel invented.
_EXCEL_EPOCH: Final = date(1899, 12, 30)
_MAX_SERIAL: Final = 80_000  # the year 2119
# The zero of Unix, Excel and Lotus, and the evening before it where the clock is behind.
_PLACEHOLDERS: Final = frozenset({
    date(1900, 1, 1), date(1970, 1, 1), date(1904, 1, 1), date(1969, 12, 31), date(1903, 12, 31),
    date(1899, 12, 31), date(1899, 12, 30), date(1, 1, 1), date(1753, 1, 1), date(1601, 1, 1),
})  # fmt: skip
_ERAS: Final = {
    "m": 1867,
    "明治": 1867,
    "明": 1867,
    "大": 1911,
    "昭": 1925,
    "平": 1988,
    "令": 2018,
    "t": 1911,
    "大正": 1911,
    "s": 1925,
    "昭和": 1925,
    "h": 1988,
    "平成": 1988,
    "r": 2018,
    "令和": 2018,
    "民国": 1911,
    "民國": 1911,
}
_BUDDHIST, _BUDDHIST_AHEAD = 2400, 543
_APPLE_NO_YEAR = 1604  # what Apple's contacts export
_HIJRI: Final = range(1270, 1480)
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
_FAR = 9999
_CENTURY = 100
_TWO_DIGITS = 2


def is_default(day: date) -> bool:
    """Say whether programs write this day for a missing date; its order of day and month proves nothing."""
    return day in _PLACEHOLDERS or day.year == _FAR


NO_SUCH_DAY: Final = "there is no such day"
NOT_A_DATE: Final = "this is not a date that can be read; write it as YYYY-MM-DD"
LOOKS_SERIAL: Final = (
    "this looks like Excel's number for a date; format the column as a date, or write YYYY-MM-DD"
)
ONLY_YEAR: Final = "this is only a year; write the whole date as YYYY-MM-DD"
HASHES: Final = "the spreadsheet column was too narrow and the date was lost; widen it and save again"
SHIFTED: Final = (
    "this date carries a time and a time zone, so the day may be off by one; write it as YYYY-MM-DD"
)
PLACEHOLDER: Final = "this is a placeholder, taken as missing"
NO_YEAR: Final = "a birthday without a year; add the year, or leave it: without one it is not stored"
OTHER_CALENDAR: Final = (
    "this is a year of another calendar (Persian or Islamic); write the date as YYYY-MM-DD"
)
FUTURE: Final = "this date lies in the future, taken as missing"
TOO_OLD: Final = f"this would be an age above {MAX_AGE_YEARS}, taken as missing"


class Numbers(NamedTuple):
    """Three numbers whose order is open: 03/04/90. `long_year`: the last one has four digits."""

    a: int
    b: int
    c: int
    long_year: bool


class Serial(NamedTuple):
    """A bare number that Excel would show as a date."""

    days: int


class Unreadable(NamedTuple):
    """Not a date, and why."""

    reason: str


class ShortYear(NamedTuple):
    """A date with a month name and a two-digit year: 3 Apr 90."""

    year: int
    month: int
    day: int


Order = Literal["DMY", "MDY", "YMD"]
Reading = date | Numbers | Serial | ShortYear | Unreadable

_MONTHS: Final[dict[str, int]] = {
    name: int(number) for number, names in table("months.tsv") if number != "0" for name in names.split()
}
_WEEKDAYS: Final = frozenset(
    name for number, names in table("months.tsv") if number == "0" for name in names.split()
)
# Before the date as in "Tue, 3 Apr 1990", or behind it.
_WEEKDAY_FIRST = re.compile(r"([^\W\d_]{2,})[.,]*\s+(?=\S*\d|\w+ \d)")
_WEEKDAY_LAST = re.compile(r"\s*[(（]?[月火水木金土日](?:曜日?)?[)）]?$")  # noqa: RUF001

_SEPARATOR = r"\s*[-/.,\s]\s*"
_TIME = re.compile(
    r"(?:T|\s+)(?P<h>\d{1,2})[:.](?P<m>\d{2})(?:[:.](?P<s>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[ap]\.?m\.?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$",
    re.IGNORECASE,
)
_YEAR_FIRST = re.compile(rf"(\d{{4}}){_SEPARATOR}(\d{{1,2}}){_SEPARATOR}(\d{{1,2}})\.?")
_YEAR_LAST = re.compile(rf"(\d{{1,2}}){_SEPARATOR}(\d{{1,2}}){_SEPARATOR}(\d{{4}}|\d{{2}})\.?")
_COMPACT = re.compile(r"(19|20)(\d{2})(\d{2})(\d{2})")
_SERIAL = re.compile(r"(\d{1,5})(?:[.,]0+)?")
_ZEROS = re.compile(r"0{1,4}([-/. ])0{1,2}\1(?:0{1,4}|1900)|00/01/1900|0")
_NAME = r"([^\W\d_]{2,})"
_DAY_NAME = rf"(\d{{1,2}})(?:st|nd|rd|th|er|[.ºª°])?[-/.,\s]*(?:of\s+|de\s+|d'|ב)?{_NAME}"
_DAY_NAME_YEAR = re.compile(rf"{_DAY_NAME}[-/.,\s]*(?:del?\s+)?(\d{{4}}|\d{{2}})")
_NAME_DAY_YEAR = re.compile(rf"{_NAME}[-/.\s]*(\d{{1,2}})(?:st|nd|rd|th)?[-/.,\s]+(\d{{4}}|\d{{2}})")
_YEAR_NAME_DAY = re.compile(rf"(\d{{4}})[-/.,\s]*{_NAME}[-/.,\s]*(\d{{1,2}})")
_NO_YEAR_NAMED = re.compile(rf"{_DAY_NAME}|{_NAME}[-/.\s]*(\d{{1,2}})(?:st|nd|rd|th)?")
_NO_YEAR = re.compile(
    r"(?:-{2}|[xX?0]{4}[-/.])?(\d{1,2})[-/. ](\d{1,2})\.?(?:[-/. ][xX?0]{4})?"
    r"|(?:(\d{1,2})月(\d{1,2})日)|--(\d{2})(\d{2})"
)
_MONTHS_OF_YEAR = 12
_CJK = re.compile(r"(\d{2,4})年(\d{1,2})月(\d{1,2})日?|(\d{4})년(\d{1,2})월(\d{1,2})일")
_ERA = re.compile(
    r"(明治|大正|昭和|平成|令和|民国|民國|[明大昭平令MTSHR])(元|\d{1,3})(?:年|[-/.])(\d{1,2})(?:月|[-/.])(\d{1,2})日?",
    re.IGNORECASE,
)
_ZERO_OF_UNIX = re.compile(r"1969[-/]12[-/]31|12/31/1969|31/12/1969|1970[-/]0?1[-/]0?1|0?1/0?1/1970")
_DASHES = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\u2215\u2044", "------//")


def make(year: int, month: int, day: int) -> date | Unreadable:
    """Build a date, or say that the calendar has no such day."""
    try:
        return date(year, month, day)
    except ValueError:
        return Unreadable(NO_SUCH_DAY)


def _without_year(first: int, second: int) -> bool:
    """Say whether two numbers can be a day and a month, in either order."""
    return any(
        1 <= month <= _MONTHS_OF_YEAR and 1 <= day <= calendar.monthrange(2000, month)[1]
        for month, day in ((first, second), (second, first))
    )


def _east_asian(text: str) -> Reading | None:
    """Read 1990年4月3日, 昭和55年3月4日, S55.3.4, 民國79年4月3日 and 1990년 4월 3일."""
    compact = text.replace(" ", "")
    if match := _ERA.fullmatch(compact):
        year = 1 if match[2] == "元" else int(match[2])
        return make(_ERAS[match[1].casefold()] + year, int(match[3]), int(match[4]))
    if match := _CJK.fullmatch(compact):
        year, month, day = (int(part) for part in match.groups() if part)
        return make(year, month, day) if year >= _FIRST_YEAR else Unreadable(NOT_A_DATE)
    return None


def full_year(short: int, month: int, day: int, today: date) -> int:
    """Give the century to a two-digit year: the latest one that is not in the future."""
    year = today.year - today.year % _CENTURY + short
    return year - _CENTURY if (year, month, day) > (today.year, today.month, today.day) else year


def _named(year: str, name: str, day: str) -> Reading:
    month = _MONTHS.get(name)
    if month is None:
        return Unreadable(NOT_A_DATE)
    if len(year) == _TWO_DIGITS:
        return ShortYear(int(year), month, int(day))
    return make(int(year), month, int(day))


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in folded if not unicodedata.combining(character))


def _with_month_name(text: str) -> Reading:
    """Read `3 April 1990`, `Apr 3, 90`, `3. März 1990`, `3 de abril de 1990`, `1990-Apr-03`."""
    plain = _plain(text)
    if match := _DAY_NAME_YEAR.fullmatch(plain):
        return _named(match[3], match[2], match[1])
    if match := _NAME_DAY_YEAR.fullmatch(plain):
        return _named(match[3], match[1], match[2])
    if match := _YEAR_NAME_DAY.fullmatch(plain):
        return _named(match[1], match[2], match[3])
    if (match := _NO_YEAR_NAMED.fullmatch(plain)) and (match[2] or match[3]) in _MONTHS:
        return Unreadable(NO_YEAR)
    return Unreadable(NOT_A_DATE)


def _without_weekday(text: str) -> str:
    """Drop the day of the week. "Mar" is March before it is mardi."""
    if (
        (match := _WEEKDAY_FIRST.match(text))
        and (day := _plain(match[1])) in _WEEKDAYS
        and day not in _MONTHS
    ):
        return text[match.end() :]
    if not text.isascii() and text[-1] in ")）日曜月火水木金土":  # noqa: RUF001
        shorter = _WEEKDAY_LAST.sub("", text)
        return shorter if shorter.endswith("日") else text
    return text


def _without_time(text: str) -> tuple[str, bool]:
    """Cut off a time of day; the flag says that a zone makes the day itself doubtful."""
    match = _TIME.search(text)
    if match is None or not match.start():
        return text, False
    midnight = (
        int(match["h"]) in {0, 12 if match["half"] else 0}
        and not int(match["m"])
        and not int(match["s"] or 0)
    )
    return text[: match.start()].strip(), bool(match["zone"]) and not midnight


def read(text: str) -> Reading:  # noqa: C901, PLR0911 -- one return per way to write a date
    """Say what a cleaned, non-missing cell can mean as a date."""
    if not text.isascii():
        text = text.translate(_DASHES)
    text = _without_weekday(text)
    if (reading := _east_asian(text)) is not None:
        return reading
    text, shifted = _without_time(text) if ":" in text or "T" in text else (text, False)
    if shifted:
        return Unreadable(PLACEHOLDER if _ZERO_OF_UNIX.fullmatch(text) else SHIFTED)
    if (match := _NO_YEAR.fullmatch(text)) and _without_year(*map(int, filter(None, match.groups()))):
        return Unreadable(NO_YEAR)
    if match := _YEAR_FIRST.fullmatch(text):
        if _ZEROS.fullmatch(text):
            return Unreadable(PLACEHOLDER)
        return make(int(match[1]), int(match[2]), int(match[3]))
    if _ZEROS.fullmatch(text):
        return Unreadable(PLACEHOLDER)
    if match := _YEAR_LAST.fullmatch(text):
        return Numbers(int(match[1]), int(match[2]), int(match[3]), len(match[3]) > _TWO_DIGITS)
    if match := _COMPACT.fullmatch(text):
        return make(int(match[1] + match[2]), int(match[3]), int(match[4]))
    if match := _SERIAL.fullmatch(text):
        return Serial(int(match[1]))
    if text and not text.strip("#"):
        return Unreadable(HASHES)
    return _with_month_name(text)


def without_serials(serial: Serial) -> Unreadable:
    """Say what to do about a bare number in a column of ordinary dates."""
    return Unreadable(ONLY_YEAR if _FIRST_YEAR <= serial.days <= _LAST_YEAR else LOOKS_SERIAL)


def from_serial(serial: Serial) -> date | Unreadable:
    """Convert Excel's day number (1900 system, the one of Windows and of every Mac Excel since 2011)."""
    if not 0 < serial.days <= _MAX_SERIAL:
        return Unreadable(NOT_A_DATE)
    return _EXCEL_EPOCH + timedelta(days=serial.days)


def plausible(day: date, today: date) -> date | Unreadable:
    """Turn placeholders, future dates and impossible ages into "missing", with the reason."""
    if day.year >= _BUDDHIST:
        day = date(
            day.year - _BUDDHIST_AHEAD,
            day.month,
            min(day.day, 28) if (day.month, day.day) == (2, 29) else day.day,
        )
    if day.year == _APPLE_NO_YEAR:
        return Unreadable(NO_YEAR)
    if day.year in _HIJRI:
        return Unreadable(OTHER_CALENDAR)
    if day in _PLACEHOLDERS:
        return Unreadable(PLACEHOLDER)
    if day > today:
        return Unreadable(FUTURE)
    if (today.year - day.year, today.month, today.day) > (MAX_AGE_YEARS, day.month, day.day):
        return Unreadable(TOO_OLD)
    return day
