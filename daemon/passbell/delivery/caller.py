"""The caller of a request to PassKit: takes a slot of the account's rate first, and stops with its chunk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from passbell.delivery.held import SendStopped
from passbell.delivery.pacing import ALLOWANCE
from passbell.ops.metrics import LIMITER_WAIT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from passbell.delivery.held import HeldChunk
    from passbell.delivery.pacing import Pacer

__all__ = ["Call"]


class Call:
    """A recipient of a held chunk, all of them (a list), or no chunk (a probe). See `passbell.passkit.wire.Caller`.

    Every request of a client whose callers these are, reads and repeats included, takes a slot first.
    """

    __slots__ = ("_held", "_nth", "_pacer")

    def __init__(self, pacer: Pacer, held: HeldChunk | None = None, nth: int | None = None) -> None:
        """`pacer` is the account's."""
        self._pacer = pacer
        self._held = held
        self._nth = nth

    def is_over(self) -> bool:
        """Whether the request may not be made any more."""
        held = self._held
        return held is not None and (held.is_over() or self._nth in held.withdrawn)

    def take_slot(self) -> Awaitable[None] | None:
        """Take a slot; None: the request may leave now.

        Raises:
            SendStopped: the chunk was stopped or its lease ended, before or during the wait.
            DatabaseUnavailable: no rate slot can be reserved (database unreachable).
        """
        if self.is_over():
            raise SendStopped
        if self._pacer.at_once():
            LIMITER_WAIT.observe(0.0)
            return None
        return self._wait()

    async def retake_slot(self, seconds: float) -> None:
        """Take the very next slot if making a connection took so many seconds that the one in hand is over.

        A handshake is several ways to PassKit and back. Sent in the old slots, the first calls of a campaign would
        arrive together with those that were sent later on kept connections: 60 in a second instead of 50.

        Raises:
            SendStopped, DatabaseUnavailable: as `take_slot`.
        """
        if seconds > ALLOWANCE:
            await self._wait(first=True)

    async def _wait(self, *, first: bool = False) -> None:
        begun = time.monotonic()
        key = None if self._held is None else self._held.turn_key
        given = await self._pacer.wait(self.is_over, key, first=first)
        LIMITER_WAIT.observe(time.monotonic() - begun)
        if not given:
            raise SendStopped
