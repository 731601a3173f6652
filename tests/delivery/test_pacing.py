"""Which request has the next slot of the rate, and when: by a clock that only moves when every task waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from passbell.database.limits import Slots
from passbell.delivery.blocks import Blocks
from passbell.delivery.pacing import Pacer
from support.ownclock import OwnClock, own_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def time() -> AsyncIterator[OwnClock]:
    with own_clock("passbell.delivery.pacing", "passbell.delivery.blocks") as clock:
        yield clock


async def test_programs_take_turns_in_line(time: OwnClock) -> None:
    """Fairness, another program, 2 daemons: 50 lanes of a huge campaign in line, and a small one behind all of them."""

    async def take(*_: object) -> Slots:
        now = time.monotonic()
        return Slots(now, now, 0.0002)

    pacer = Pacer(take, 5_000)
    order: list[str] = []

    async def call(whose: str) -> None:
        assert await pacer.wait(turn_key=whose)
        order.append(whose)

    calls = [asyncio.create_task(call(whose)) for whose in ["huge"] * 50 + ["small"] * 5 + ["third"] * 5]
    await asyncio.gather(*calls)
    assert len(order) == 60
    assert order.index("small") <= 1
    assert "huge" in order[:2]
    assert order[:21].count("small") == order[:21].count("third") == 5


async def test_who_could_not_use_a_turn_has_the_next(time: OwnClock) -> None:
    """A request that had to open a connection gets the next slot."""

    async def take(*_: object) -> Slots:
        now = time.monotonic()
        return Slots(now + 0.05, now, 0.0002)

    pacer = Pacer(take, 5_000)
    order: list[str] = []

    async def call(name: str, *, first: bool = False) -> None:
        assert await pacer.wait(first=first)
        order.append(name)

    line = [asyncio.create_task(call("in line")) for _ in range(5)]
    await asyncio.sleep(0.01)
    await asyncio.gather(*line, call("again", first=True))
    assert order[0] == "again"


class Clock:
    """The database's: a GCRA row in memory, and what it was told."""

    def __init__(self, time: OwnClock, spacing: float, ahead: float = 0.0) -> None:
        self.time, self.spacing, self.ahead = time, spacing, ahead
        self.next = time.monotonic()
        self.told: list[tuple[int, float]] = []
        self.pacer = Pacer(self.take, 1 / spacing)

    async def take(self, count: int, late: float, _late_at: float | None) -> Slots:
        """Reserve, as `passbell.take_slots` does."""
        now = self.time.monotonic()
        if count or late:  # else it only looks at the clock
            self.told.append((count, late))
        start = max(self.next + late, now + self.ahead)
        self.next = start + count * self.spacing
        return Slots(start, now, self.spacing)


async def test_a_call_that_left_late_is_paid_for(time: OwnClock) -> None:
    """The process froze between its turn and the write: the clock moves on by a slot or two, however long it was."""
    clock = Clock(time, 0.02)
    assert await clock.pacer.wait()
    time.sleep(0.15)  # that is the freeze
    await asyncio.sleep(0.02)
    assert [count for count, _ in clock.told] == [1, 0], "the line is empty, so it is paid at once"
    assert 0.03 < clock.told[1][1] <= 0.051
    assert clock.pacer.blocks.debt == 0


async def test_one_payment_is_enough_for_all_late_calls_before_it(time: OwnClock) -> None:
    """A busy machine makes many calls a little late: one gap within the second, not one per call."""
    clock = Clock(time, 0.005)

    async def lane() -> None:
        for _ in range(10):
            assert await clock.pacer.wait()
            time.sleep(0.003)  # a busy machine

    await asyncio.gather(*(lane() for _ in range(20)))
    paid = [late for count, late in clock.told if late and count]
    assert 1 <= len(paid) <= 3
    assert max(paid) < 0.03


async def test_a_slot_missed_by_too_much_is_forfeited(time: OwnClock) -> None:
    """A slot that was missed by more than 6 ms is used by no request."""
    clock = Clock(time, 0.05)
    lanes = [asyncio.create_task(clock.pacer.wait()) for _ in range(3)]
    await lanes[0]
    for lane in lanes[1:]:
        lane.cancel()
    for missed in (0.02, 0.06):
        await asyncio.sleep(0)
        time.sleep(missed)  # the event loop is busy
        if clock.pacer.at_once():
            used = clock.pacer._first - 0.05
            assert time.monotonic() - used < 0.012


async def test_far_from_the_database_nothing_may_leave_late(time: OwnClock) -> None:
    """If slots are reserved so far ahead that a gap would come too late, a late call forfeits its slot."""
    clock = Clock(time, 0.02, ahead=0.7)
    assert await clock.pacer.wait()
    assert clock.pacer._tolerance == 0.002


async def test_who_misses_slots_beside_others_asks_for_shorter_blocks(time: OwnClock) -> None:
    """If daemons miss slots beside each other, they ask for shorter blocks; alone, blocks are whole."""
    now = time.monotonic()
    begins = iter((0.1, 0.2, 0.3, 0.5, 0.7))

    async def take(count: int, *_: object) -> Slots:
        return Slots(now + (next(begins) if count else 0), now, 0.0001)

    blocks = Blocks(take, 10_000)
    assert blocks.size() == 1000
    for _ in range(3):
        await blocks.ask(1000)
        blocks.was_used(0.1)
    assert blocks.size() == 1000, "each begins where the last one ended: there is no other daemon"
    for _ in range(2):
        await blocks.ask(1000)
        blocks.was_used(0.1)
    assert blocks.size() == 250
    blocks.was_used(1.0)
    assert blocks.size() == 500, "the rate is used, and whole blocks cost the database less"


async def test_a_payment_of_our_own_is_no_other_daemon(time: OwnClock) -> None:
    """A gap of the daemon's own does not count as a sign of another daemon."""
    clock = Clock(time, 0.0001)
    blocks = clock.pacer.blocks
    await blocks.ask(1000)
    blocks.note_late(0.005, time.monotonic())
    await blocks.ask(0)
    await blocks.ask(1000)
    blocks.was_used(0.1)
    assert blocks.size() == 1000


async def test_at_a_rate_that_is_reached_blocks_stay_whole(time: OwnClock) -> None:
    """At 50 per second a block is five slots, however many daemons there are."""

    async def take(*_: object) -> Slots:
        now = time.monotonic()
        return Slots(now + 0.5, now, 0.02)

    blocks = Blocks(take, 50)
    for _ in range(3):
        await blocks.ask(5)
        blocks.was_used(0.2)
    assert blocks.size() == 5


async def test_a_mapping_of_clocks_that_was_wrong_is_paid_for(time: OwnClock) -> None:
    """If a faster answer shows that first calls left late, a gap compensates them."""
    # From the database's "now" to the arrival.
    ways = [0.03, 0.02, 0.025, 0.02, 0.02, 0.02, 0.001, 0.001]
    told: list[tuple[int, float]] = []
    ends: list[float] = []

    async def take(count: int, late: float, late_at: float | None) -> Slots:
        told.append((count, late))
        now = time.monotonic()
        if late:
            assert late_at is not None
            assert late_at >= ends[-2], "what was in hand then went on by the old mapping"
        ends.append(now + 0.45 + count * 0.02)
        return Slots(now + 0.45, now - ways[len(told) - 1], 0.02)

    blocks = Blocks(take, 50)
    for _ in range(3):
        await blocks.ask(5)
    assert [count for count, _ in told] == [0, 0, 0, 0, 5, 5, 5], "a few looks before anything is sent by it"
    assert blocks.debt == pytest.approx(0.019, abs=0.001), "of the looks the fastest counts, not the first"
    await asyncio.sleep(0.1)
    await blocks.ask(5)
    assert told[-1][1] == pytest.approx(0.019, abs=0.001)
    assert blocks.debt == 0


async def test_a_wide_slot_that_is_met_late_is_not_forfeited(time: OwnClock) -> None:
    """One push in ten seconds: a slow answer of the database costs milliseconds, and is paid for."""
    spacing, told = 10.0, list[tuple[int, float]]()

    async def take(count: int, late: float, _: float | None) -> Slots:
        start = time.monotonic()
        await asyncio.sleep(0.03 if count else 0)
        if count or late:
            told.append((count, late))
        return Slots(start, start, spacing)

    pacer = Pacer(take, 1 / spacing, patient=True)
    async with asyncio.timeout(2):
        assert await pacer.wait()
        following = asyncio.create_task(pacer.wait())
        while len(told) < 2:  # noqa: ASYNC110 - the order is the event
            await asyncio.sleep(0.01)
    following.cancel()
    (count, _), (again, paid) = told
    assert (count, again) == (1, 1)
    assert 0.02 < paid < 0.5


async def test_a_clock_that_was_set_ahead_waits_until_the_old_slots_are_over(time: OwnClock) -> None:
    """Those of other daemons may lie in the second after the jump."""
    ahead, took = 0.0, list[float]()

    async def take(count: int, *_: object) -> Slots:
        now = time.monotonic() + ahead
        if count:
            took.append(time.monotonic())
        return Slots(now, now, 0.02)

    blocks = Blocks(take, 50)
    await blocks.ask(5)
    ahead = 3600.0
    before = time.monotonic()
    block = await blocks.ask(5)
    assert before + 1 < block.first < time.monotonic() + 0.1
    assert len(took) == 3
