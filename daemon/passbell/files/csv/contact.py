"""E-mail addresses, zip codes, and phones with their country, each to the one form that is stored, or a reason why not.

Every function but `region_of` takes a cleaned, non-missing text and returns `(value, None, False)` or `(None, reason,
fatal)`. Fatal means that a person should correct the whole row first: digits were lost, so the row cannot be trusted.
`region_of` reads the country of a row: the region that its phone number without a country code belongs to.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Final, NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from passbell.files.csv.cells import SCIENTIFIC_ADVICE, clean_code, is_scientific
from passbell.files.csv.words import fold


class Read(NamedTuple):
    """A value to store, or None with the reason; `fatal` asks for the row to be rejected."""

    value: str | None
    reason: str | None = None
    fatal: bool = False


_MAX_EMAIL = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_EMAIL = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@([a-z0-9.-]+)")
_MAX_LOCAL = 64
_NAMED_EMAIL = re.compile(r"[^<>]*<\s*([^<>\s]+@[^<>\s]+)\s*>")
_ONE_ADDRESS: Final = "this is more than one e-mail address; keep one"

_FLOAT_TAIL = re.compile(r"(\d+)\.0+")
_NANP = re.compile(r"(?:\+1[-. ]?)?\(?([2-9]\d\d)\)?[-. ]?([2-9]\d\d)[-. ]?(\d{4})", re.ASCII)
_NANP_REGIONS: Final = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1]
_PHONE_PREFIX = re.compile(r"(?:tel|phone|mobile|mob|cell|handy|t|m|p|whatsapp)\s*[:.]\s*", re.IGNORECASE)
# The lead exports of Facebook write z:62704 and p:+12125550123.
_ZIP_PREFIX = re.compile(r"[zZ]:\s*")
SEVERAL: Final = ":::"
"""Between the values of one cell in Google's contacts; the first one counts."""
_DIGITS = re.compile(r"\d+")
_MAX_PHONE = 60
_MAX_ZIP = 16
_US_ZIP_DIGITS = (3, 4)


@lru_cache(maxsize=1 << 14)
def _domain(domain: str) -> tuple[str | None, str]:
    """Check a domain once: members share a few thousand of them."""
    try:
        # test_environment only lets .test through: such addresses reach no mailbox, and are used to try passbell
        # out.
        checked = validate_email(f"x@{domain}", check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        return None, _sentence(error)
    return checked.domain, ""


def _sentence(error: EmailNotValidError) -> str:
    text = str(error).strip().rstrip(".")
    return f"this is not an e-mail address: {text[:1].lower()}{text[1:]}"


def read_email(text: str) -> Read:
    """Give the address folded to lower case (not case-folded: `ß` and `ss` are different mailboxes)."""
    folded = text.lower()
    if SEVERAL in folded:
        folded = folded.partition(SEVERAL)[0].strip()
    if folded.startswith("mailto:"):
        folded = folded[7:].strip()
    match = _PLAIN_EMAIL.fullmatch(folded)
    if match and len(match[1]) <= _MAX_LOCAL and len(folded) <= _MAX_EMAIL:
        domain, reason = _domain(match[2])
        return Read(f"{match[1]}@{domain}") if domain else Read(None, reason)
    if named := _NAMED_EMAIL.fullmatch(folded):
        folded = named[1]
    if folded.count("@") > 1 and re.search(r"[;,\s/]", folded):
        return Read(None, _ONE_ADDRESS)
    try:
        checked = validate_email(folded, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        return Read(None, _sentence(error))
    return Read(checked.normalized.lower())


def _e164(text: str, region: str) -> str | None:
    # The common case in North America needs no parser: the ten digits are the number. It saves two thirds of
    # the time.
    if match := _NANP.fullmatch(text):
        digits = "".join(match.groups())
        if (text[0] == "+" or region in _NANP_REGIONS) and phonenumbers.is_valid_number_for_region(
            phonenumbers.PhoneNumber(country_code=1, national_number=int(digits)), "US"
        ):
            return f"+1{digits}"
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def read_phone(text: str, region: str) -> Read:  # noqa: PLR0911 -- a ladder of readings
    """Give the number in E.164 (+12125550123) if it is a valid one of the region or has its country code."""
    if is_scientific(text):
        return Read(None, SCIENTIFIC_ADVICE, fatal=True)
    if SEVERAL in text:
        text = text.partition(SEVERAL)[0].strip()
    if tail := _FLOAT_TAIL.fullmatch(text):
        text = tail[1]
    text = _PHONE_PREFIX.sub("", text, count=1) if text[:1].isalpha() else text
    if len(text) > _MAX_PHONE:
        return Read(None, "this is too long for a phone number")
    if number := _e164(text, region):
        return Read(number)
    if text.startswith("00") and (number := _e164(f"+{text[2:]}", region)):
        return Read(number)
    if _DIGITS.fullmatch(text):
        if _e164(f"0{text}", region):
            advice = "this number lost its leading zero; format the column as text and enter it again"
            return Read(None, advice, fatal=True)
        if _e164(f"+{text}", region):
            return Read(
                None, f"this is no number of {region}; if it begins with a country code, write + before it"
            )
    return Read(None, f"this is not a valid phone number of {region}, nor one with + and a country code")


def read_zip(text: str, region: str) -> Read:
    """Give the postal code in capitals; a US code that lost its leading zero is not guessed."""
    if is_scientific(text):
        return Read(None, SCIENTIFIC_ADVICE)
    text = _ZIP_PREFIX.sub("", text, count=1) if text[1:2] == ":" else text
    if tail := _FLOAT_TAIL.fullmatch(text):
        text = tail[1]
    if len(text) > _MAX_ZIP:
        return Read(None, "this is too long for a postal code")
    if region == "US" and len(text) in _US_ZIP_DIGITS and _DIGITS.fullmatch(text):
        return Read(None, "this US zip code lost its leading zero; format the column as text before saving")
    return Read(text.upper())


ALIASES: Final = {
    "UK": "GB", "EL": "GR", "USA": "US", "GBR": "GB", "DEU": "DE", "FRA": "FR", "ESP": "ES", "ITA": "IT", "PRT": "PT",
    "NLD": "NL", "SWE": "SE", "DNK": "DK", "NOR": "NO", "FIN": "FI", "POL": "PL", "CZE": "CZ", "TUR": "TR", "JPN": "JP",
    "CHN": "CN", "ISR": "IL", "CAN": "CA", "AUS": "AU", "NZL": "NZ", "IRL": "IE", "CHE": "CH", "AUT": "AT", "BEL": "BE",
    "MEX": "MX", "BRA": "BR", "IND": "IN", "ZAF": "ZA", "SAU": "SA", "ARE": "AE", "EGY": "EG", "THA": "TH", "KOR": "KR",
    "TWN": "TW", "HKG": "HK", "SGP": "SG", "RUS": "RU", "UKR": "UA", "GRC": "GR", "HUN": "HU", "ROU": "RO", "SVK": "SK",
}  # fmt: skip
_MORE_NAMES: Final = {
    "england": "GB", "scotland": "GB", "wales": "GB", "northernireland": "GB", "greatbritain": "GB", "holland": "NL",
    "unitedstatesofamerica": "US", "america": "US", "usofa": "US", "czechrepublic": "CZ", "turkey": "TR", "korea": "KR",
    "southkorea": "KR", "uae": "AE", "russia": "RU", "ksa": "SA", "deutschland": "DE", "brd": "DE", "中国大陆": "CN",
    "cesko": "CZ", "ceskarepublika": "CZ", "vereinigtestaaten": "US", "vereinigteskonigreich": "GB",
    "grossbritannien": "GB",
    "etatsunis": "US", "estadosunidos": "US", "eeuu": "US", "statiuniti": "US", "royaumeuni": "GB", "reinounido": "GB",
    "regnounito": "GB", "verenigdestaten": "US", "schweiz": "CH", "suisse": "CH", "svizzera": "CH", "abd": "US",
    "アメリカ": "US", "米国": "US", "美国": "US", "美國": "US", "المملكةالعربيةالسعودية": "SA", "ארהב": "US",
}  # fmt: skip


@cache
def _names() -> dict[str, str]:
    # Names of every country in dozens of languages, which phonenumbers has for its own descriptions of numbers.
    from phonenumbers.geodata.locale import LOCALE_DATA  # noqa: PLC0415 - 2 MB that few files need

    names: dict[str, str] = {}
    for region, languages in LOCALE_DATA.items():
        if region in phonenumbers.SUPPORTED_REGIONS:
            for name in languages.values():
                if not name.startswith("*"):  # a pointer to another language
                    names.setdefault(fold(name), region)
    return names | {fold(name): region for name, region in _MORE_NAMES.items()}


@lru_cache(maxsize=1 << 10)
def region_of(cell: str) -> str | None:
    """Read `US`, `USA`, `United States` or `Vereinigte Staaten` as US; None for what is no country."""
    text = clean_code(cell)
    code = text.upper().replace(".", "")
    code = ALIASES.get(code, code)
    if code in phonenumbers.SUPPORTED_REGIONS:
        return code
    if len(text) <= 3 and text.isascii():  # noqa: PLR2004 -- an unknown code is no name
        return _MORE_NAMES.get(fold(text))
    return _names().get(fold(text))
