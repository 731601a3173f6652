"""Which encoding a file is in: the one that was named, byte-order mark, strict UTF-8, UTF-16 by its NULs, a code page.

UTF-8 is decided on the whole file, in one streaming pass, because the one `é` may be in the last row. A file that
is UTF-8 except for a few bytes (two exports glued together) is read as UTF-8 with those bytes taken from the code
page, so that one old row does not spoil every other name. Code pages are guessed by `passbell.files.csv.codepages`;
where the guess is not sure, no stored name is overwritten.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from passbell.files.csv import codepages
from passbell.files.csv.cells import shorten
from passbell.files.csv.refusal import CsvError

if TYPE_CHECKING:
    from passbell.files.csv.source import Source

HEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ALIASES: Final = {
    "ansi": "cp1252", "windows": "cp1252", "excel": "cp1252", "western": "cp1252", "latin1": "cp1252",
    "iso88591": "cp1252", "mac": "mac_roman", "macroman": "mac_roman", "macintosh": "mac_roman", "sjis": "cp932",
    "shiftjis": "cp932", "windows31j": "cp932", "ms932": "cp932", "gbk": "gb18030", "gb2312": "gb18030",
    "unicode": "utf-16", "utf8": "utf-8-sig", "windows874": "cp874", "tis620": "cp874",
}  # fmt: skip
_NULS_OF_UTF16 = 0.3  # Latin text in UTF-16 has a NUL in nearly every second byte
_NULS_ELSEWHERE = 0.05


@dataclass(frozen=True, slots=True)
class Charset:
    """A codec name, its error handler, and what to tell the admin."""

    encoding: str
    errors: str
    notes: tuple[str, ...]
    sure: bool = True


def _handler_for(code_page: str) -> str:
    """Register (once) an error handler that reads undecodable bytes in the code page; give its name."""
    name = f"passbell.{code_page}"

    def from_code_page(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return error.object[error.start : error.end].decode(code_page, "replace"), error.end

    codecs.register_error(name, from_code_page)
    return name


def _utf16_by_nuls(head: bytes) -> str | None:
    """Tell `utf-16-le` from `utf-16-be` by the places of the NULs in the first bytes."""
    half = len(head) // 2
    if not half:
        return None
    even, odd = head[::2].count(0) / half, head[1::2].count(0) / half
    if odd > _NULS_OF_UTF16 and even < _NULS_ELSEWHERE:
        return "utf-16-le"
    if even > _NULS_OF_UTF16 and odd < _NULS_ELSEWHERE:
        return "utf-16-be"
    return None


def _scan(source: Source) -> tuple[bool, bool]:
    """Read the whole file once: is it strict UTF-8, and does it hold a NUL byte?"""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    valid, nul = True, False
    with source.binary() as raw:
        while block := raw.read(BLOCK_BYTES):
            nul = nul or b"\0" in block
            if valid:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    valid = False
        if valid:
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                valid = False
    return valid, nul


def _count_utf8(source: Source) -> tuple[int, int]:
    """Count the characters beyond ASCII that are proper UTF-8, and the bytes that are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good = bad = 0
    with source.binary() as raw:
        while True:
            block = raw.read(BLOCK_BYTES)
            for character in decoder.decode(block, final=not block):
                if character > "\x7f":
                    if "\udc80" <= character <= "\udcff":
                        bad += 1
                    else:
                        good += 1
            if not block:
                return good, bad


def _count_undecodable(source: Source, encoding: str) -> int:
    """Count the replacement characters that decoding in `encoding` makes."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    with source.binary() as raw:
        count = 0
        while block := raw.read(BLOCK_BYTES):
            count += decoder.decode(block).count("\ufffd")
        return count + decoder.decode(b"", final=True).count("\ufffd")


def _beyond_ascii(source: Source) -> bytes:
    """Collect the header and lines with bytes beyond ASCII, for the guess of a code page."""
    lines: list[bytes] = []
    size = 0
    with source.binary() as raw:
        while size < HEAD_BYTES and (line := raw.readline(HEAD_BYTES)):
            if not line.isascii():
                lines.append(line)
                size += len(line)
    return b"\n".join(lines)


def said(encoding: str) -> str:
    """Give the codec of an encoding that was named; raises `CsvError` if there is none."""
    name = encoding.strip().casefold()
    name = _ALIASES.get(re.sub(r"[\s_-]", "", name), name)
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # refuses codecs that are not text encodings
    except (LookupError, ValueError, TypeError):
        raise CsvError(
            f'There is no encoding "{encoding}". Known are, among others: UTF-8, UTF-16, cp1250, cp1251, cp1252, '
            "cp1254, Shift_JIS, GB18030, Big5, mac_roman."
        ) from None
    return found.name


def detect(  # noqa: PLR0911 -- a ladder
    source: Source, code_page: str = "cp1252", *, encoding: str | None = None, region: str | None = None
) -> Charset:
    """Decide the encoding of the whole file. Reads it once, and again only when it is not clean UTF-8.

    `encoding` is the one that a person has named; only a byte-order mark overrides it. `region`, the program's country,
    and `code_page`, what a file usually is, help where the bytes could be in several pages.
    """
    head = source.head(HEAD_BYTES)
    for mark, marked_as in _MARKS:
        if head.startswith(mark) and marked_as != "utf-8-sig":
            return _checked(source, marked_as, f"The file is {marked_as.upper()} (by its byte-order mark).")
    marked = head.startswith(codecs.BOM_UTF8)
    if encoding is not None and not marked:
        name = said(encoding)
        return _checked(source, name, f"The file was read as {name}, as was said.")
    utf8 = "utf-8-sig" if marked else "utf-8"
    valid, nul = _scan(source)
    # Plain ASCII in UTF-16 is also valid UTF-8 (full of NULs), so the NULs are looked at before UTF-8 is
    # believed.
    if nul and not marked and (wide := _utf16_by_nuls(head)):
        return _checked(source, wide, f"The file is {wide.upper()} (by its NUL bytes).")
    dropped = ("NUL characters were dropped.",) if nul else ()
    if valid:
        return Charset(utf8, "strict", dropped)
    good, bad = _count_utf8(source)
    guess = codepages.guess(_beyond_ascii(source), default=code_page, region=region)
    if marked or good >= bad:
        name = guess.name if guess.sure else code_page
        note = f"Bytes that are not UTF-8 and were read as {name}: {bad:,}."
        return Charset(utf8, _handler_for(name), (note, *dropped))
    chosen = _checked(source, guess.name, f"The file is not UTF-8; it was read as {guess.name}.")
    if guess.sure:
        return Charset(chosen.encoding, chosen.errors, chosen.notes + dropped)
    shown = ", ".join(shorten(example, 40) for example in guess.examples)
    unsure = (
        f"{guess.name} is a guess, by which it says: {shown}. If that is wrong, say the encoding and import it again "
        "(--encoding, the field or column encoding). Names that are stored already were not overwritten."
    )
    return Charset(chosen.encoding, chosen.errors, (*chosen.notes, unsure, *dropped), sure=False)


def _checked(source: Source, encoding: str, note: str) -> Charset:
    """Build the answer for an encoding with undecodable bytes, which become U+FFFD and are reported."""
    broken = _count_undecodable(source, encoding)
    notes = (note, f"Characters that could not be decoded: {broken:,}.") if broken else (note,)
    return Charset(encoding, "replace", notes)
