"""What the sandbox answers: status lines, the `Date` header, the shapes of an error.

Every answer carries `Date`, because a client uses it to see how far its own clock is off.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passbell.devkit.sandbox.options import Options

__all__ = ["ApiError", "Heads", "Stream", "error_body", "required_error"]

# The gRPC code of each HTTP status, for the error shape that carries it (grpc-gateway's own mapping).
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
_UNKNOWN = 2


class ApiError(Exception):
    """A call is refused: HTTP status and the text for the body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def required_error(name: str) -> ApiError:
    """The validator's complaint about a field that is missing."""
    tag = name[0].upper() + name[1:]
    return ApiError(400, f"validation err: Field validation for '{tag}' failed on the 'required' tag")


class Stream(NamedTuple):
    """A long answer in parts; each part is a block of whole lines, or of any bytes."""

    parts: Iterator[bytes]
    content_type: bytes = b"application/json"


def error_body(options: Options, status: int, text: str) -> bytes:
    """The body of an error in the shape that the switch `error_shape` asks for."""
    shape: dict[str, Any] = {"error": text}
    if options.error_shape == "gateway":
        shape = {"code": _GRPC.get(status, _UNKNOWN), "message": text, "details": []}
    return orjson.dumps(shape)


class Heads:
    """Heads of answers, rebuilt only when the second changes."""

    def __init__(self) -> None:
        self._second = 0
        self._ready: dict[int, bytes] = {}
        self._date = b""

    def render(self, status: int, body: bytes, now: float, more: bytes = b"") -> bytes:
        """A whole answer with JSON in it.

        Args:
            status: HTTP status.
            body: the JSON.
            now: wall clock that `Date` shows.
            more: further header lines, each with its line end.
        """
        second = int(now)
        if second != self._second:
            self._turn(second)
        ready = self._ready.get(status)
        if ready is None:
            opening = self._opening(status)
            ready = b"%b\r\nContent-Type: application/json\r\nContent-Length: " % opening
            self._ready[status] = ready
        if more:
            return b"%b%d\r\n%b\r\n%b" % (ready, len(body), more, body)
        return b"%b%d\r\n\r\n%b" % (ready, len(body), body)

    def chunked(self, now: float, content_type: bytes) -> bytes:
        """The head of an answer whose parts follow one by one."""
        self._turn(int(now))
        opening = self._opening(200)
        return b"%b\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % (opening, content_type)

    def _turn(self, second: int) -> None:
        self._second = second
        self._date = formatdate(second, usegmt=True).encode()
        self._ready.clear()

    def _opening(self, status: int) -> bytes:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        return b"HTTP/1.1 %d %b\r\nDate: %b" % (status, phrase.encode(), self._date)
