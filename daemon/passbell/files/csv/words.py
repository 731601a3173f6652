"""The words that the reader knows, and how a text is reduced before it is compared with them.

The words are data: columns.tsv, consent.tsv, consentnames.tsv, months.tsv and others of this package.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def table(name: str) -> Iterator[list[str]]:
    """Read one of the tables: rows of cells, without the remarks."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return (line.split("\t") for line in text.splitlines() if line and line[0] != "#")


_PARENTHESES = re.compile(r"[(\[{\uff08【][^)\]}\uff09】]*[)\]}\uff09】]")
_READING = re.compile(r"カナ|かな|フリガナ|ふりがな|ローマ字|phonetic", re.IGNORECASE)
_CUT_NOT = re.compile(r"n['\u2019]t\b", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_JOINED = re.compile(
    r"\b(e|opt|opted|sign|non)[-_ ](?=\w)(mails?|post\w*|b\u00fclten\w*|in|out|up|subscribed)", re.IGNORECASE
)
_NOT_WORD = re.compile(r"[\W_]+")
_TRANSLITERATED = str.maketrans({
    "ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i",
    "#": " no ", "°": "o",
})  # fmt: skip


def fold(name: str) -> str:
    """Reduce a header to its letters and digits: ` E-Mail_Address (work)* ` becomes `emailaddress`."""
    if _READING.search(name) is None and (shorter := _PARENTHESES.sub(" ", name)).strip():
        name = shorter
    if name.isascii():
        return _NOT_WORD.sub("", name.lower().replace("#", " no "))
    text = unicodedata.normalize("NFKD", name).casefold().translate(_TRANSLITERATED)
    plain = "".join(character for character in text if not unicodedata.combining(character))
    return _NOT_WORD.sub("", plain)


def in_parentheses(name: str) -> str:
    """Give the text in parentheses, which `fold` drops."""
    return " ".join(_PARENTHESES.findall(name))


def words_of(name: str) -> tuple[str, ...]:
    """Give the folded words of a header: `HasOptedOutOfEmail` has five; "e-mail" and "opt-out" are one each."""
    parts = _NOT_WORD.split(_JOINED.sub(r"\1\2", _CAMEL.sub(" ", _CUT_NOT.sub("nt", name))))
    return tuple(word for part in parts if (word := fold(part)))


class Words(NamedTuple):
    """The words of one meaning: whole ones, beginnings, and parts of the folded name."""

    whole: frozenset[str]
    begin: tuple[str, ...]
    inside: tuple[str, ...]

    def among(self, words: tuple[str, ...], folded: str) -> bool:
        """Say whether the name has one of them."""
        return (
            not self.whole.isdisjoint(words)
            or any(word.startswith(self.begin) for word in words)
            or any(part in folded for part in self.inside)
        )


@cache
def table_of_words() -> dict[str, Words]:
    """Give the words of each meaning."""
    by_meaning: dict[str, list[str]] = {}
    for meaning, _language, words in table("consentnames.tsv"):
        by_meaning.setdefault(meaning, []).extend(word.strip() for word in words.split(","))
    return {
        meaning: Words(
            frozenset(fold(word) for word in words if "*" not in word),
            tuple(fold(word) for word in words if word[0] != "*" and word[-1] == "*"),
            tuple(fold(word) for word in words if word[0] == "*"),
        )
        for meaning, words in by_meaning.items()
    }


def words_for(name: str, meaning: str) -> list[str]:
    """Read the words of one meaning in consent.tsv or consentnames.tsv."""
    return [word.strip() for found, _, words in table(name) if found == meaning for word in words.split(",")]


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Match one of the words, wherever it is in a text."""
    return re.compile("|".join(map(re.escape, words)))


@cache
def promises() -> re.Pattern[str]:
    """Match what promises that it can be taken back: "at any time"."""
    return any_of(map(plain, words_for("consentnames.tsv", "anytime")))


def plain(text: str) -> str:
    """Take the marks off the letters."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(mark for mark in folded if not unicodedata.combining(mark))
