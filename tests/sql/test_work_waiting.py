"""The one question of an idle daemon: whatever a loop could claim, it says so; nothing to do is nothing to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.shop import Shop

NOTHING = {"campaigns": False, "chunks": False, "imports": False, "breaker": False}


def waiting(shop: Shop, account: str = "test") -> dict[str, bool]:
    """What the poll is told."""
    return shop.row("select * from passbell.work_waiting(%s)", [account])


def test_an_empty_queue_wakes_nobody(shop: Shop) -> None:
    """Without orders no loop is woken; drafts and members are not work."""
    program = shop.program()
    shop.members(program, 3)
    shop.campaign(program, status="DRAFT")
    assert waiting(shop) == NOTHING


def test_a_campaign_is_seen_from_its_order_to_its_end(shop: Shop) -> None:
    """Also while all of its chunks are another worker's: that one may die."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    assert waiting(shop) == {**NOTHING, "campaigns": True}
    shop.start(campaign)
    assert waiting(shop) == {**NOTHING, "campaigns": True, "chunks": True}
    chunk = shop.chunk()
    assert chunk is not None
    assert waiting(shop) == {**NOTHING, "campaigns": True, "chunks": True}
    shop.finish(chunk)
    assert shop.status(campaign) == "COMPLETED"
    assert waiting(shop) == NOTHING


def test_a_scheduled_campaign_is_looked_at(shop: Shop) -> None:
    """A scheduled campaign counts as work when its time comes, although no row was written."""
    program = shop.program()
    shop.members(program, 1)
    shop.clock("2026-07-01 12:00+00")
    shop.campaign(program, scheduled_at="2026-07-01 15:00+00")
    assert waiting(shop)["campaigns"]


def test_a_paused_campaign_that_is_cancelled_while_a_worker_holds_a_chunk_is_closed(shop: Shop) -> None:
    """What the worker leaves behind must be drained by the campaign loop."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    shop.start(campaign)
    assert shop.chunk() is not None
    shop.conn.execute("select push_cancel(%s)", [campaign])
    assert waiting(shop)["campaigns"]


def test_an_import_is_seen(shop: Shop) -> None:
    """An import counts as work until it has ended."""
    program = shop.program()
    shop.conn.execute(
        "insert into member_imports (program_id, csv_upload_url) values (%s, 'https://example.com/m.csv')",
        [program],
    )
    assert waiting(shop) == {**NOTHING, "imports": True}
    shop.rows("select * from passbell.claim_import(%s)", [shop.worker])
    assert waiting(shop) == {**NOTHING, "imports": True}


def test_an_open_breaker_wakes_only_its_own_account(shop: Shop) -> None:
    """While the breaker is open, one daemon has to probe."""
    shop.conn.execute("select passbell.open_breaker('test', 'outage', 'PassKit answered 503')")
    assert waiting(shop) == {**NOTHING, "breaker": True}
    assert waiting(shop, "other") == NOTHING
    shop.conn.execute("select passbell.close_breaker('test')")
    assert waiting(shop) == NOTHING
