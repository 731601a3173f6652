"""One recipient: read what its record holds, push the text, say what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

from passbell.delivery.caller import Call
from passbell.delivery.held import SendStopped
from passbell.delivery.lanes import Lanes
from passbell.errors import DatabaseUnavailable
from passbell.outcomes import OUTCOMES, Stop
from passbell.passkit import Answer, Verdict

if TYPE_CHECKING:
    from passbell.delivery.health import Health
    from passbell.delivery.held import HeldChunk
    from passbell.delivery.pacing import Pacer
    from passbell.passkit import PassKit

__all__ = ["Sender"]

REPEATS: Final = 3
"""Requests for one attempt. PassKit's instruction for a 503 is to wait 250 ms and repeat until it succeeds."""
REPEAT_PAUSE: Final = 0.25
PATIENCE: Final = 20
"""429 answers in a row after which a pass is handed back."""
LONG_PAUSE: Final = 2.0
"""Seconds that a chunk may be kept waiting for PassKit."""

Known = dict[str, dict[str, str] | Answer]

_TROUBLE = {Verdict.RETRY, Verdict.SERVER_ERROR, Verdict.REFUSED}

_HALTS = {Verdict.THROTTLED, Verdict.REFUSED}
"""What a list says about the account rather than about one record."""


class Sender:
    """Pushes the recipients of held chunks, each request in its slot."""

    def __init__(
        self, passkit: PassKit, health: Health, pacer: Pacer, *, merge: bool, concurrency: int
    ) -> None:
        """`merge`: read the record's metaData first and write it back with our key, instead of replacing it."""
        self._passkit = passkit
        self._health = health
        self._pacer = pacer
        self._merge = merge
        self._concurrency = concurrency
        self._lanes = Lanes(concurrency, self._deliver)

    async def send(self, held: HeldChunk, own_rate: Pacer | None) -> None:
        """Push to every recipient of the chunk; return when all are decided or nothing more may be sent.

        A recipient that is not decided stays in the chunk. Requests in flight are never cancelled.
        """
        if self._merge:
            held.known = await self._read(held)
        # A campaign with a rate of its own waits for that as well, and must not fill the lanes of the others meanwhile.
        lanes = self._lanes if own_rate is None else Lanes(self._concurrency, self._deliver, own_rate)
        lanes.add(held)
        await held.through()

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, held: HeldChunk) -> Known:
        try:
            return await self._read_all(held)
        except SendStopped:
            held.stop(Stop.STOPPING)
        except DatabaseUnavailable as error:
            held.fail(error)
        return {}

    async def _read_all(self, held: HeldChunk) -> Known:
        """Lists that met trouble of the account are asked for again as lists: one by one they cost a hundred calls."""
        known: Known = {}
        left = [held.recipient(nth) for nth in range(held.size)]
        call = Call(self._pacer, held)
        for _ in range(PATIENCE):
            known |= await self._passkit.read_metadata(left, call)
            halted = {
                recipient: answer
                for recipient in left
                if isinstance(answer := known[recipient.pass_id], Answer) and answer.verdict in _HALTS
            }
            if not halted or held.is_over():
                break
            left, answer = list(halted), next(iter(halted.values()))
            if answer.verdict is Verdict.THROTTLED:
                await self._throttled(held, answer)
            elif await self._health.is_refused(answer, "list", call):
                held.stop(Stop.BREAKER)
            else:
                await asyncio.sleep(REPEAT_PAUSE)
        return known

    # ── pushing ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _deliver(self, lanes: Lanes, held: HeldChunk, nth: int) -> None:
        """One recipient, from the first request to the outcome."""
        try:
            answer = await self._push(lanes, held, nth)
            held.decide(nth, OUTCOMES[answer.verdict], answer.http_status, answer.detail)
        except Exception as error:  # noqa: BLE001 - raised where the chunk is awaited
            held.leave(nth, error)

    async def _push(self, lanes: Lanes, held: HeldChunk, nth: int) -> Answer:
        """One attempt: up to `REPEATS` requests while the trouble is of the kind that passes."""
        recipient = held.recipient(nth)
        call = Call(self._pacer, held, nth)
        # Never a default here: a record whose map is not known would be wiped.
        metadata = held.known[recipient.pass_id] if self._merge else None
        failures = throttles = 0
        while True:
            if isinstance(metadata, Answer) and (failures or throttles):
                metadata = (await self._passkit.read_metadata([recipient], call))[recipient.pass_id]
            if isinstance(metadata, Answer):
                answer = metadata
            else:
                answer = await self._passkit.push(recipient, held.chunk.texts[nth], metadata, call)
            if answer.verdict in _TROUBLE:
                failures += 1
                if await self._stops(held, recipient.pass_id, answer, call) or held.is_over():
                    return answer
                if failures == REPEATS:
                    # Refused, and yet the account works: an attempt like any other that failed.
                    refused = answer.verdict is Verdict.REFUSED
                    return dataclasses.replace(answer, verdict=Verdict.RETRY) if refused else answer
                await lanes.pause(
                    max(REPEAT_PAUSE * 2 ** (failures - 1), min(answer.retry_after or 0, LONG_PAUSE))
                )
            elif answer.verdict is Verdict.THROTTLED:
                throttles += 1
                await self._throttled(held, answer)
                if throttles == PATIENCE or held.is_over():
                    return answer
            else:
                self._health.succeeded(answer)
                return answer

    async def _stops(self, held: HeldChunk, pass_id: str, answer: Answer, call: Call) -> bool:
        """Whether it is PassKit or the account, rather than this pass; then nothing more is sent."""
        if answer.verdict is Verdict.REFUSED:
            stops = await self._health.is_refused(answer, pass_id, call)
        else:
            held.doubtful.add(pass_id)
            stops = await self._health.is_down(answer, call)
        if stops:
            held.stop(Stop.BREAKER)
        return stops

    async def _throttled(self, held: HeldChunk, answer: Answer) -> None:
        """429: all daemons slow down. A long pause hands the rest of the chunk back, untouched."""
        self._pacer.forget()
        await self._health.throttled(answer.retry_after)
        if (answer.retry_after or 0) > LONG_PAUSE:
            held.stop(Stop.THROTTLED)
