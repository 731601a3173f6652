"""What becomes of a chunk in the daemon's hands."""

from __future__ import annotations

import gc
import time
import weakref
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from passbell.database.limits import Slots
from passbell.database.rows import ClaimedChunk
from passbell.delivery.health import Health
from passbell.delivery.held import HeldChunk, lease_clock
from passbell.delivery.pacing import Pacer
from passbell.delivery.sending import PacedCaller, Sender
from passbell.passkit import Credentials, PassKit
from support.scripted import Server
from support.wait import wait_until_async

if TYPE_CHECKING:
    from passbell.database.limits import RateLimit

SIZE = 40


async def test_a_chunk_that_is_through_is_gone_at_once() -> None:
    """A chunk that is reported frees its memory at once, its texts included."""
    server = Server()
    await server.start()

    async def take(*_: object) -> Slots:
        now = time.monotonic()
        return Slots(now, now, 1e-6)

    pacer = Pacer(take, 10_000)
    async with PassKit(server.url, Credentials(token="t"), caller=PacedCaller(pacer)) as passkit:
        sender = Sender(passkit, Health(cast("RateLimit", None), passkit), pacer, merge=False, concurrency=10)
        gc.collect()
        gc.disable()
        try:
            gone = [await _sent(sender) for _ in range(5)]
            await wait_until_async(
                lambda: not any(held() for held in gone), "the last lane ends, all are gone"
            )
        finally:
            gc.enable()
            await server.stop()


async def _sent(sender: Sender) -> weakref.ref[HeldChunk]:
    ids = [str(uuid4()) for _ in range(SIZE)]
    whole = {"protocols": ["MEMBERSHIP"] * SIZE, "passkit_ids": list(ids), "external_ids": list(ids)}
    chunk = ClaimedChunk(
        campaign_id=uuid4(),
        chunk_no=1,
        claim_token=uuid4(),
        attempt=0,
        program_id=uuid4(),
        kind="BROADCAST",
        rate_per_second=None,
        pass_ids=ids,
        passkit_program_id="p",
        texts=["Hello"] * SIZE,
        **whole,
    )
    held = HeldChunk(chunk, 60, lease_clock())
    await sender.send(held, None)
    assert {outcome for _, outcome, _, _ in held.decisions} == {"sent"}
    return weakref.ref(held)
