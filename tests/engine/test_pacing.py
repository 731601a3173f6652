"""Who is next in line for a turn of the rate."""

from __future__ import annotations

import asyncio
import time

from passbell.db.calls import Slots
from passbell.engine.pacing import Pacer


async def test_programs_take_turns_in_line() -> None:
    """Fairness, another program, 2 daemons: 50 lanes of a huge campaign in line, and a small one behind all of them."""

    async def take(_: int) -> Slots:
        now = time.monotonic()
        return Slots(now, now, 0.0002)

    pacer = Pacer(take, 5_000)
    order: list[str] = []

    async def call(whose: str) -> None:
        assert await pacer.wait(whose=whose)
        order.append(whose)

    calls = [asyncio.create_task(call(whose)) for whose in ["huge"] * 50 + ["small"] * 5 + ["third"] * 5]
    await asyncio.gather(*calls)
    assert len(order) == 60
    assert order.index("small") <= 1
    assert "huge" in order[:2]
    assert order[:21].count("small") == order[:21].count("third") == 5
