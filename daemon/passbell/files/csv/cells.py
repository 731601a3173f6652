"""Making a cell mean what the person saw in the spreadsheet, and making it harmless to open there again."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# A spreadsheet takes a cell that begins with one of these for a formula (OWASP, "CSV Injection").
# The full-width forms count: some input methods turn them into the plain ones.
FORMULA_STARTS: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

# Zero-width joiners belong to Persian and Indic names, so words keep them and codes lose them.
_JOINERS = "\u200c\u200d"
_INVISIBLE = (
    "\u00ad\u180e\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff"
    + "".join(chr(code) for code in range(0x2066, 0x206A))
)
_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    chr(code) for code in range(0x2000, 0x200B)
)
_CONTROLS = [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _SPACES]
_WORD_TABLE: dict[int, str | None] = {
    **dict.fromkeys(_CONTROLS),
    **dict.fromkeys(map(ord, _INVISIBLE)),
    **dict.fromkeys(map(ord, _SPACES), " "),
}
_CODE_TABLE: dict[int, str | None] = {**_WORD_TABLE, **dict.fromkeys(map(ord, _JOINERS))}

_CARD = re.compile(r"\d{13,19}")
_MANY_SPACES = re.compile(r"  +")
_FORMULA_TEXT = re.compile(r'=\s*"(.*)"', re.DOTALL)
_DASHES = re.compile(r"[-\u2013\u2014_.*]+|-+ ?(none|select|please select) ?-*", re.IGNORECASE)
# Excel always shows one digit before the point, so an id such as 12E-34 is left alone.
_SCIENTIFIC = re.compile(r"[+-]?\d[.,]\d+E[+-]?\d{1,3}|[+-]?\dE\+\d{1,3}", re.IGNORECASE)

_MISSING: Final = frozenset({
    "", "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "?", "??", "/", "\\n", "\\", "_", "*",
    "n/a", "n.a.", "n.a", "n/a.", "#n/a", "#na", "n\\a", "n/d", "n.d.", "tbd", "tba",
    "null", "(null)", "<null>", "[null]", "none", "(none)", "nil", "undefined", "unknown", "(unknown)",
    "blank", "(blank)", "empty", "(empty)", "missing", "not available", "not applicable", "not provided",
    "not specified", "unspecified", "#value!", "#ref!", "#name?", "#null!", "#div/0!", "#num!",
    "unbekannt", "keine angabe", "k.a.", "k. a.", "k.a", "leer", "inconnu", "inconnue",
    "non renseigné", "néant", "desconocido", "desconocida", "sin datos", "sconosciuto",
})  # fmt: skip
# "Na" and "Nan" are also names of people.
_MISSING_CODES: Final = _MISSING | {"na", "nan", "ka"}

SCIENTIFIC_ADVICE: Final = (
    "the spreadsheet turned this number into scientific notation and lost digits; "
    "format the column as text before saving and enter the value again"
)


def _is_formula(cell: str) -> bool:
    return cell.lstrip(" ").startswith(FORMULA_STARTS)


def unneutralise(cell: str) -> str:
    """Drop the apostrophe that `neutralise` (or a spreadsheet's user) put before a formula sign."""
    return cell[1:] if cell[:1] == "'" and _is_formula(cell[1:]) else cell


def neutralise(cell: str) -> str:
    """Make a spreadsheet show the cell as text; `unneutralise` gives back what was there."""
    return f"'{cell}" if _is_formula(cell) else cell


def _unwrap_formula(text: str) -> str:
    """Read `="00123"`, the trick by which exports keep leading zeros, as 00123."""
    match = _FORMULA_TEXT.fullmatch(text)
    return match[1].replace('""', '"').strip() if match else text


def clean_words(cell: str) -> str:
    """Clean a name or a city: one line, single spaces, nothing invisible; `'t Hooft` keeps its apostrophe."""
    if cell.isascii() and cell.isprintable():
        text = cell.strip()
    else:
        text = unneutralise(cell).translate(_WORD_TABLE).strip()
    if "  " in text:
        text = _MANY_SPACES.sub(" ", text)
    if text[:1] == "'":
        text = unneutralise(text).lstrip()
    return _unwrap_formula(text) if text[:1] == "=" else text


def _ascii_digit(character: str) -> str:
    """Read ٣ and ۳ (Arabic, Persian, Devanagari …) as 3."""
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


def clean_code(cell: str) -> str:
    """Clean an id, phone, date, zip or e-mail: also digits of other scripts, and any apostrophe in front."""
    if cell.isascii() and cell.isprintable():
        text = cell.strip()
    else:
        text = unicodedata.normalize("NFKC", cell.translate(_CODE_TABLE)).strip()
        if not text.isascii():
            text = "".join(map(_ascii_digit, text))
    if text[:1] == "'":
        text = text.lstrip("'").strip()
    return _unwrap_formula(text) if text[:1] == "=" else text


def is_missing(text: str) -> bool:
    """Say whether a cleaned name means "nothing here": empty, N/A, unknown, a dash."""
    return not text or text.casefold() in _MISSING or _DASHES.fullmatch(text) is not None


def is_missing_code(text: str) -> bool:
    """Say the same of a code, where `NA` and `NaN` mean nothing too."""
    return not text or text.casefold() in _MISSING_CODES or _DASHES.fullmatch(text) is not None


def is_scientific(text: str) -> bool:
    """Say whether a cleaned code is a long number as Excel shows it: 1.23E+11, 1,23E+11."""
    return _SCIENTIFIC.fullmatch(text) is not None


def shorten(text: str, length: int = 80) -> str:
    """Cut a value for a report, so that a runaway cell does not fill the table of problems."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def card_number(cell: str) -> bool:
    """Say whether a cell can be the number of a payment card: 13 to 19 digits with a right check digit (Luhn)."""
    digits = re.sub(r"[\s-]", "", cell).lstrip("'")
    if not _CARD.fullmatch(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 -- the sum of its two digits
    return total % 10 == 0
