"""A CSV on disk or in a binary stream, readable from its start as often as needed.

Reading needs several passes (encoding, survey, rows), so a pipe or a stream that cannot seek is spooled first:
in memory up to 1 MB, on disk beyond.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

SPOOL_BYTES = 1 << 20
READ_BYTES = 1 << 18


class Source:
    """Opens the same bytes again and again. A stream belongs to the caller: it is never closed here."""

    def __init__(self, file: str | os.PathLike[str] | IO[bytes] | Source) -> None:
        """Take a path, a binary stream (spooled if it cannot seek), or another source."""
        self._path: Path | None = None
        self._stream: IO[bytes] | None = None
        if isinstance(file, Source):
            self._owner = file  # keeps a spool open
            self._path, self._stream = file._path, file._stream  # noqa: SLF001 -- same class
        elif isinstance(file, str | os.PathLike):
            path = Path(file)
            if path.is_file():
                self._path = path
            else:  # a pipe, /dev/stdin: read once
                with path.open("rb") as pipe:
                    self._spool(pipe)
        elif file.seekable():
            self._stream = file
        else:
            self._spool(file)

    def _spool(self, stream: IO[bytes]) -> None:
        spool = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115
        weakref.finalize(self, spool.close)  # it must outlive this call and every pass over it
        shutil.copyfileobj(stream, spool)
        self._stream = spool

    @contextmanager
    def binary(self) -> Iterator[IO[bytes]]:
        """Give the bytes from the first one on."""
        if self._path is not None:
            with self._path.open("rb", buffering=READ_BYTES) as opened:
                yield opened
        else:
            stream = cast("IO[bytes]", self._stream)
            stream.seek(0)
            yield stream

    @contextmanager
    def text(self, encoding: str, errors: str) -> Iterator[io.TextIOWrapper]:
        """Give the decoded text with line ends untouched (LF, CRLF and a lone CR all end a line)."""
        with self.binary() as raw:
            wrapper = io.TextIOWrapper(cast("io.BufferedReader", raw), encoding, errors, newline="")
            try:
                yield wrapper
            finally:
                wrapper.detach()  # otherwise the wrapper would close a stream that is not ours

    def head(self, size: int) -> bytes:
        """Give the first `size` bytes, fewer if the file is shorter."""
        with self.binary() as raw:
            return raw.read(size)

    def size(self) -> int:
        """Give the length in bytes."""
        with self.binary() as raw:
            return raw.seek(0, io.SEEK_END)
