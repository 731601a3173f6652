"""A slow account takes the places of its own chunks, and none of the others'."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from passbell.database.rows import ClaimedChunk, Finished
from passbell.delivery.chunks import MAX_HELD, ChunkLoop
from passbell.delivery.loops import Wakeup
from passbell.outcomes import Outcome
from passbell.settings import Settings

if TYPE_CHECKING:
    from passbell.delivery.held import HeldChunk


class Town:
    """A queue in which every program of two accounts has one chunk, those of the slow account first."""

    def __init__(self) -> None:
        self.accounts = ["slow", "quick"]
        self.left = [("slow", uuid4()) for _ in range(MAX_HELD + 20)] + [
            ("quick", uuid4()) for _ in range(20)
        ]

    async def claim_chunk(self, *given: Any, accounts: list[str] | None = None) -> ClaimedChunk | None:
        """As the database: of the accounts that are asked for, and not of busy programs."""
        _, _, _, busy, _ = given
        for account, program in self.left:
            if account in (accounts or self.accounts) and program not in busy:
                self.left.remove((account, program))
                return chunk(account, program)
        return None

    async def finish_chunk(self, *_: Any, **__: Any) -> Finished:
        """Everything is taken."""
        return Finished(status="COMPLETED")


def chunk(account: str, program: UUID) -> ClaimedChunk:
    ids = [str(uuid4())]
    return ClaimedChunk(
        uuid4(), 1, uuid4(), 1, program, "BROADCAST", None, ids, ids, ids, ["MEMBERSHIP"], "p", ids, account
    )


class PassKitOf:
    """An account; PassKit answers the slow one when the daemon stops, the quick one at once."""

    enough = Settings(dry_run=True).concurrency

    def __init__(self, name: str) -> None:
        self.name = name
        self.sender = self
        self.taken: Counter[str] = Counter()
        self.changed = asyncio.Condition()
        self.answers = asyncio.Event()

    async def send(self, held: HeldChunk, _own_rate: Any) -> None:
        """Push all of a chunk."""
        async with self.changed:
            self.taken[self.name] += 1
            self.changed.notify_all()
        while (index := held.pick()) is not None:
            held.decide(index, Outcome.SENT, 200, "")
        if self.name == "slow":
            await self.answers.wait()

    async def has_taken(self, count: int) -> None:
        """Wait until so many chunks were handed to this account."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.taken[self.name] >= count)


async def test_a_slow_account_with_many_programs_keeps_no_other_waiting() -> None:
    """It holds as many chunks as one account may; the other one's programs are all served meanwhile."""
    town, wakeup = Town(), Wakeup()
    accounts = {name: PassKitOf(name) for name in town.accounts}
    loop = ChunkLoop(Settings(dry_run=True), town, accounts, wakeup)  # type: ignore[arg-type]
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(30):
        await accounts["quick"].has_taken(20)
        assert accounts["slow"].taken["slow"] <= MAX_HELD
        loop.stop()
        accounts["slow"].answers.set()
        await running
    assert sum(account == "slow" for account, _ in town.left) >= 20
