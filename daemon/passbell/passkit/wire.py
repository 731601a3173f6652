"""What client and transports share: the caller of a request, the interface, the bounds, the ways to have no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

__all__ = [
    "KEEP_ALIVE",
    "MAX_BODY",
    "UNPACED",
    "BodyTooLong",
    "Caller",
    "NetworkTrouble",
    "Transport",
    "Unpaced",
]

MAX_BODY = 1024 * 1024
"""Bytes of an answer that are read. An update answers 30 bytes, a list of 100 records some 300 kB."""

KEEP_ALIVE = 15.0
"""Seconds that an idle connection is kept; less than load balancers do, so that we are the ones to close."""


class Caller(Protocol):
    """On whose behalf a request is made. It decides when the request may leave, and whether it still may.

    What its methods raise ends the request and comes through to the caller.
    """

    def take_slot(self) -> Awaitable[None] | None:
        """Called right before each request, also repeats and reads. What it returns is awaited, unless it is None."""
        ...

    async def retake_slot(self, seconds: float) -> None:
        """Awaited when making a connection took so many seconds after `take_slot`, before the request leaves on it."""
        ...


class Unpaced:
    """A caller without a rate."""

    def take_slot(self) -> None:
        """The request leaves at once."""

    async def retake_slot(self, seconds: float) -> None:
        """It still leaves at once."""


UNPACED: Final = Unpaced()


class NetworkTrouble(Exception):
    """No complete answer: not connected, cut, garbled or too slow. The text is one plain sentence."""


class BodyTooLong(Exception):
    """An answer went on after `MAX_BODY` bytes and was abandoned."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """`body`: the bytes read so far."""
        super().__init__(f"the answer is longer than {MAX_BODY} bytes")
        self.status = status
        self.headers = headers
        self.body = body


class Transport(Protocol):
    """Sends one request and reads its whole answer."""

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        *,
        caller: Caller = UNPACED,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask once.

        Args:
            method: HTTP verb.
            path: begins with a slash, already percent-encoded, goes behind the base URL.
            body: None for a request without one.
            headers: to send.
            deadline: seconds for everything from connecting to the last byte.
            caller: holds a slot for this request. A transport that connects first asks it to `retake_slot`.

        Returns:
            Status, headers (names in lower case) and body.

        Raises:
            NetworkTrouble: no complete answer in time.
            BodyTooLong: the answer is larger than `MAX_BODY`.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
