"""When a loop of the daemon looks for work: when it is woken, and by itself when the poll has fallen silent."""

from __future__ import annotations

import asyncio

import pytest

from passbell.delivery import loops
from passbell.delivery.loops import Wakeup

pytestmark = pytest.mark.unit


@pytest.fixture
def wakeup(monkeypatch: pytest.MonkeyPatch) -> Wakeup:
    """A loop that looks by itself five times a second."""
    monkeypatch.setattr(loops, "SELDOM", 0.2)
    return Wakeup()


async def test_a_loop_asks_nothing_while_the_poll_says_that_nothing_waits(wakeup: Wakeup) -> None:
    """It looks only when the poll has stopped answering; meanwhile it counts as going round."""
    answers = 0

    async def poll() -> None:
        nonlocal answers
        while answers < 60:
            wakeup.told(waiting=False)
            answers += 1
            await asyncio.sleep(0.01)

    polling = asyncio.create_task(poll())
    begun = wakeup.beat
    async with asyncio.timeout(30):
        await wakeup.wait_for_work(0)
    assert answers == 60
    assert wakeup.beat > begun
    assert not wakeup.quiet
    await polling


async def test_a_poll_that_never_answers_leaves_the_loops_to_themselves(wakeup: Wakeup) -> None:
    """If the poll gets no answer, each loop looks for work by itself."""
    wakeup.told(waiting=False)
    async with asyncio.timeout(30):
        await wakeup.wait_for_work(0)
    assert not wakeup.quiet


async def test_work_that_the_poll_finds_ends_the_wait(wakeup: Wakeup) -> None:
    """Work that the poll finds ends a loop's wait, also right after the loop found none."""
    waiting = asyncio.create_task(wakeup.wait_for_work(3600))
    await asyncio.sleep(0)
    wakeup.told(waiting=False)
    wakeup.told(waiting=True)
    async with asyncio.timeout(30):
        await waiting
    assert not wakeup.quiet
