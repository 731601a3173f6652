"""The country in a row, as the region that its phone number without a country code belongs to."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

import phonenumbers

from passbell.files.csv.cells import clean_code
from passbell.files.csv.headernames import fold

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
