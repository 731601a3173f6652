"""Why a file as a whole is refused: the errors, and what is not a CSV although it was uploaded or downloaded as one.

    CsvError
    ├── NotCsv            a web page, a workbook, a picture, nothing at all …
    ├── UnknownColumns    a table, but no column that this import can use
    ├── UnclosedQuote     a hit list whose rest is swallowed by a quote
    ├── AmbiguousDates    some dates can only be day first, others only month first
    └── TooManyRows       more rows than the caller allows

Every message is one sentence for the person who uploaded the file. Trouble with a single row is never an exception: it
travels with the row as a `Problem` or a `problem` text.

The marks at the start of a file are the published ones of each format (PDF 1.7 §7.5.2, PKWARE APPNOTE 4.3.7,
MS-CFB 2.2, RFC 1952, PNG, JPEG, Apache Parquet, SQLite).
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

from passbell.errors import PassbellError

if TYPE_CHECKING:
    from passbell.files.csv.source import Source


class CsvError(PassbellError):
    """The file as a whole is refused; nothing of it should be used."""


class NotCsv(CsvError):
    """The file is not a CSV. `kind` (`html`, `xlsx`, `empty` …) is for programs, the message for people."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class UnknownColumns(CsvError):
    """No header of the file is one that the import knows or needs."""


class UnclosedQuote(CsvError):
    """A quote is never closed: what follows may be rows or one cell, and a message cannot be taken back."""


class AmbiguousDates(CsvError):
    """One date column holds dates of two orders; guessing would give people wrong birthdays."""


class TooManyRows(CsvError):
    """The file has more rows than allowed."""


_EXCEL = "In Excel choose File, Save As, CSV UTF-8 (Comma delimited) and upload that file."

_SENTENCES = {
    "empty": "The file is empty.",
    "html": "This is a web page (HTML), not a CSV file: the link may have expired, or it needs a login. If a program "
    "saved its table this way, open it in a spreadsheet and save it as CSV.",
    "xml": "This is an XML document, not a CSV file: the link may have expired, or access was denied.",
    "json": "This is JSON, not a CSV file: the link may answer with an error message or with API data.",
    "xlsx": f"This is an Excel workbook (.xlsx), not a CSV file. {_EXCEL}",
    "xls": f"This is an old Excel workbook (.xls) or another Office document, not a CSV file. {_EXCEL}",
    "ods": "This is an OpenDocument spreadsheet (.ods), not a CSV file. Save it as Text CSV and upload that.",
    "docx": "This is a Word document (.docx), not a CSV file. Save the list as CSV from a spreadsheet.",
    "pptx": "This is a presentation (.pptx), not a CSV file. Save the list as CSV from a spreadsheet.",
    "numbers": "This is a Numbers spreadsheet, not a CSV file. In Numbers choose File, Export To, CSV.",
    "zip": "This is a zip archive, not a CSV file. Unpack it and upload the CSV inside.",
    "gzip": "This is a compressed file (gzip), not a CSV file. Unpack it first.",
    "pdf": "This is a PDF document, not a CSV file. Export the list as CSV.",
    "image": "This is a picture, not a CSV file.",
    "rtf": "This is a formatted text document (RTF), not a CSV file. Save the list as CSV.",
    "vcard": "This is an address book file (vCard), not a CSV file. Export the contacts as CSV.",
    "binary": "This is a binary file, not a CSV file.",
    "long line": "The first line is longer than any table header: this is not a CSV file.",
}

_MAGIC = (
    (b"%PDF", "pdf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"),
    (b"\x1f\x8b", "gzip"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"{\\rtf", "rtf"),
    (b"PAR1", "binary"),
    (b"SQLite format 3\0", "binary"),
    (b"\x7fELF", "binary"),
    (b"MZ\x90\0", "binary"),
    (b"BZh9", "binary"),
    (b"7z\xbc\xaf\x27\x1c", "binary"),
    (b"Rar!", "binary"),
    (b"\xfd7zXZ\0", "binary"),
    (b"(\xb5/\xfd", "binary"),
)
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

_MARKUP = re.compile(r"<(?:!doctype|!--|\?xml|[a-z][a-z0-9:-]*[\s>/])", re.IGNORECASE)
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body|table|script|meta|title|div|p)\b", re.IGNORECASE)
_JSON = re.compile(r'(?:\{\s*(?:"|\})|\[\s*(?:["{\[\]]|-?\d+\s*[,\]]))')
_MAX_CONTROL_SHARE = 0.02


def refuse(kind: str) -> NotCsv:
    """Give the exception for one kind of file, to be raised by the caller."""
    return NotCsv(kind, _SENTENCES[kind])


_INSIDE = (  # the folder that each program makes inside its zip
    ("xl/", "xlsx"),
    ("word/", "docx"),
    ("ppt/", "pptx"),
    ("Index/", "numbers"),
)


def _inside(head: bytes, source: Source | None) -> str:
    """Say what a zip is. Its list of names is at the end of the file; if that is missing, the beginning decides."""
    names: list[str] = []
    if source is not None:
        try:
            with source.binary() as raw, zipfile.ZipFile(raw) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            pass
    if b"opendocument" in head:
        return "ods"
    for folder, kind in _INSIDE:
        if any(name.startswith(folder) for name in names) or (not names and folder.encode() in head):
            return kind
    return "xlsx" if b"[Content_Types].xml" in head else "zip"


def check_bytes(head: bytes, source: Source | None = None) -> None:
    """Raise `NotCsv` if the first bytes are those of another format, or if there are none."""
    if not head.strip(b" \t\r\n\0\x1a"):
        raise refuse("empty")
    for mark, kind in _MAGIC:
        if head.startswith(mark):
            raise refuse(kind)
    if head.startswith(_ZIPS):
        raise refuse(_inside(head, source))


def check_text(head: str) -> None:
    """Raise `NotCsv` if the decoded beginning is markup, JSON, nothing, or mostly control characters."""
    text = head.lstrip("\ufeff\u200b \t\r\n\0")
    if not text.strip(" \t\r\n\0\x1a,;|\"'"):
        raise refuse("empty")
    if _MARKUP.match(text):
        raise refuse("html" if _HTML.search(text) else "xml")
    if _JSON.match(text):
        raise refuse("json")
    if text.upper().startswith("BEGIN:VCARD"):
        raise refuse("vcard")
    body = text.rstrip("\0\x1a")
    # Anything below the space that no text editor writes; NULs count too, a padded tail was cut off just
    # above.
    control = sum(1 for character in body if character < " " and character not in "\t\n\r\v\f\x1b")
    if control > max(4, len(body) * _MAX_CONTROL_SHARE):
        raise refuse("binary")
