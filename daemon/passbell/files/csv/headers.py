"""Where a header is matched: the columns of a file to the fields that passbell knows.

`words.known` looks one name up; here it is decided which column wins if several mean one field.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from passbell.files.csv.cells import card_number
from passbell.files.csv.consentnames import kind_of
from passbell.files.csv.dates import Order
from passbell.files.csv.words import fold, known

if TYPE_CHECKING:
    from collections.abc import Sequence

FALL_BACK: Final = ("email", "phone", "zip", "city", "country", "first_name", "last_name")
"""Fields whose other columns are read where the first is empty; ids never are: they may be of another kind."""

_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]{2,}")
# Words that occur beside a payment card, never beside the card of a shop.
_PAYMENT = re.compile(
    r"^(card(brand|type|last4|expiry|expiration|country|exp|network|issuer|fingerprint|funding|cvc)\w*|last4(digits)?|defaultcard|cardlast4digits|paymentmethod)$"
)

# English, German (TT.MM.JJJJ) and French (jj/mm/aaaa) letters for day, month and year.
_ORDER_HINT = re.compile(r"yyyy|yy|jjjj|aaaa|dd|tt|jj|mm", re.IGNORECASE)
_LETTER_OF: Final = {
    "yyyy": "Y",
    "yy": "Y",
    "jjjj": "Y",
    "aaaa": "Y",
    "dd": "D",
    "tt": "D",
    "jj": "D",
    "mm": "M",
}


def field_of(name: str) -> str | None:
    """Give the field that a header names, or None; columns of consent are all `marketing_opt_in`."""
    found = known(name)
    if found is not None and found.field not in {"in", "out", "status"}:
        return "external_id" if found.field == "card" else found.field
    return "marketing_opt_in" if kind_of(name) else None


class Columns(NamedTuple):
    """`first` maps a field to its column, `more` to those that are read where that one is empty."""

    first: dict[str, int]
    more: dict[str, tuple[int, ...]]
    consent: tuple[int, ...]
    notes: list[str]


def match(header: Sequence[str], sample: Sequence[Sequence[str]] = ()) -> Columns:
    """Map each known field to its columns; the notes name columns that were doubled.

    Of two columns for one field the better known name wins (`Member ID` over `Customer ID`), then the one that
    bears the field's own name (`email` over `mail`), then the first. `sample` are rows of the file: a column
    of ids that is empty in all of them gives way to another, and one of payment cards is not used.
    """
    held: dict[str, list[tuple[int, bool, int]]] = {}
    consent: list[int] = []
    notes: list[str] = []
    payment = any(_PAYMENT.match(fold(name)) for name in header)
    for index, name in enumerate(header):
        field = field_of(name)
        if field is None:
            continue
        if field == "marketing_opt_in":
            consent.append(index)
            continue
        found = known(name)
        assert found is not None  # noqa: S101 - only consent is known by its parts
        if found.field == "card" and (payment or _payment_cards(sample, index)):
            notes.append(f'Column "{name}" holds payment cards; it is not used.')
            continue
        held.setdefault(field, []).append((found.rank, fold(name) != fold(field), index))
    if (
        "email" not in held
        and (found_at := _addresses(header, sample, {*consent, *_columns(held)})) is not None
    ):
        held["email"] = [(9, True, found_at)]
        notes.append(f'Column "{header[found_at]}" holds e-mail addresses; it is used as such.')
    first, more = {}, {}
    for field, ranked in held.items():
        ranked.sort()
        order = [index for _, _, index in ranked]
        if field == "external_id" and len(order) > 1 and sample:
            order.sort(key=lambda index: not any(_cell(row, index) for row in sample))
        first[field] = order[0]
        if field in FALL_BACK and order[1:]:
            more[field] = tuple(order[1:])
        notes += [_doubled(header, field, order[0], other) for other in sorted(order[1:])]
    if consent:
        first["marketing_opt_in"] = consent[0]
    return Columns(first, more, tuple(consent), notes)


def _columns(held: dict[str, list[tuple[int, bool, int]]]) -> set[int]:
    return {index for ranked in held.values() for _, _, index in ranked}


def _addresses(header: Sequence[str], sample: Sequence[Sequence[str]], used: set[int]) -> int | None:
    """Find the column that holds nothing but e-mail addresses, whatever it is called ("Subscriber", "Login")."""
    for index in range(len(header)):
        filled = [cell for row in sample if (cell := _cell(row, index))]
        if index not in used and header[index] and filled and all(map(_EMAIL.fullmatch, filled)):
            return index
    return None


def _doubled(header: Sequence[str], field: str, used: int, other: int) -> str:
    left, right = sorted((used, other))
    lost = (
        f"column {other + 1} where that is empty" if field in FALL_BACK else f"column {other + 1} is ignored"
    )
    return (
        f"Columns {left + 1} ({header[left]}) and {right + 1} ({header[right]}) both mean {field}: "
        f"column {used + 1} is used, {lost}."
    )


def _cell(row: Sequence[str], index: int) -> str:
    return row[index].strip() if index < len(row) else ""


def _payment_cards(sample: Sequence[Sequence[str]], index: int) -> bool:
    filled = [cell for row in sample if (cell := _cell(row, index))]
    return bool(filled) and sum(map(card_number, filled)) * 2 > len(filled)


def order_hint(name: str) -> Order | None:
    """Read `DOB (MM/DD/YYYY)` or `Geburtsdatum TT.MM.JJJJ` as a statement about the order of its dates."""
    letters = "".join(_LETTER_OF[part.lower()] for part in _ORDER_HINT.findall(name))
    return next((order for order in get_args(Order) if order == letters), None)
