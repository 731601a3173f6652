"""The wire is cut after a claim was entered and before its answer came: the daemon asks again and goes on at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from passbell.database.calls import Queue
from passbell.database.claims import Claims
from passbell.database.filequeue import ImportQueue
from passbell.database.pool import Database
from passbell.database.runs import AutomationRuns, BirthdayRuns
from passbell.errors import DatabaseUnavailable
from support.proxy import Proxy
from support.wait import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from support.shop import Shop

HELD = {
    "chunk": "select count(*) from passbell.chunks where worker = %s",
    "list": "select count(*) from passbell.list_loads where worker = %s",
    "import": "select count(*) from passbell.import_leases where worker = %s",
    "birthday run": "select count(*) from passbell.birthday_runs where worker = %s",
    "automation run": "select count(*) from passbell.automation_runs where worker = %s",
}


def orders(shop: Shop, kind: str) -> None:
    """Two of a kind, so that a claim which is entered twice would show."""
    for _ in range(2):
        program = shop.program(
            timezone="UTC", birthday_send_at="00:00", birthday_bot_enabled=kind == "birthday run"
        )
        shop.members(program, 2)
        if kind == "chunk":
            shop.start(shop.campaign(program))
        elif kind == "list":
            shop.campaign(program, target_query="CSV", csv_upload_url="https://example.com/a.csv")
        elif kind == "import":
            shop.conn.execute(
                "insert into member_imports (program_id, csv_upload_url) values (%s, 'https://example.com/a.csv')",
                [program],
            )
        elif kind == "automation run":
            shop.conn.execute(
                "insert into push_automations (program_id, occasion, message_text, is_on, send_at)"
                " values (%s, 'EVERY:MON,TUE,WED,THU,FRI,SAT,SUN', 'Hi', true, '00:00')",
                [program],
            )


def claimer(kind: str, database: Database, dsn: str, worker: UUID) -> Callable[[], Awaitable[Any]]:
    """The daemon's claim of this kind."""
    queue, claims = Queue(database, worker, "test"), Claims()
    runs = {"lease_seconds": 60.0, "statement_seconds": 5.0}
    others: dict[str, Any] = {
        "import": ImportQueue(database, worker, 60),
        "birthday run": BirthdayRuns(database, dsn, worker, **runs),
        "automation run": AutomationRuns(database, dsn, worker, **runs),
    }

    async def claim() -> Any:
        if kind == "chunk":
            return await queue.claim_chunk(60, 3, "vary")
        if kind == "list":
            return await queue.claim_campaign(50, 60)
        with claims.next() as claim:
            return await others[kind].claim(claim)

    return claim


@pytest.mark.parametrize("kind", HELD)
async def test_a_lost_answer_is_asked_for_again(shop: Shop, kind: str) -> None:
    """The second call answers what the first had taken; one thing is held, and the third call takes the other."""
    orders(shop, kind)
    worker = uuid4()
    shop.conn.execute("select passbell.register_worker(%s, 'here', 1, 'x', '0', 'test', 50, 3)", [worker])
    held = HELD[kind]
    with Proxy.before(shop.url) as wire:
        async with Database(wire.url(shop.url), size=1) as database:
            claim = claimer(kind, database, shop.url, worker)
            await database.fetch("select 1")
            wire.lose_answers(b"passbell.claim_")
            lost = asyncio.create_task(asyncio.wait_for(claim(), 60))
            await wait_until_async(lambda: shop.value(held, [worker]) == 1, "the claim is entered")
            wire.cut()
            with pytest.raises(DatabaseUnavailable):
                await lost
            first = await claim()
            assert first is not None
            assert shop.value(held, [worker]) == 1
            second = await claim()
            assert second is not None
            assert second != first
            assert shop.value(held, [worker]) == 2


async def test_a_stranger_holds_the_lock_of_a_claim_whose_answer_was_lost(shop: Shop) -> None:
    """If another login holds the lock of a claim, the daemon claims under another token after some tries."""
    claims = Claims()
    with contextlib.suppress(RuntimeError), claims.next() as lost:
        raise RuntimeError
    async with Database(shop.url) as database:
        with psycopg.connect(shop.url) as stranger:
            stranger.execute("select pg_advisory_lock(uuid_hash_extended(%s, 0))", [lost.token])
            for _ in range(20):
                with contextlib.suppress(DatabaseUnavailable), claims.next() as claim:
                    await database.fetch("select passbell.enter_claim(%s)", [claim.token])
                    break
        assert claim.token != lost.token
        assert not claims.unsettled
