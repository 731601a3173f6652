"""From a held chunk to the requests: lanes take its recipients one by one, push the text and note the answer.

A request waits for its slot in `PacedCaller`. `Sender._push` decides whether it is repeated within the attempt; whether
a pass gets another attempt is decided by `passbell.finish_chunk`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Final

from passbell.delivery.fairline import FairLine
from passbell.delivery.held import SendStopped
from passbell.delivery.pacing import ALLOWANCE
from passbell.errors import DatabaseUnavailable
from passbell.ops.metrics import LIMITER_WAIT
from passbell.outcomes import OUTCOMES, Stop
from passbell.passkit import Answer, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passbell.delivery.health import Health
    from passbell.delivery.held import HeldChunk
    from passbell.delivery.pacing import Pacer
    from passbell.passkit import PassKit

    Deliver = Callable[["Lanes", HeldChunk, int], Awaitable[None]]

__all__ = ["Lanes", "PacedCaller", "Sender"]


class Lanes:
    """As many lanes as requests may be in flight serve all chunks that are added.

    Programs and test sends take turns; a program's chunks go one after the other. A lane that has to pause for its pass
    gives its place to another meanwhile. Where chunks have a rate of their own, a lane waits for a slot of that rate
    before it picks a recipient.
    """

    def __init__(self, count: int, deliver: Deliver, own_rate: Pacer | None = None) -> None:
        """`deliver` sends to one recipient, decides or leaves it, and raises nothing."""
        self._free = count
        """Lanes that may be opened. Below 0 after a pause: so many close when they are through."""
        self._deliver = deliver
        self._own_rate = own_rate
        self._line = FairLine["HeldChunk"]()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, held: HeldChunk) -> None:
        """Serve a chunk; see `HeldChunk.through` for its end."""
        self._line.put(held.turn_key, held)
        self._open(held.size)

    async def pause(self, seconds: float) -> None:
        """Sleep; a lane awaits this."""
        self._free += 1
        if self._line:
            self._open(1)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._free -= 1

    def _open(self, most: int) -> None:
        for _ in range(min(most, self._free)):
            self._free -= 1
            task = asyncio.create_task(self._lane(), name="lane")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lane(self) -> None:
        own_rate = self._own_rate
        try:
            while (
                self._free >= 0
                and (own_rate is None or await own_rate.wait(self._is_done))
                and (picked := self._pick()) is not None
            ):
                await self._deliver(self, *picked)
        except Exception as error:  # noqa: BLE001 - raised where the chunk is awaited
            for held in self._line:
                held.fail(error)
        finally:
            self._free += 1

    def _pick(self) -> tuple[HeldChunk, int] | None:
        """The next recipient of the next program; None when all are picked."""
        while self._line:
            held = self._line.head()
            nth = held.pick()
            if nth is not None:
                self._line.rotate()
                return held, nth
            self._line.remove_head()
        return None

    def _is_done(self) -> bool:
        """Whether there is no recipient left to pick."""
        return all(held.is_over() or held.picked >= held.size for held in self._line)


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
"""Answers to a list that concern the account rather than one record."""


class PacedCaller:
    """On whose behalf a request is made: a recipient, a whole chunk (a list of records) or no chunk (a probe).

    It is the daemon's `passbell.passkit.wire.Caller`. Each request, reads and repeats included, first takes a slot of
    the account's rate. If its chunk is stopped or its lease has ended, the request is not made.
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

        A handshake takes several round trips to PassKit. Sent in the old slots, the first calls of a campaign would
        arrive together with those that were sent later on kept connections: 60 in a second instead of 50.

        Raises:
            SendStopped, DatabaseUnavailable: as `take_slot`.
        """
        if seconds > ALLOWANCE:
            await self._wait(first=True)

    async def _wait(self, *, first: bool = False) -> None:
        begun = time.monotonic()
        turn_key = None if self._held is None else self._held.turn_key
        given = await self._pacer.wait(self.is_over, turn_key, first=first)
        LIMITER_WAIT.observe(time.monotonic() - begun)
        if not given:
            raise SendStopped


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
        """A list that fails because of the account is asked for again as a list: record by record it is 100 calls."""
        known: Known = {}
        left = [held.recipient(nth) for nth in range(held.size)]
        caller = PacedCaller(self._pacer, held)
        for _ in range(PATIENCE):
            known |= await self._passkit.read_metadata(left, caller)
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
            elif await self._health.is_refused(answer, "list", caller):
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
        caller = PacedCaller(self._pacer, held, nth)
        # Never a default here: a record whose map is not known would be wiped.
        metadata = held.known[recipient.pass_id] if self._merge else None
        failures = throttles = 0
        while True:
            if isinstance(metadata, Answer) and (failures or throttles):
                metadata = (await self._passkit.read_metadata([recipient], caller))[recipient.pass_id]
            if isinstance(metadata, Answer):
                answer = metadata
            else:
                answer = await self._passkit.push(recipient, held.chunk.texts[nth], metadata, caller)
            if answer.verdict in _TROUBLE:
                failures += 1
                if await self._stops(held, recipient.pass_id, answer, caller) or held.is_over():
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

    async def _stops(self, held: HeldChunk, pass_id: str, answer: Answer, caller: PacedCaller) -> bool:
        """Whether it is PassKit or the account, rather than this pass; then nothing more is sent."""
        if answer.verdict is Verdict.REFUSED:
            stops = await self._health.is_refused(answer, pass_id, caller)
        else:
            held.doubtful.add(pass_id)
            stops = await self._health.is_down(answer, caller)
        if stops:
            held.stop(Stop.BREAKER)
        return stops

    async def _throttled(self, held: HeldChunk, answer: Answer) -> None:
        """429: all daemons slow down. A long pause hands the rest of the chunk back, untouched."""
        self._pacer.forget()
        await self._health.throttled(answer.retry_after)
        if (answer.retry_after or 0) > LONG_PAUSE:
            held.stop(Stop.THROTTLED)
