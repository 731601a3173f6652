"""Which recipient is sent to next, and what is reported of those that were given up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from passbell.database.limits import Slots
from passbell.database.rows import ClaimedChunk
from passbell.delivery.held import HeldChunk, SendStopped, lease_clock
from passbell.delivery.pacing import Pacer
from passbell.delivery.sending import Lanes
from passbell.errors import DatabaseUnavailable
from passbell.outcomes import OUTCOMES, Outcome, Stop
from passbell.passkit import Verdict
from support.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


def chunk_of(size: int, program: UUID | None = None) -> HeldChunk:
    """A chunk in hand."""
    ids = [str(uuid4()) for _ in range(size)]
    protocols = ["MEMBERSHIP"] * size
    chunk = ClaimedChunk(
        uuid4(), 1, uuid4(), 0, program or uuid4(), "BROADCAST", None, ids, ids, ids, protocols, "p", ids
    )
    return HeldChunk(chunk, 60, lease_clock())


def reported(held: HeldChunk, *, release: bool = True) -> list[str]:
    """The words for the passes, in the order of the chunk."""
    words = {decision.pass_id: decision.outcome for decision in held.report(release=release)}
    return [words.get(pass_id, "-") for pass_id in held.chunk.pass_ids]


class Deliveries:
    """Notes who is sent to, in which order; `after` is called with each."""

    def __init__(self, after: Callable[[HeldChunk, int], None] | None = None) -> None:
        self.order: list[HeldChunk] = []
        self.at_once = self.most = 0
        self._after = after

    async def send(self, _lanes: Lanes, held: HeldChunk, nth: int) -> None:
        """To one recipient."""
        self.order.append(held)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        held.decide(nth, Outcome.SENT, 200, "")
        if self._after is not None:
            self._after(held, nth)


async def test_programs_take_turns_in_the_lanes() -> None:
    """Three passes of a small program do not wait for the two hundred of a large one."""
    large, small, deliveries = chunk_of(200), chunk_of(3), Deliveries()
    lanes = Lanes(4, deliveries.send)
    for held in (large, small):
        lanes.add(held)
    async with asyncio.timeout(10):
        await asyncio.gather(large.through(), small.through())
    assert deliveries.order[:8].count(small) == 3
    assert deliveries.most == 4
    assert reported(large) == ["sent"] * 200


async def test_a_lane_that_pauses_gives_its_place_away() -> None:
    """A pass that PassKit has trouble with keeps no other waiting; afterwards there is one lane as before."""
    resting, others = chunk_of(1), chunk_of(60)
    rested, sent = asyncio.Event(), Deliveries()

    async def deliver(lanes: Lanes, held: HeldChunk, nth: int) -> None:
        if held is resting:
            await lanes.pause(0.02)
            assert sent.order, "the place of the only lane was taken"
            rested.set()
        await sent.send(lanes, held, nth)

    lanes = Lanes(1, deliver)
    lanes.add(resting)
    lanes.add(others)
    async with asyncio.timeout(10):
        await asyncio.gather(resting.through(), others.through())
        assert rested.is_set()
        sent.most = 0
        again = chunk_of(10)
        lanes.add(again)
        await again.through()
    assert sent.most == 1


class OwnRate(Pacer):
    """A campaign's own rate, which counts the slots that it has spent."""

    spent = 0

    async def wait(self, *args: Any, **named: Any) -> bool:
        """Count those that were had."""
        given = await super().wait(*args, **named)
        self.spent += given
        return given


async def test_an_own_rate_is_a_second_gate() -> None:
    """A campaign's own rate is waited for before a pass is picked, so no slot is lost at the end of a chunk."""

    async def take(count: int, *_: object) -> Slots:
        now = time.monotonic()
        return Slots(now, now, 0.02)

    own_rate, held, deliveries = OwnRate(take, 50), chunk_of(8), Deliveries()
    Lanes(50, deliveries.send, own_rate).add(held)
    async with asyncio.timeout(10):
        await held.through()
        await asyncio.sleep(0.1)
    assert len(deliveries.order) == own_rate.spent == 8


async def test_an_own_rate_that_cannot_be_had_hands_the_chunk_back() -> None:
    """If no slot of the campaign's own rate can be reserved, nothing is sent, and no attempt is counted."""

    async def away(*_: object) -> Slots:
        raise DatabaseUnavailable("no connection")

    held = chunk_of(5)
    Lanes(5, Deliveries().send, Pacer(away, 10)).add(held)
    async with asyncio.timeout(10):
        await held.through()
    assert held.stopped is Stop.DATABASE
    assert reported(held) == ["-"] * 5


async def test_a_stop_waits_for_what_is_in_flight() -> None:
    """The daemon stops in the middle of a chunk: requests under way end, the rest is handed back untouched."""
    held = chunk_of(10)
    deliveries = Deliveries(after=lambda held, nth: held.stop(Stop.STOPPING) if nth == 1 else None)
    Lanes(2, deliveries.send).add(held)
    async with asyncio.timeout(10):
        await held.through()
    assert deliveries.at_once == 0
    assert 2 <= reported(held).count("sent") <= 3
    assert set(reported(held)) == {"sent", "-"}


def test_an_outage_uses_up_no_attempt() -> None:
    """A pass that failed while PassKit was down may have arrived and uses up no attempt; answers are reported."""
    held = chunk_of(4)
    for outcome in (Outcome.SENT, Outcome.RETRY, Outcome.SERVER_ERROR, Outcome.BACK):
        nth = held.pick()
        assert nth is not None
        held.decide(nth, outcome, None, "")
    assert reported(held) == ["sent", "retry", "server_error", "back"]
    held.stop(Stop.BREAKER)
    assert reported(held) == ["sent", "maybe", "maybe", "back"]


def test_a_pass_in_doubt_keeps_its_text() -> None:
    """An earlier request got no answer; then it was handed back: by a 429, or because the daemon stops."""
    held = chunk_of(4)
    for _ in range(4):
        held.pick()
    held.doubtful |= {held.chunk.pass_ids[0], held.chunk.pass_ids[2]}
    held.decide(0, Outcome.BACK, 429, "")
    held.decide(1, Outcome.BACK, 429, "")
    held.leave(2, SendStopped())
    held.leave(3, SendStopped())
    assert held.stopped is None
    assert reported(held) == ["maybe", "back", "maybe", "-"]


async def test_an_error_of_our_own_leaves_everything_in_doubt() -> None:
    """After an unexpected error the passes of the chunk keep their texts, and the last report says so."""
    held = chunk_of(3)
    held.pick()
    held.decide(0, Outcome.SENT, 200, "")
    held.pick()
    held.leave(1, LookupError("a bug"))
    assert reported(held, release=False) == ["sent", "-", "-"]
    assert reported(held) == ["sent", "maybe", "maybe"]
    with pytest.raises(LookupError):
        await held.through()


def test_a_lost_lease_overrides_any_other_reason() -> None:
    """A chunk that was paused and then lost must not be reported."""
    held = chunk_of(1)
    held.stop(Stop.PAUSED)
    held.stop(Stop.BREAKER)
    assert held.stopped is Stop.PAUSED
    held.stop(Stop.LOST)
    assert held.lost


def test_every_verdict_has_an_outcome_and_every_outcome_is_known_to_the_database() -> None:
    """Python's words for what became of a pass are those that `passbell.finish_chunk` explains."""
    assert set(OUTCOMES) == set(Verdict)
    explained = "\n".join(file.read_text("utf-8") for file in (ROOT / "sql" / "functions").glob("31_*.sql"))
    for outcome in Outcome:
        assert f"--   {outcome:<15}" in explained, outcome
