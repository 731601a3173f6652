"""The next chunk is in hand before the last passes of this one are answered: PassKit's latency costs no rate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from passbell.database.rows import ClaimedChunk, Finished
from passbell.delivery.chunks import ChunkLoop
from passbell.delivery.loops import Wakeup
from passbell.outcomes import Outcome
from passbell.settings import Settings

if TYPE_CHECKING:
    from passbell.delivery.held import HeldChunk

CHUNKS, SIZE = 3, 50
PROGRAM, CAMPAIGN = uuid4(), uuid4()


class Backlog:
    """A queue with some chunks of one program."""

    def __init__(self) -> None:
        self.claims = 0
        self.claimed = asyncio.Condition()

    async def claim_chunk(self, _lease: float, _cap: int, _same: str, busy: list[UUID], _slow: Any) -> Any:
        """As the database: nothing for a program that has enough in hand."""
        if self.claims == CHUNKS or PROGRAM in busy:
            return None
        async with self.claimed:
            self.claims += 1
            self.claimed.notify_all()
        ids = [str(uuid4()) for _ in range(SIZE)]
        return ClaimedChunk(
            CAMPAIGN,
            self.claims,
            uuid4(),
            1,
            PROGRAM,
            "BROADCAST",
            None,
            ids,
            ids,
            ids,
            ["MEMBERSHIP"] * SIZE,
            "p",
            ids,
        )

    async def finish_chunk(self, *_: Any, **__: Any) -> Finished:
        """Everything is taken."""
        return Finished(status="PROCESSING")


class SlowPassKit:
    """Leaves the last pass of a chunk unanswered until the next chunk has been claimed."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self.sent = 0
        self.all_sent = asyncio.Event()

    async def send(self, held: HeldChunk, _own_rate: Any) -> None:
        """Push all of a chunk."""
        while (index := held.pick()) is not None:
            if index == SIZE - 1 and held.chunk.chunk_no < CHUNKS:
                async with self._backlog.claimed:
                    await self._backlog.claimed.wait_for(lambda: self._backlog.claims > held.chunk.chunk_no)
            held.decide(index, Outcome.SENT, 200, "")
            self.sent += 1
            if self.sent == CHUNKS * SIZE:
                self.all_sent.set()


class OneAccount:
    """The daemon's own account, and no other."""

    enough = Settings(dry_run=True).concurrency

    def __init__(self, sender: SlowPassKit) -> None:
        self.sender = sender

    def get(self, _name: str) -> OneAccount:
        """Whatever is asked for."""
        return self


async def test_a_chunk_that_runs_low_brings_the_next() -> None:
    """With the default settings a chunk that runs low claims the next one in time."""
    backlog, wakeup = Backlog(), Wakeup()
    passkit = SlowPassKit(backlog)
    settings = Settings(dry_run=True)
    loop = ChunkLoop(settings, backlog, OneAccount(passkit), wakeup)  # type: ignore[arg-type]
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(10):
        await passkit.all_sent.wait()
        loop.stop()
        await running
    assert backlog.claims == CHUNKS
