"""Which column is which: header names as people write them to the fields that passbell knows."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, get_args

from passbell.csvfile.dates import Order

if TYPE_CHECKING:
    from collections.abc import Sequence

# `id` stands apart from `external_id`: in a hit list it is the member's id, in a CRM export it may be
# anything.
_NAMES: Final[dict[str, str]] = {
    "external_id": (
        "external id, member id, membership id, member no, member nr, member number, membership number, "
        "membership no, member ids, external ids, external member id, external reference, customer id, "
        "customer number, customer no, card number, card no, card id, loyalty id, loyalty number, loyalty "
        "card number, account number, mitgliedsnummer, mitgliedsnr, mitglieds nr, mitglied nr, "
        "mitgliedernummer, kundennummer, kundennr, kunden nr, kartennummer, numero de membre, numero "
        "membre, no membre, numero client, numero de client, id client, id membre, identifiant, numero de "
        "socio, numero socio, no socio, id socio, numero de cliente, numero cliente, id cliente"
    ),
    "pass_id": "pass id, passid, pass ids, pass uuid, pass, passkit id, wallet pass id",
    "id": "id, ids, uuid, guid",
    "email": (
        "email, e mail, mail, email address, e mail address, mail address, emails, member email, user "
        "email, contact email, primary email, customer email, person email address, person email, email "
        "1, email 1 value, e mail 1 value, email adresse, e mail adresse, mailadresse, adresse e mail, "
        "adresse email, adresse mail, courriel, mel, adresse courriel, adresse electronique, correo, "
        "correo electronico, direccion de correo, direccion de correo electronico, indirizzo email, "
        "endereco de email"
    ),
    "first_name": (
        "first name, first, forename, given name, givenname, name first, fname, member first name, "
        "christian name, person forename, vorname, rufname, prenom, nombre, nombre de pila, primer "
        "nombre, nome"
    ),
    "last_name": (
        "last name, last, surname, family name, name last, lname, second name, member last name, person "
        "surname, nachname, familienname, zuname, nom, nom de famille, apellido, apellidos, cognome"
    ),
    "phone": (
        "phone, phone number, phone no, telephone, telephone number, tel, tel no, mobile, mobile number, "
        "mobile phone, mobile phone number, cell, cell phone, cell number, cellphone, phone mobile, phone "
        "1, phone 1 value, contact number, person mobile number, person telephone, telefon, "
        "telefonnummer, telefon nr, handy, handynummer, mobil, mobilnummer, mobiltelefon, rufnummer, "
        "numero de telephone, no de telephone, portable, numero de portable, tel portable, telefono, "
        "numero de telefono, telefono movil, movil, celular, cellulare"
    ),
    "birth_date": (
        "birth date, birthdate, date of birth, dob, d o b, birthday, birth day, bday, member birthday, "
        "born, born on, person date of birth, geburtsdatum, geburtstag, geb datum, gebdatum, geb, "
        "geboren, geboren am, date de naissance, date naissance, naissance, anniversaire, ne le, fecha de "
        "nacimiento, fecha nacimiento, nacimiento, cumpleanos, data di nascita, data de nascimento"
    ),
    "zip": (
        "zip, zip code, zip postal code, postal code, post code, postcode, postal, zip 5, billing zip, "
        "shipping zip, home zip, plz, postleitzahl, code postal, cp, codigo postal, cap, cep"
    ),
    "city": (
        "city, town, city town, locality, billing city, home city, municipality, ort, wohnort, stadt, "
        "ville, commune, localite, ciudad, localidad, poblacion, citta, cidade"
    ),
    "marketing_opt_in": (
        "marketing opt in, opt in, opted in, marketing, marketing consent, consent, email opt in, accepts "
        "marketing, newsletter, email marketing, subscribed, subscribe, marketing emails, marketing "
        "permission, gdpr consent, accepts email marketing, marketing optin, werbung, werbeeinwilligung, "
        "einwilligung, einwilligung werbung, newsletter ja nein, consentement, consentement marketing, "
        "accepte le marketing, abonne, acepta marketing, consentimiento, suscrito"
    ),
}

_PARENTHESES = re.compile(r"[(\[{][^)\]}]*[)\]}]")
_NOT_WORD = re.compile(r"[\W_]+")
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
_TRANSLITERATED = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l"})


def fold(name: str) -> str:
    """Reduce a header to its letters and digits: ` E-Mail_Address (work)* ` becomes `emailaddress`."""
    text = unicodedata.normalize("NFKD", _PARENTHESES.sub(" ", name)).casefold().translate(_TRANSLITERATED)
    plain = "".join(character for character in text if not unicodedata.combining(character))
    return _NOT_WORD.sub("", plain)


_FIELD_OF: Final[dict[str, str]] = {
    fold(name): field for field, names in _NAMES.items() for name in names.split(",") if name.strip()
}
FIELDS: Final = tuple(_NAMES)


def field_of(name: str) -> str | None:
    """Give the field that a header names, or None."""
    return _FIELD_OF.get(fold(name))


def match(header: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Map each known field to its column; the notes name columns that were doubled.

    Of two columns for one field the one that bears the field's own name wins (`email` over `mail`), else the
    first.
    """
    columns: dict[str, int] = {}
    notes: list[str] = []
    for index, name in enumerate(header):
        field = field_of(name)
        if field is None:
            continue
        held = columns.get(field)
        if held is None:
            columns[field] = index
            continue
        better = fold(name) == fold(field) != fold(header[held])
        used, unused = (index, held) if better else (held, index)
        columns[field] = used
        notes.append(
            f"Columns {held + 1} ({header[held]}) and {index + 1} ({name}) both mean {field}: "
            f"column {used + 1} is used, column {unused + 1} is ignored."
        )
    return columns, notes


def order_hint(name: str) -> Order | None:
    """Read `DOB (MM/DD/YYYY)` or `Geburtsdatum TT.MM.JJJJ` as a statement about the order of its dates."""
    letters = "".join(_LETTER_OF[part.lower()] for part in _ORDER_HINT.findall(name))
    return next((order for order in get_args(Order) if order == letters), None)
