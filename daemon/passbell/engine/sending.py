"""One recipient: read what its record holds, push the text, say what came of it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

import structlog

from passbell.engine.caller import Call, SendStopped
from passbell.engine.fairline import FairLine
from passbell.errors import DatabaseUnavailable
from passbell.passkit import Answer, Verdict

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from passbell.engine.health import Health
    from passbell.engine.held import HeldChunk
    from passbell.engine.pacing import Pacer
    from passbell.passkit import PassKit

__all__ = ["Sender"]

log = structlog.get_logger()

REPEATS: Final = 3
"""Requests for one attempt. PassKit's instruction for a 503 is to wait 250 ms and repeat until it succeeds."""
REPEAT_PAUSE: Final = 0.25
PATIENCE: Final = 20
"""429 answers in a row after which a pass is handed back."""
LONG_PAUSE: Final = 2.0
"""Seconds that a chunk may be kept waiting for PassKit."""


Known = dict[str, dict[str, str] | Answer]
"""What each record's metaData holds, by pass id, or the answer that says why it is not known."""

_OUTCOMES = {
    Verdict.SENT: "sent",
    Verdict.NOT_FOUND: "not_found",
    Verdict.REJECTED: "rejected",
    Verdict.SERVER_ERROR: "server_error",
    Verdict.RETRY: "retry",
    Verdict.THROTTLED: "back",
    Verdict.REFUSED: "back",
}

_TROUBLE = {Verdict.RETRY, Verdict.SERVER_ERROR, Verdict.REFUSED}

_HALTS = {Verdict.THROTTLED, Verdict.REFUSED}
"""What a list says about the account rather than about one record."""


class _Sending:
    """A held chunk on its way through the lanes."""

    __slots__ = ("done", "failure", "held", "in_flight", "known")

    def __init__(self, held: HeldChunk, known: Known) -> None:
        self.held = held
        self.known = known
        self.in_flight = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: Exception | None = None

    def settle(self) -> None:
        """Through, when nobody is in flight and nobody will be picked."""
        if not self.in_flight and self.held.all_picked and not self.done.done():
            self.done.set_result(None)


class Sender:
    """Pushes the recipients of held chunks, each request in its slot.

    As many lanes as requests may be in flight serve all chunks: programs and test sends take turns, a program's
    chunks go one after the other. A lane that has to pause for its pass gives its place to another meanwhile.
    """

    def __init__(
        self, passkit: PassKit, health: Health, pacer: Pacer, *, merge: bool, concurrency: int
    ) -> None:
        """`merge`: read the record's metaData first and write it back with our key, instead of replacing it."""
        self._passkit = passkit
        self._health = health
        self._pacer = pacer
        self._merge = merge
        self._concurrency = concurrency
        self._free = concurrency
        self._line = FairLine[_Sending]()
        self._lanes: set[asyncio.Task[None]] = set()

    async def send(self, held: HeldChunk, own_rate: Pacer | None) -> None:
        """Push everybody in the chunk; returns when all are decided or nothing more may be sent.

        A recipient of whom nothing is decided stays in the chunk. Calls in flight are never cancelled.
        """
        sending = _Sending(held, await self._read(held) if self._merge else {})
        held.when_stopped = sending.settle
        if own_rate is None:
            self._line.put(held.whose, sending)
            self._fill()
        else:
            for _ in range(min(self._concurrency, held.size)):
                self._start(self._own_lane(sending, own_rate))
        sending.settle()
        try:
            await sending.done
        finally:
            # In a circle of references it would wait for the garbage collector, texts and all.
            held.when_stopped = None
        if sending.failure is not None:
            raise sending.failure

    async def _read(self, held: HeldChunk) -> Known:
        try:
            return await self._read_all(held)
        except* SendStopped:
            held.stop("stopping")
        except* DatabaseUnavailable as group:
            self._interrupted(held, group)
        return {}

    async def _read_all(self, held: HeldChunk) -> Known:
        """Lists that met trouble of the account are asked for again as lists: one by one they cost a hundred calls."""
        known: Known = {}
        left = [held.recipient(i) for i in range(held.size)]
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
            elif await self._health.is_refused(answer, "list"):
                held.stop("breaker")
            else:
                await asyncio.sleep(REPEAT_PAUSE)
        return known

    # ── lanes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, lane: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(lane, name="lane")
        self._lanes.add(task)
        task.add_done_callback(self._lanes.discard)

    def _fill(self) -> None:
        """Open lanes while there is somebody to send to."""
        while self._free > 0 and (picked := self._pick()) is not None:
            self._free -= 1
            self._start(self._lane(*picked))

    def _pick(self) -> tuple[_Sending, int] | None:
        """The next recipient of the next program; None when all are picked."""
        while self._line:
            sending = self._line.head()
            index = sending.held.pick()
            if index is not None:
                sending.in_flight += 1
                self._line.rotate()
                return sending, index
            self._line.remove_head()
            sending.settle()  # the last ones may have been withdrawn
        return None

    async def _lane(self, sending: _Sending, index: int) -> None:
        try:
            await self._deliver(sending, index)
            # A lane too many, after a pause, is closed by whoever is through first.
            while self._free >= 0 and (picked := self._pick()) is not None:
                await self._deliver(*picked)
        finally:
            self._free += 1

    async def _own_lane(self, sending: _Sending, own_rate: Pacer) -> None:
        """Serves a campaign that has a rate of its own, and no other."""
        held = sending.held
        try:
            while await own_rate.wait(held.is_over) and (index := held.pick()) is not None:
                sending.in_flight += 1
                await self._deliver(sending, index)
            sending.settle()
        except Exception as error:  # noqa: BLE001 - handed to who awaits the chunk
            self._trouble(sending, error)

    async def _deliver(self, sending: _Sending, index: int) -> None:
        """One recipient, from the first request to the outcome."""
        held = sending.held
        try:
            answer = await self._push(held, index, sending.known)
            outcome = _OUTCOMES[answer.verdict]
            # An earlier request got no answer and may have arrived, so keep the same text.
            unsure = outcome == "back" and index in held.doubtful
            held.decide(index, "maybe" if unsure else outcome, answer.http_status, answer.detail)
        except Exception as error:  # noqa: BLE001 - handed to who awaits the chunk
            self._trouble(sending, error)
            if index in held.doubtful:
                held.decide(index, "maybe", None, "")
        finally:
            sending.in_flight -= 1
            sending.settle()

    def _trouble(self, sending: _Sending, error: Exception) -> None:
        if isinstance(error, DatabaseUnavailable):
            self._interrupted(sending.held, error)
        elif not isinstance(error, SendStopped):
            sending.failure = error
            sending.held.stop("error")

    async def _pause(self, seconds: float) -> None:
        self._free += 1
        self._fill()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._free -= 1

    @staticmethod
    def _interrupted(held: HeldChunk, error: BaseException) -> None:
        """No turns without a database: hand back what is unsent."""
        if not held.stopped:
            log.warning("sending_interrupted", reason=str(error))
        held.stop("database")

    async def _push(self, held: HeldChunk, index: int, known: Known) -> Answer:
        """One attempt: up to `REPEATS` requests while the trouble is of the kind that passes."""
        recipient = held.recipient(index)
        call = Call(self._pacer, held, index)
        # Never a default here: a record whose map is not known would be wiped.
        metadata = known[recipient.pass_id] if self._merge else None
        failures = throttles = 0
        while True:
            if isinstance(metadata, Answer) and (failures or throttles):
                metadata = (await self._passkit.read_metadata([recipient], call))[recipient.pass_id]
            if isinstance(metadata, Answer):
                answer = metadata
            else:
                answer = await self._passkit.push(recipient, held.chunk.texts[index], metadata, call)
            if answer.verdict in _TROUBLE:
                failures += 1
                if await self._stops(held, index, answer) or held.is_over():
                    return answer
                if failures == REPEATS:
                    # Refused, and yet the account works: an attempt like any other that failed.
                    refused = answer.verdict is Verdict.REFUSED
                    return dataclasses.replace(answer, verdict=Verdict.RETRY) if refused else answer
                await self._pause(
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

    async def _stops(self, held: HeldChunk, index: int, answer: Answer) -> bool:
        """Whether it is PassKit or the account, rather than this pass; then nothing more is sent."""
        if answer.verdict is Verdict.REFUSED:
            stops = await self._health.is_refused(answer, held.chunk.pass_ids[index])
        else:
            held.doubtful.add(index)
            stops = await self._health.is_down(answer)
        if stops:
            held.stop("breaker")
        return stops

    async def _throttled(self, held: HeldChunk, answer: Answer) -> None:
        """429: everybody slows down. A long pause hands the rest of the chunk back, untouched."""
        self._pacer.forget()
        await self._health.throttled(answer.retry_after)
        if (answer.retry_after or 0) > LONG_PAUSE:
            held.stop("throttled")
