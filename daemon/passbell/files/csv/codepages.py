"""Which code page the bytes of a list of names are in, when they are not UTF-8.

Two judges look at the bytes. chardet knows which pairs of letters are usual in which language; of short lists it reads
nine in ten as they were written. What it does not look at is judged here: headers that are known words ("Imię",
"会員番号"), the country of the program, and what no name has. A wrong code page puts a capital after a small letter, a
sign inside a word, two scripts into one word, or four accents in a row. Each such slip counts; the page with the
fewest wins.

The guess is `sure` when headers prove it, when chardet reads the same and anything else less well, or when chardet
finds nothing else nearly as likely (`_CLEAR`). Where the judges differ, nothing is sure.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from passbell.files.csv import headers

# Letters that are usual in names written in each page; a letter of the page that is not here is rare.
_USUAL: Final = {
    "cp1252": "éèêëàâäáãåæçíìîïñóòôöõøœúùûüßÿšž",
    "cp1250": "ąćęłńóśźżáčďéěíňřšťúůýžäöüőűôľĺŕăâîşßçë",
    "cp1254": "çğıöşüâîûé",
    "mac_roman": "éèêëàâäáãåæçíìîïñóòôöõøœúùûüßÿ",
    "cp1257": "āčēģīķļņšūžõäöüąęėįųōŗ",
    "cp437": "éèêëàâäáåæçíìîïñóòôöúùûüß",
    "cp850": "éèêëàâäáãåæçíìîïñóòôöõøúùûüß",
    "cp852": "ąćęłńóśźżáčďéěíňřšťúůýžäöüőűôľ",
}
_LATIN: Final = ("cp1252", "cp1250", "cp1254", "mac_roman", "cp1257", "cp850", "cp852")
_SCRIPTS: Final = ("cp1251", "cp1253", "cp1255", "cp1256", "koi8_r", "cp866", "cp874")
_WIDE: Final = ("cp932", "gb18030", "big5", "cp949", "euc_jp")
# The bytes of frequent characters: level 1 of each standard.
_COMMON_LEAD: Final = {
    "cp932": (0x81, 0x98),
    "gb18030": (0xB0, 0xD7),
    "big5": (0xA4, 0xC6),
    "cp949": (0xB0, 0xC8),
    "euc_jp": (0xA4, 0xCF),
}
_OF_REGION: Final = {
    page: frozenset(regions.split())
    for page, regions in {
        "cp1252": "DE AT CH FR BE LU IT ES PT NL GB IE SE DK NO FI IS BR MX AR CL CO PE VE UY EC",
        "cp1250": "PL CZ SK HU SI HR BA RO RS AL ME",
        "cp1251": "RU UA BG BY RS MK KZ KG UZ MN TJ",
        "cp1253": "GR CY",
        "cp1254": "TR AZ",
        "cp1255": "IL",
        "cp1256": "SA AE EG JO KW QA BH OM LB IQ MA DZ TN LY YE SY IR PK SD",
        "cp1257": "LT LV EE",
        "cp874": "TH",
        "cp932": "JP",
        "gb18030": "CN SG",
        "big5": "TW HK MO",
        "cp949": "KR",
    }.items()
}
# Pages that stand in for one another are tried in this order when nothing else decides.
_HOME = -0.75  # slips that are taken off the page of the program's country
_FOREIGN: Final = {
    "mac_roman": 0.1,
    "cp850": 0.5,
    "cp852": 0.6,
    "cp866": 0.6,
    "koi8_r": 0.4,
    "euc_jp": 0.4,
    "cp1257": 0.3,
}
_OTHER = 0.33  # slips by which another page must be better than the usual one
_CLOSE = 0.3
_BETTER = 0.1
_DOUBTFUL = 0.34
_RARE = 0.35
_DAMAGED = 0.6
_PUNCTUATION: Final = "\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026\u00a0«»·"
_RUN = 3  # letters beyond ASCII in a row, more than any Latin name has
_UNWESTERN: Final = (
    (re.compile(r"ø.*[áíýì]|[áíýì].*ø", re.IGNORECASE), 1.0),
    (re.compile(r"[ìòù]\w", re.IGNORECASE), 0.6),
    (re.compile(r"\w[ŸŽŠŒÐÞÝ][a-zß-ÿ]"), 0.6),
    (re.compile(r"õ(?!e)|û[^tmrsd]", re.IGNORECASE), 0.5),
    (re.compile(r"[šž]|œ(?!u)|iæ", re.IGNORECASE), 0.3),  # of Mac Roman: Linköping is Linkšping
)
# Of older pages, read as a newer one: "P”litz", "Vit—ria", "…rebro", "C\u00a0ceres".
_IN_WORD = re.compile(r"\w[\u2018\u201c\u201d\u201e\u2013\u2014]\w|\w[\u2013\u2014]$|\u2026\w|\u00a0[a-zß-ÿ]")
_MAX_WORDS = 2_000
# By how much chardet's confidence in a reading must exceed that in any other reading, for the guess to be sure.
_AGREED = 0.002  # if our slips say the same
_FLAWLESS = -0.003  # if the page is also the usual one, without a slip, or one header is a known word
_CLEAR = 0.08  # if chardet alone decides: of 5,000 short lists in 35 code pages none was wrong; below, one in 30 was
_NEAR = 0.01  # if chardet finds our reading less likely by no more than this, ours is shown
# A Chinese or Japanese letter within a Latin word, or a sign within any: "Fran腔is".
_MIXED = re.compile(
    r"[A-Za-z][^\x00-\u2fff\uff00-\uffef]|[^\x00-\u2fff\uff00-\uffef][a-z]|[\w][\u2000-\u2bff\u3000-\u3004\u3008-\u303f\u3200-\u33ff]"
)
_WORD = re.compile(r"[^,;|\t\"<>()@\r\n]+")


class Page(NamedTuple):
    """A code page and how well it reads the file."""

    name: str
    slips: float
    sure: bool
    examples: tuple[str, ...]


def _slips_of_word(word: str, page: str) -> float:  # noqa: C901, PLR0912 -- one rule after the other
    """Count what no name has."""
    slips, run, scripts = 0.0, 0, set()
    usual = _USUAL.get(page)
    before = ""
    for character in word:
        category = unicodedata.category(character)
        if character > "\x7f":
            if character == "\ufffd":  # of the usual page: damage, not another page
                return _DAMAGED
            if category in {"Cc", "Cn", "Co"}:
                return 3.0
            if category[0] in "LM":
                scripts.add(_script(character))
                run += 1
                if usual is not None and character.lower()[0] not in usual and character != "\u0130":
                    slips += _RARE
            elif character not in _PUNCTUATION:
                slips += 1
        elif character.isalpha():
            scripts.add("LATIN")
            run = 0
        else:
            run = 0
        if character > "\x7f" and category == "Lu" and before and unicodedata.category(before) == "Ll":
            slips += 1
        if usual is not None and run > _RUN:
            slips += 1
        before = character
    if page in _SCRIPTS and scripts == {"LATIN"}:
        slips += 1
    if page == "cp1252":  # what cp1250 makes of Dvořák, Němec and Szűcs
        slips += sum(weight for pattern, weight in _UNWESTERN if pattern.search(word))
    slips += len(_IN_WORD.findall(word))
    return slips + (1.5 if len(scripts) > 1 else 0)


def _script(character: str) -> str:
    name = unicodedata.name(character, "")
    return name.split(" ", 1)[0]


def _wide_slips(raw: bytes, page: str) -> float:
    """Judge a page of two-byte characters: the share of its pairs that are not frequent ones."""
    low, high = _COMMON_LEAD[page]
    at = pairs = rare = single = 0
    while at < len(raw):
        if raw[at] < 0x80:  # noqa: PLR2004 -- ASCII
            at += 1
        elif page == "cp932" and 0xA1 <= raw[at] <= 0xDF:  # noqa: PLR2004 -- katakana of half width
            single += 1
            at += 1
        else:
            pairs += 1
            rare += not low <= raw[at] <= high
            at += 2
    count = pairs + single
    return 0.0 if not count else 2.0 * (rare + single * 0.8) / count


def _read(
    words: list[bytes], lines: list[bytes], page: str, *, forgive: bool
) -> tuple[float, list[str]] | None:
    try:
        if page in _WIDE:  # the second byte of a character may look like a delimiter
            found = [
                word for line in lines for word in _WORD.findall(line.decode(page)) if not word.isascii()
            ]
            mixed = sum(1 for word in found if _MIXED.search(word)) / max(1, len(found))
            return mixed + _wide_slips(b" ".join(word.encode(page) for word in found), page), found
        text = [word.decode(page, "replace" if forgive else "strict") for word in words]
    except UnicodeError:
        return None
    return sum(_slips_of_word(word, page) for word in text) / len(text), text


def _headers_known(line: bytes, page: str) -> int:
    """Count the cells of a header that are known words with letters beyond ASCII.

    A line with an e-mail address is a row of data and no header: 0.
    """
    if b"@" in line:
        return 0
    try:
        text = line.decode(page)
    except UnicodeDecodeError:
        return 0
    cells = re.split(r"[,;|\t]", text)
    return sum(1 for cell in cells if not cell.isascii() and headers.field_of(cell.strip(' "')))


def guess(sample: bytes, *, default: str = "cp1252", region: str | None = None) -> Page:
    """Guess the page of the lines of `sample`, which are not UTF-8.

    `default` is what the file is taken for unless something speaks against it.
    """
    lines = [line for line in re.split(rb"[\r\n]+", sample) if any(byte > 0x7F for byte in line)]  # noqa: PLR2004
    pages = dict.fromkeys((default, *_LATIN, *_SCRIPTS, *_WIDE))
    proof = {page: max((_headers_known(line, page) for line in lines[:3]), default=0) for page in pages}
    words = _words(lines)
    if not words:
        return Page(default, 0.0, sure=True, examples=())
    judged = []
    for page in pages:
        if (reading := _read(words, lines[:_MAX_WORDS], page, forgive=page == default)) is None:
            continue
        slips = reading[0] + (0.0 if page == default else _FOREIGN.get(page, 0.0) + _OTHER)
        # A page that reads no names is not made better by the country: Numbers on a Mac writes Mac Roman everywhere.
        if region in _OF_REGION.get(page, ()) and reading[0] < _DOUBTFUL:
            slips += _HOME
        judged.append((slips - 2 * proof[page], page, reading[1], reading[0]))
    if not judged:
        return Page(
            default, 9.0, sure=False, examples=_examples([w.decode(default, "replace") for w in words])
        )
    judged.sort(key=lambda one: one[0])
    slips, page, text, own = judged[0]
    home = region in _OF_REGION.get(page, ())
    others = [(score, name, raw) for score, name, read, raw in judged[1:] if read != text]
    doubt = any(
        score < slips + _CLOSE
        # A better reading, which the country or the usual page have outweighed.
        or raw + _FOREIGN.get(name, 0.0) < own - _BETTER
        # Where another page is at home, lists of the west arrive as well: "Peńa" is Peña.
        or (name == default and home and raw < own + _BETTER)
        or (name in _WIDE and page in _WIDE and not home and raw < own + _CLOSE)
        for score, name, raw in others
    )
    # Far from home only headers are proof: other pages of this kind may not be in the list of those tried.
    trusted = page == default or home or page in _WIDE
    sure = trusted and max(slips, own) < _DOUBTFUL and not doubt
    if proof[page] > 1:
        return Page(page, slips, sure=True, examples=_examples(text))
    ours = Page(page, slips, sure or proof[page] > 0, _examples(text))
    lead = _FLAWLESS if proof[page] or (page == default and not own) else _AGREED
    return _second_opinion(b"\n".join(lines), words, ours, lead)


def _second_opinion(sample: bytes, words: list[bytes], ours: Page, lead: float) -> Page:
    """Ask chardet, and decide by how far the best reading is ahead of the next."""
    import chardet  # noqa: PLC0415 - loaded only for files that are not UTF-8

    said: dict[str, tuple[float, str]] = {}
    for one in chardet.detect_all(sample, ignore_threshold=True, compat_names=False):
        name = one["encoding"]
        if name is None:
            continue
        try:
            reading = sample.decode(name)
        except (UnicodeError, LookupError):
            continue
        confidence, first = said.get(reading, (one["confidence"], name))
        said[reading] = confidence, first if first in _OF_REGION or name not in _OF_REGION else name
    best = max(said, key=lambda reading: said[reading][0], default=None)
    if best is None:
        return ours._replace(sure=False)
    mine = sample.decode(ours.name, "replace")
    likely = said.get(mine, (0.0, ""))[0]

    def ahead(reading: str) -> float:
        rest = (confidence for other, (confidence, _) in said.items() if other != reading)
        return said.get(reading, (0.0, ""))[0] - max(rest, default=0.0)

    if ours.sure and ahead(mine) >= lead:
        return ours
    clear = ahead(best) >= _CLEAR and not _MIXED.search(best)
    if "\ufffd" in mine and not clear:  # damage, which no page explains
        return ours
    if likely and likely >= said[best][0] - _NEAR:
        return ours._replace(sure=clear)
    name = said[best][1]
    return Page(name, ours.slips, clear, _examples([word.decode(name, "replace") for word in words]))


def _words(lines: list[bytes]) -> list[bytes]:
    found: dict[bytes, None] = {}
    for line in lines:
        for word in re.findall(rb"[^\s,;|\t\"<>()@]*[\x80-\xff][^,;|\t\"<>()@\r\n]*", line):
            found[word.strip()] = None
            if len(found) >= _MAX_WORDS:
                return list(found)
    return list(found)


def _examples(words: list[str]) -> tuple[str, ...]:
    return tuple(words[:3])
