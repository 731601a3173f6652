"""One column with the whole name: which part greets, which part is the family's.

    "Lovelace, Ada" → Ada, Lovelace      "Ludwig van Beethoven" → Ludwig, van Beethoven      "山田 太郎" → 太郎, 山田

A split is a guess, so it fills what is empty and never overwrites a name that is stored (see MemberRow.unsure).
"""

from __future__ import annotations

import re
from typing import Final


def set_of(words: str) -> frozenset[str]:
    """Take a line of words as a set."""
    return frozenset(words.split())


_TITLES: Final = set_of(
    "mr mrs ms miss mx dr prof sir madam herr frau hr fr m mme mlle sr sra srta dott sig sigra dhr mevr "
    "mw pan pani bay bayan"
)
_SUFFIXES: Final = set_of("jr sr ii iii iv phd md esq dds")
_PARTICLES: Final = set_of(
    "van von de der den del della di da do dos das du la le ten ter zu zum zur af av al el bin ibn ben bint mac st "
    "san santa abu vander vom y e"
)
_FAMILY_FIRST = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af々]+")


def split(full: str) -> tuple[str | None, str | None]:
    """Give first and last name of a cleaned full name; of one word alone only the first."""
    if full.count(",") == 1:
        last, first = (part.strip() for part in full.split(","))
        if first and last and first.rstrip(".").casefold() not in _SUFFIXES:
            return first, last
        full = last if last and first else full.replace(",", " ")
    words, titled = full.split(), False
    while (
        len(words) > 1
        and words[0].rstrip(".").casefold() in _TITLES
        and (words[0].endswith(".") or words[2:])
    ):
        titled = bool(words.pop(0))
    while words[2:] and words[-1].strip(".,").casefold() in _SUFFIXES:
        words.pop()
    if not words:  # a comma alone
        return None, None
    if len(words) == 1:
        if titled:  # Mr. Smith
            return None, words[0]
        # Without a space nothing tells where the family's name of 山田太郎 ends.
        return (None, words[0]) if _FAMILY_FIRST.fullmatch(words[0]) else (words[0], None)
    if all(map(_FAMILY_FIRST.fullmatch, words)):
        return " ".join(words[1:]), words[0]
    at = len(words) - 1
    while at > 1 and words[at - 1].casefold() in _PARTICLES:
        at -= 1
    return " ".join(words[:at]), " ".join(words[at:])


def complete(first: str | None, last: str | None, full: str) -> tuple[str | None, str | None]:
    """Fill in what the columns of first and last name leave open."""
    if first and last:
        return first, last
    if first:  # a German "Name" beside "Vorname" is the family's
        rest = full[len(first) :].strip(" ,") if full.casefold().startswith(first.casefold()) else full
        if rest.casefold().endswith(f" {first.casefold()}"):
            rest = rest[: -len(first)].strip(" ,")
        return first, rest or None
    if last:
        rest = full[: -len(last)].strip(" ,") if full.casefold().endswith(last.casefold()) else full
        return rest or None, last
    return split(full)
