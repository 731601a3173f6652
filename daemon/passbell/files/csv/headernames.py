"""Which field a header means by itself. Which column wins, if several mean one field, is decided in `headers`.

The names are data: columns.tsv has them by field and language.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

from passbell.files.csv.words import fold, table

__all__ = ["NEUTRAL", "Known", "known", "owner_of"]

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
