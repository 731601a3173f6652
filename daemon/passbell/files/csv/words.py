"""The words that the reader knows: how a text is reduced to be compared with them, and which field a header means.

The words are data: columns.tsv has names of columns by field and language; consent.tsv, consentnames.tsv, months.tsv
and others have the rest. Which column wins, if several mean one field, is decided in `headers`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "NEUTRAL",
    "Known",
    "Words",
    "any_of",
    "fold",
    "in_parentheses",
    "known",
    "owner_of",
    "plain",
    "promises",
    "table",
    "table_of_words",
    "words_for",
    "words_of",
]


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


_BRACKETS = re.compile(r"[()\[\]{}\uff08\uff09【】]")
# Signs that mark a required or sorted column in an export.
_DECORATION = re.compile(r"[\s*:▲▼↑↓]+$")

# Whose phone, whose address: the rank of a name is raised by that of the word before it.
_OWNERS: Final[dict[str, int]] = {
    "person": 0, "customer": 0, "member": 0, "contact": 0, "subscriber": 0, "client": 0, "user": 0, "guest": 0,
    "primary": 0, "your": 0, "main": 0, "cardholder": 0, "account": 0, "my": 0, "attendee": 0, "buyer": 0,
    "home": 1, "private": 1, "personal": 1, "mailing": 1, "defaultaddress": 1, "address1": 1, "address": 1,
    "privat": 1, "residential": 1, "current": 1, "domicile": 1, "physical": 1, "postal": 1, "adr": 1, "street": 1,
    "primaryaddress": 1, "privee": 1, "particular": 1, "casa": 1, "prive": 1, "hem": 1, "koti": 1, "domowy": 1,
    "billing": 3, "invoice": 3, "rechnungs": 3, "facturation": 3, "facturacion": 3,
    "shipping": 4, "delivery": 4, "liefer": 4, "livraison": 4, "envio": 4,
    "business": 5, "work": 5, "office": 5, "company": 5, "geschaftlich": 5, "other": 6, "address2": 6,
}  # fmt: skip
# The same behind the name: "Ort privat", "Telefon geschäftlich", "email_alt", "Phone Number 2".
_BEHIND: Final[dict[str, int]] = {
    "privat": 1, "private": 1, "home": 1, "personal": 1, "prive": 1, "privee": 1, "particular": 1, "casa": 1,
    "domicile": 1, "primary": 0, "main": 0, "1": 0,
    "alt": 4, "alternate": 4, "alternative": 4, "secondary": 4, "other": 4, "2": 4, "3": 5, "4": 5,
    "billing": 3, "shipping": 4, "delivery": 4,
    "geschaftlich": 5, "dienstlich": 5, "work": 5, "business": 5, "office": 5, "professionnel": 5, "pro": 5,
    "trabajo": 5, "lavoro": 5, "trabalho": 5, "zakelijk": 5, "arbete": 5,
}  # fmt: skip
NEUTRAL: Final = tuple(owner for owner, rank in _OWNERS.items() if not rank)
_OWNED: Final = frozenset(
    {"email", "first_name", "last_name", "name", "phone", "birth_date", "zip", "city", "country"}
)
_CONTACT: Final = frozenset({"email", "phone", "zip", "city", "country"})
# `company name` is no member's name, `account name` neither.
_NO_NAMES: Final = frozenset({"company", "business", "account", "office", "work", "home", "address", "user"})


class Known(NamedTuple):
    """What a header means, and how well it fits: a lower rank wins."""

    field: str
    rank: int


@cache
def _names() -> dict[str, Known]:
    known: dict[str, Known] = {}
    for field, rank, _language, names in table("columns.tsv"):
        for name in names.split(","):
            if folded := fold(name):
                known.setdefault(folded, Known(field, int(rank)))
    return known


@cache
def known(name: str) -> Known | None:
    """Say what a header means, or None."""
    name = _DECORATION.sub("", name) or name
    folded = fold(name)
    names = _names()
    # お名前(姓) and お名前(名) differ in the parentheses alone, "Member ID (required)" means the same without.
    if found := names.get(fold(_BRACKETS.sub(" ", name))) or names.get(folded):
        return found
    for owner, more in _OWNERS.items():
        if folded.startswith(owner) and (found := names.get(folded[len(owner) :])) and found.field in _OWNED:
            if found.field == "name" and owner in _NO_NAMES:
                return None
            return Known(found.field, found.rank + more)
    for behind, more in _BEHIND.items():
        if (
            folded.endswith(behind)
            and (found := names.get(folded[: -len(behind)]))
            and found.field in _CONTACT
        ):
            return Known(found.field, found.rank + more)
    return None


def owner_of(name: str) -> str:
    """Give the word that says whose address a column is of: `billing` of `billing_city`, nothing of `City`."""
    folded, names = fold(name), _names()
    before = (owner for owner in _OWNERS if folded.startswith(owner) and folded[len(owner) :] in names)
    behind = (owner for owner in _BEHIND if folded.endswith(owner) and folded[: -len(owner)] in names)
    return next(before, None) or next(behind, "")
