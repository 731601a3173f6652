"""Slots of an account's rate: even, never caught up, never before PassKit allows it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from support.shop import Shop

if TYPE_CHECKING:
    from support.shop import Row


def slots(shop: Shop, count: int, rate: float | None = 50, account: str = "acme") -> Row:
    """A block of slots: start and clock in unix seconds, and the width of one."""
    return shop.row(
        "select extract(epoch from starts_at)::float8 as start, extract(epoch from clock)::float8 as clock, spacing"
        " from passbell.take_slots(%s, %s, %s::numeric)",
        [account, count, rate],
    )


def breaker(shop: Shop, call: str, *parameters: Any) -> Any:
    """One of the account's functions."""
    marks = ", ".join(["%s"] * (1 + len(parameters)))
    return shop.value(f"select passbell.{call}({marks})", ["acme", *parameters])


def test_blocks_follow_each_other_without_a_gap_or_an_overlap(shop: Shop) -> None:
    """While work waits, the next block starts where the last one ends; just under the rate."""
    blocks = [slots(shop, 5) for _ in range(20)]
    for before, after in itertools.pairwise(blocks):
        assert after["start"] == pytest.approx(before["start"] + 5 * before["spacing"], abs=1e-3)
    assert 1 / 50 < blocks[0]["spacing"] <= 1 / 50 / 0.99, "99 % of the rate can be used"


def test_a_late_call_leaves_a_gap_for_everybody(shop: Shop) -> None:
    """A late call is reported; the next block, of any daemon, begins later by as much."""
    before = slots(shop, 5)
    shop.row("select * from passbell.take_slots('acme', 0, 50, 0.03)")
    after = slots(shop, 5)
    assert after["start"] == pytest.approx(before["start"] + 5 * before["spacing"] + 0.03, abs=1e-3)


def test_one_gap_serves_the_late_calls_of_all_daemons(shop: Shop) -> None:
    """A call that was late before the gap began adds only what the gap is too narrow."""
    before = slots(shop, 5)
    end = before["start"] + 5 * before["spacing"]

    def pay(late: float, late_at: float) -> float:
        row = shop.row(
            "select extract(epoch from starts_at)::float8 as start"
            " from passbell.take_slots('acme', 0, 50, %s::float8, %s::float8)",
            [late, late_at],
        )
        return float(row["start"])

    assert pay(0.004, before["clock"]) == pytest.approx(end + 0.004, abs=1e-4)
    assert pay(0.003, before["clock"]) == pytest.approx(end + 0.004, abs=1e-4), "it is there already"
    assert pay(0.006, before["clock"]) == pytest.approx(end + 0.006, abs=1e-4), "only what is missing"
    assert pay(0.003, end + 0.1) == pytest.approx(end + 0.009, abs=1e-4), "those lie before its late call"


def test_a_lower_rate_never_begins_before_its_time(shop: Shop) -> None:
    """After the rate is lowered, the next block begins where the earlier ones end."""
    fast = slots(shop, 5, 50)
    slow = slots(shop, 5, 5)
    assert slow["start"] >= fast["start"] + 5 * fast["spacing"] - 1e-3


def test_time_that_nobody_used_is_gone(shop: Shop) -> None:
    """After an idle minute the next slot is now, and no burst follows."""
    slots(shop, 1)
    shop.conn.execute("update passbell.rate_limits set next_slot = next_slot - interval '1 minute'")
    first, second = slots(shop, 10), slots(shop, 1)
    assert first["start"] == pytest.approx(first["clock"], abs=0.1)
    assert second["start"] == pytest.approx(first["start"] + 10 * first["spacing"], abs=1e-3)


def test_many_sessions_share_one_clock(shop: Shop) -> None:
    """Blocks taken at the same moment by many daemons never overlap."""
    daemons = [Shop(shop.url) for _ in range(6)]

    def take(daemon: Shop) -> list[float]:
        return [slots(daemon, 3, 300)["start"] for _ in range(25)]

    with ThreadPoolExecutor(len(daemons)) as pool:
        starts = sorted(start for each in pool.map(take, daemons) for start in each)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert min(gaps) >= 3 / 300 * 0.999
    for daemon in daemons:
        daemon.close()


def test_accounts_do_not_share(shop: Shop) -> None:
    """Another account, or a campaign's own rate, has a clock of its own."""
    slots(shop, 500)
    other = slots(shop, 1, 10, "campaign:x")
    assert other["start"] == pytest.approx(other["clock"], abs=0.1)
    assert other["spacing"] == pytest.approx(0.1, rel=0.02)


def test_a_changed_rate_holds_from_the_next_block_on(shop: Shop) -> None:
    """After the rate is changed, the next block has its width."""
    assert slots(shop, 1, 50)["spacing"] == pytest.approx(0.02, rel=0.02)
    assert slots(shop, 1, 500)["spacing"] == pytest.approx(0.002, rel=0.02)
    assert slots(shop, 1, None)["spacing"] == pytest.approx(0.002, rel=0.02)


def test_after_429_nobody_starts_before_retry_after_and_then_more_slowly(shop: Shop) -> None:
    """Retry-After moves the clock for everybody; the rate is cut once however many daemons report it."""
    full = slots(shop, 1)
    for _ in range(5):
        shop.rows("select passbell.throttle('acme', 3)")
    slow = slots(shop, 1)
    assert slow["start"] >= slow["clock"] + 2.9
    assert full["spacing"] < slow["spacing"] < full["spacing"] * 1.4
    shop.conn.execute(
        "update passbell.rate_limits set cut_at = cut_at - interval '1 minute', blocked_until = '-infinity'"
    )
    assert slots(shop, 1)["spacing"] == pytest.approx(full["spacing"])


def test_being_throttled_again_and_again_never_stops_the_sending(shop: Shop) -> None:
    """However many 429s come, the rate falls to a fifth of the configured one and not lower."""
    slots(shop, 1)
    for _ in range(30):
        shop.rows("select passbell.throttle('acme', 0)")
        shop.conn.execute("update passbell.rate_limits set cut_at = cut_at - interval '1.01 seconds'")
    assert slots(shop, 1)["spacing"] <= 1 / 50 * 5 * 1.02


def test_an_open_breaker_hands_out_nothing_and_says_why(shop: Shop) -> None:
    """One daemon probes at a time; the breaker closes by itself, and no pass was failed."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.row("select * from passbell.take_slots('test', 1, 50)")
    assert shop.value("select passbell.open_breaker('test', 'credentials', 'PassKit answered 401')") is True
    assert shop.value("select passbell.open_breaker('test', 'credentials', 'again')") is False
    assert shop.chunk() is None
    assert "PassKit answered 401" in shop.order(campaign)["status_detail"]
    assert shop.value("select passbell.claim_probe('test')") is False
    shop.conn.execute("update passbell.rate_limits set probe_at = now()")
    assert shop.value("select passbell.claim_probe('test')") is True
    assert shop.value("select passbell.claim_probe('test')") is False
    assert shop.value("select passbell.close_breaker('test')") is True
    assert shop.value("select passbell.close_breaker('test')") is False
    assert shop.order(campaign)["status_detail"] is None
    shop.send_chunks()
    order = shop.order(campaign)
    assert (order["status"], order["sent_count"], order["failed_count"]) == ("COMPLETED", 3, 0)


def test_a11_a_clock_that_was_set_back_delays_by_seconds(shop: Shop) -> None:
    """An hour back: slots, a 429, leases, backoff and turns are as far ahead as before, once; then time goes on."""
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    shop.start(campaign, size=1)
    assert shop.chunk(lease=60) is not None
    shop.conn.execute("select passbell.register_worker(%s, 'h', 1, 'p', 'v', 'test', 50, 3)", [shop.worker])
    slots(shop, 25, account="test")
    slots(shop, 1, account="other")
    shop.conn.execute("select passbell.throttle('other', 30), passbell.heartbeat(%s, '')", [shop.worker])
    for statement in (
        "update passbell.settings set clock_seen_at = clock_seen_at + %(hour)s",
        "update passbell.rate_limits set next_slot = next_slot + %(hour)s, blocked_until = blocked_until + %(hour)s",
        "update passbell.chunks set not_before = not_before + %(hour)s, lease_until = lease_until + %(hour)s",
        "update passbell.turns set last_turn = last_turn + %(hour)s",
    ):
        shop.conn.execute(statement, {"hour": timedelta(hours=1)})
    assert shop.chunk() is None
    row = slots(shop, 1, account="test")
    assert 0 <= row["start"] - row["clock"] < 2
    other = slots(shop, 1, account="other")
    assert 25 < other["start"] - other["clock"] < 31
    assert shop.value(
        "select max(lease_until) between now() + '50 s' and now() + '61 s' from passbell.chunks"
    )
    assert shop.value("select bool_and(last_turn <= clock_timestamp()) from passbell.turns")
    assert shop.chunk() is not None
    before = shop.row("select * from passbell.settings")
    assert before["clock_set_back_seconds"] == pytest.approx(3600, abs=5)
    shop.conn.execute("select passbell.heartbeat(%s, '')", [shop.worker])
    assert shop.row("select * from passbell.settings")["clock_set_back_at"] == before["clock_set_back_at"]


def test_slots_that_lie_beyond_all_that_was_given_out_are_not_waited_for(shop: Shop) -> None:
    """After a restore or a jump of the clock, sending goes on after a second, not after the jump."""
    slots(shop, 5)
    shop.conn.execute("update passbell.rate_limits set next_slot = now() + interval '1 hour'")
    first, second = slots(shop, 5), slots(shop, 5)
    assert 0.9 < first["start"] - first["clock"] < 1.1
    assert second["start"] == pytest.approx(first["start"] + 5 * first["spacing"], abs=1e-3)
