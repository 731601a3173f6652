"""Is it a CSV file? Unpacking within bounds, and telling a file from a login page by its first bytes.

Whether the text makes sense as CSV is for `passbell.files.csv`; here only that which is certainly something
else is refused, with the way out for the person.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from passbell.files.download.errors import FetchFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SNIFF_BYTES", "Unpacker", "refuse_unless_csv"]

SNIFF_BYTES = 1024
_PIECE = 256 * 1024
_HTML_STARTS = (
    b"<!doctype",
    b"<html",
    b"<head",
    b"<body",
    b"<script",
    b"<!--",
    b"<?xml",
    b"<meta",
    b"<title",
)

_EXCEL = "The link gives an Excel workbook, not a CSV file; save it as CSV (UTF-8) and use the link to that."
_ARCHIVE = "The link gives a compressed file; unpack it and use a link to the CSV file inside."
_SIGNATURES = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _EXCEL),  # the workbook format before 2007
    (b"\x1f\x8b", _ARCHIVE),  # gzip
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ\x00", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),  # zstd
    (b"%PDF-", "The link gives a PDF, not a CSV file; export the list as CSV."),
    (b"\x89PNG\r\n", "The link gives a picture, not a CSV file."),
    (b"\xff\xd8\xff", "The link gives a picture, not a CSV file."),
    (b"GIF8", "The link gives a picture, not a CSV file."),
)


class Unpacker:
    """Undoes Content-Encoding piece by piece, so that a bomb is noticed after one piece and not in memory.

    Args:
        encoding: the header's value; empty, identity, gzip or deflate.

    Raises:
        FetchFailed: another encoding, or several of them: we asked for gzip at most.
    """

    def __init__(self, encoding: str) -> None:
        match encoding.strip().lower():
            case "" | "identity":
                self._inflate = None
            case "gzip" | "x-gzip":
                self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            case "deflate":
                self._inflate = zlib.decompressobj()
            case _:
                raise FetchFailed("The file server compresses the file in a way that was not asked for.")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of `data`, at most 256 KB at a time.

        Raises:
            FetchFailed: the compressed stream is damaged, or goes on after its end.
        """
        if self._inflate is None:
            yield data
            return
        while data:
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error:
                raise FetchFailed(
                    "The file arrived damaged; try again, or upload it again.", temporary=True
                ) from None
            if self._inflate.unused_data:
                # A second member would be dropped in silence by most clients. A list must not be cut
                # unnoticed.
                raise FetchFailed("The file server sent more than one compressed file at once.")
            data = self._inflate.unconsumed_tail
            if piece:
                yield piece

    @property
    def complete(self) -> bool:
        """Whether the stream came to its proper end."""
        return self._inflate is None or self._inflate.eof


def refuse_unless_csv(head: bytes, content_type: str) -> None:
    """Check the start of a file (up to `SNIFF_BYTES`) and its Content-Type.

    Types like text/plain, application/octet-stream or application/vnd.ms-excel (what Windows calls CSV) say
    nothing and pass.

    Raises:
        FetchFailed: it is empty, a web page, JSON, a workbook, an archive, a PDF or a picture.
    """
    if not head:
        raise FetchFailed("The file behind the link is empty.")
    if head.startswith(b"PK"):
        raise FetchFailed(_EXCEL if b"[Content_Types].xml" in head or b"xl/" in head else _ARCHIVE)
    for signature, sentence in _SIGNATURES:
        if head.startswith(signature):
            raise FetchFailed(sentence)
    kind = content_type.partition(";")[0].strip().lower()
    # UTF-16 reads like ASCII once its NULs and its byte order mark are gone.
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe").replace(b"\x00", b"").lstrip().lower()
    if kind in {"text/html", "application/xhtml+xml"} or text.startswith(_HTML_STARTS):
        raise FetchFailed(
            "The link gives a web page, not a CSV file: it may have expired, or ask for a sign-in;"
            " share the file with everyone who has the link and use its download link."
        )
    if kind in {"application/json", "application/problem+json"}:
        raise FetchFailed("The link gives JSON, not a CSV file; use a link to the file itself.")
