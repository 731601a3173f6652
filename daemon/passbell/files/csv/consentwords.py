"""The words by which the name of a column is read: consentnames.tsv, by their meaning."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from passbell.files.csv.headernames import fold
from passbell.files.csv.tables import table


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
    listed: dict[str, list[str]] = {}
    for meaning, _language, words in table("consentnames.tsv"):
        listed.setdefault(meaning, []).extend(word.strip() for word in words.split(","))
    return {
        meaning: Words(
            frozenset(fold(word) for word in words if "*" not in word),
            tuple(fold(word) for word in words if word[0] != "*" and word[-1] == "*"),
            tuple(fold(word) for word in words if word[0] == "*"),
        )
        for meaning, words in listed.items()
    }


@cache
def promises() -> re.Pattern[str]:
    """Match what promises that it can be taken back: "at any time"."""
    phrases = [phrase.strip() for _, _, listed in _rows("anytime") for phrase in listed.split(",")]
    return re.compile("|".join(re.escape(plain(phrase)) for phrase in phrases))


def _rows(meaning: str) -> list[list[str]]:
    return [row for row in table("consentnames.tsv") if row[0] == meaning]


def plain(text: str) -> str:
    """Take the marks off the letters."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(mark for mark in folded if not unicodedata.combining(mark))
