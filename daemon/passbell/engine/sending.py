"""One recipient: read what its record holds, push the text, say what came of it."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Final

import structlog

from passbell.engine.held import HeldChunk, SendStopped
from passbell.errors import DatabaseUnavailable
from passbell.ops.metrics import LIMITER_WAIT
from passbell.passkit import Answer, Verdict

if TYPE_CHECKING:
    from passbell.engine.health import Health
    from passbell.engine.pacing import Pacer
    from passbell.passkit import PassKit

__all__ = ["Sender", "Turns"]

log = structlog.get_logger()

REPEATS: Final = 3
"""Requests for one attempt. PassKit's instruction for a 503 is to wait 250 ms and repeat until it succeeds."""
REPEAT_PAUSE: Final = 0.25
PATIENCE: Final = 20
"""429 answers in a row after which a pass is handed back."""
LONG_PAUSE: Final = 2.0
"""Seconds that a chunk may be kept waiting for PassKit."""

_current: contextvars.ContextVar[HeldChunk | None] = contextvars.ContextVar("held_chunk", default=None)

_OUTCOMES = {
    Verdict.SENT: "sent",
    Verdict.NOT_FOUND: "not_found",
    Verdict.REJECTED: "rejected",
    Verdict.SERVER_ERROR: "server_error",
    Verdict.RETRY: "retry",
    Verdict.THROTTLED: "back",
    Verdict.REFUSED: "back",
}


class Turns:
    """The client's door: every request, reads and repeats included, takes a turn of the account's rate first."""

    def __init__(self, pacer: Pacer) -> None:
        """`pacer` is the account's."""
        self.pacer = pacer

    async def take(self) -> None:
        """Take a turn; the client awaits this right before each request, reads included.

        Raises:
            SendStopped: while we waited, the chunk was stopped or its lease ended.
            DatabaseUnavailable: no turn can be had.
        """
        held = _current.get()
        with LIMITER_WAIT.time():
            if held is None:
                await self.pacer.wait()
            elif held.is_over() or not await self.pacer.wait(held.is_over):
                raise SendStopped


class Sender:
    """Pushes the recipients of held chunks, each request in its turn."""

    def __init__(self, passkit: PassKit, health: Health, pacer: Pacer, *, merge: bool) -> None:
        """`merge`: read the record's metaData first and write it back with our key, instead of replacing it."""
        self._passkit = passkit
        self._health = health
        self._pacer = pacer
        self._merge = merge

    async def send(self, held: HeldChunk, lanes: int, own_rate: Pacer | None) -> None:
        """Push everybody in the chunk; returns when all are decided or nothing more may be sent.

        A recipient of whom nothing is decided stays in the chunk. Calls in flight are never cancelled.
        """
        token = _current.set(held)
        try:
            known: dict[str, dict[str, str] | Answer] = {}
            try:
                if self._merge:
                    known = await self._passkit.read_metadata(held.recipients)
            except* SendStopped:
                held.stop("stopping")
            except* DatabaseUnavailable as group:
                self._interrupted(held, group)
            async with asyncio.TaskGroup() as group_of_lanes:
                for _ in range(min(lanes, len(held.recipients))):
                    group_of_lanes.create_task(self._lane(held, known, own_rate))
        finally:
            _current.reset(token)

    async def _lane(
        self, held: HeldChunk, known: dict[str, dict[str, str] | Answer], own_rate: Pacer | None
    ) -> None:
        while (index := held.pick()) is not None:
            try:
                if own_rate is not None and not await own_rate.wait(held.is_over):
                    return
                answer = await self._push(held, index, known)
            except SendStopped:
                self._leave(held, index)
                return
            except DatabaseUnavailable as error:
                self._interrupted(held, error)
                self._leave(held, index)
                return
            outcome = _OUTCOMES[answer.verdict]
            if outcome == "back" and index in held.doubtful:
                outcome = "maybe"
            held.decide(index, outcome, answer.http_status, answer.detail)

    @staticmethod
    def _leave(held: HeldChunk, index: int) -> None:
        """A pass is left undecided. If a request for it failed before, that one may have arrived all the same."""
        if index in held.doubtful:
            held.decide(index, "maybe", None, "")

    @staticmethod
    def _interrupted(held: HeldChunk, error: BaseException) -> None:
        """No turns without a database: hand back what is unsent."""
        if not held.stopped:
            log.warning("sending_interrupted", reason=str(error))
        held.stop("database")

    async def _push(self, held: HeldChunk, index: int, known: dict[str, dict[str, str] | Answer]) -> Answer:
        """One attempt: up to `REPEATS` requests while the trouble is of the kind that passes."""
        recipient = held.recipients[index]
        metadata = known.get(recipient.pass_id)
        failures = throttles = 0
        while True:
            if isinstance(metadata, Answer) and (failures or throttles):
                metadata = (await self._passkit.read_metadata([recipient])).get(recipient.pass_id)
            if isinstance(metadata, Answer):
                answer = metadata
            else:
                answer = await self._passkit.push(recipient, held.chunk.texts[index], metadata)
            if answer.verdict in {Verdict.RETRY, Verdict.SERVER_ERROR}:
                failures += 1
                held.doubtful.add(index)
                if await self._health.is_down(answer):
                    held.stop("breaker")
                    return answer
                if failures == REPEATS or held.is_over():
                    return answer
                await asyncio.sleep(
                    max(REPEAT_PAUSE * 2 ** (failures - 1), min(answer.retry_after or 0, LONG_PAUSE))
                )
            elif answer.verdict is Verdict.THROTTLED:
                throttles += 1
                await self._throttled(held, answer)
                if throttles == PATIENCE or held.is_over():
                    return answer
            else:
                if answer.verdict is Verdict.REFUSED:
                    held.stop("breaker")
                    await self._health.refused(answer)
                else:
                    self._health.succeeded()
                return answer

    async def _throttled(self, held: HeldChunk, answer: Answer) -> None:
        """429: everybody slows down. A long pause hands the rest of the chunk back, untouched."""
        self._pacer.forget()
        await self._health.throttled(answer.retry_after)
        if (answer.retry_after or 0) > LONG_PAUSE:
            held.stop("throttled")
