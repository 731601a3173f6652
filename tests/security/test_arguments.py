"""What a login passes to the functions it may call is bounded: no argument stalls other tenants or erases anything."""

# ruff: noqa: S608 - the statements are put together from this file's own words
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.tenants import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from support.shop import Shop

ODD = ("null", "-1", "0", "'NaN'", "'Infinity'", "'-Infinity'", "1e9")
WHOLE = ("null", "-1", "0", "2000000000")


@pytest.fixture
def daemon(daemon_url: tuple[Shop, str]) -> Iterator[tuple[Shop, psycopg.Connection[Any]]]:
    """A shop with a frozen campaign, and a connection as passbell_daemon."""
    shop, url = daemon_url
    program = shop.program()
    shop.members(program, 6)
    shop.start(shop.campaign(program), 1)
    with psycopg.connect(url, autocommit=True) as conn:
        yield shop, conn


def ahead(shop: Shop, what: str) -> bool:
    """Does a moment lie further ahead than an hour, or anywhere in eternity?"""
    found: bool = shop.value(
        f"select coalesce(bool_or({what} > now() + interval '62 minutes'), false) from passbell.chunks"
    )
    return found


def test_a_lease_lasts_an_hour_at_most(daemon: tuple[Shop, psycopg.Connection[Any]]) -> None:
    """A worker's lease on a chunk, list or run lasts an hour at most, whatever it asks for."""
    shop, conn = daemon
    for seconds in ODD:
        call = f"select claim_token from passbell.claim_chunk('{shop.worker}', '', {seconds}::numeric)"
        claimed = conn.execute(call).fetchone()  # type: ignore[call-overload]
        assert claimed is not None
        assert not ahead(shop, "lease_until"), seconds
        renew = f"select * from passbell.renew_leases('{shop.worker}', array[%s]::uuid[], {seconds}::numeric)"
        assert refused(conn, renew, claimed) == ""
        assert not ahead(shop, "lease_until"), seconds
        shop.conn.execute("update passbell.chunks set lease_until = null, claim_token = null, worker = null")
        conn.execute(
            "select * from passbell.claim_birthday_run(gen_random_uuid(), %s::float8)",
            [seconds.strip("'") if seconds != "null" else None],
        )


def test_a_pause_lasts_an_hour_at_most(daemon: tuple[Shop, psycopg.Connection[Any]]) -> None:
    """However long a report says that PassKit wants to be left alone."""
    shop, conn = daemon
    for seconds in ODD:
        for attempts in ("null", "-5", "2000000000"):
            chunk = shop.chunk()
            assert chunk is not None
            report = (
                f"select * from passbell.finish_chunk(%s, %s, %s, %s::uuid[], '{{retry}}', null, null, null,"
                f" {attempts}, {seconds}::numeric)"
            )
            found = refused(
                conn,
                report,
                [chunk["campaign_id"], chunk["chunk_no"], chunk["claim_token"], chunk["pass_ids"]],
            )
            assert found == ""
            assert not ahead(shop, "not_before"), seconds
            shop.conn.execute("update passbell.chunks set attempt = 0, not_before = now()")
            assert shop.violations() == []
            if not shop.rows("select from passbell.chunks"):
                return


def test_a_report_names_each_pass_once(daemon: tuple[Shop, psycopg.Connection[Any]]) -> None:
    """A report with two outcomes for one pass is refused and changes nothing."""
    shop, conn = daemon
    shop.send_chunks()
    shop.start(shop.campaign(shop.value("select id from programs"), "Once more"), 6)
    chunk = next(c for c in iter(shop.chunk, None) if len(c["pass_ids"]) == 6)
    one: UUID = chunk["pass_ids"][0]
    for outcomes in (["retry", "back"], ["sent", "back"], ["sent", "sent"]):
        found = refused(
            conn,
            "select * from passbell.finish_chunk(%s, %s, %s, %s::uuid[], %s)",
            [chunk["campaign_id"], chunk["chunk_no"], chunk["claim_token"], [one, one], outcomes],
        )
        assert found == "PB400"
    assert shop.violations() == []
    shop.finish(chunk)


@pytest.mark.parametrize("account", ["", "campaign:x"])
def test_slots_go_forward_and_not_far(daemon: tuple[Shop, psycopg.Connection[Any]], account: str) -> None:
    """No argument of take_slots moves an account's clock back, or far ahead."""
    shop, conn = daemon
    before = shop.value(
        "select coalesce(max(next_slot), now()) from passbell.rate_limits where account = %s", [account]
    )
    for n in WHOLE:
        for rate in (*ODD, "1e-9", "50"):
            for late in ("null", "-1e6", "'NaN'", "'Infinity'", "0"):
                call = f"select * from passbell.take_slots(%s, {n}, {rate}::numeric, {late}::float8)"
                assert refused(conn, call, [account]) in {"", "PB400"}, (n, rate, late)
    after = shop.value(
        "select coalesce(max(next_slot), now()) from passbell.rate_limits where account = %s", [account]
    )
    assert after >= before
    for seconds in ODD:
        assert refused(conn, f"select passbell.throttle(%s, {seconds}::numeric)", [account]) == ""
    assert shop.value(
        "select bool_and(rate_per_second between 0.0000000001 and 100000) from passbell.rate_limits"
    )
    assert shop.value(
        "select bool_and(blocked_until < now() + interval '62 minutes') from passbell.rate_limits"
    )


def test_an_account_is_a_name(daemon: tuple[Shop, psycopg.Connection[Any]]) -> None:
    """A text that is no name of an account makes no row."""
    shop, conn = daemon
    assert refused(conn, "select * from passbell.take_slots(%s, 1)", ["a" * 10_000]) == "PB400"
    assert refused(conn, "select * from passbell.take_slots(null, 1)") == "PB400"
    assert refused(conn, "select passbell.open_breaker(%s, 'outage', 'x')", ["a" * 10_000]) == "PB400"
    assert refused(conn, "select passbell.open_breaker('x', 'anything', 'x')") == "PB400"
    assert (
        shop.rows("select from passbell.rate_limits where length(account) > 200 or breaker <> 'closed'") == []
    )


def test_a_worker_is_what_the_settings_allow(daemon: tuple[Shop, psycopg.Connection[Any]]) -> None:
    """A worker cannot register a rate or cap that the settings refuse; its texts are cut."""
    shop, conn = daemon
    register = "select passbell.register_worker(gen_random_uuid(), %s, 1, %s, %s, 'x', {}::numeric, {})"
    settings = shop.row("select * from passbell.settings")
    for rate, cap in (
        ("'NaN'", "3"),
        ("0", "3"),
        ("-1", "3"),
        ("1e9", "3"),
        ("null", "3"),
        ("50", "-1"),
        ("50", "null"),
        ("50", "1001"),
    ):
        assert refused(conn, register.format(rate, cap), ["h", "p", "v"]) == "PB400", (rate, cap)
    assert shop.row("select * from passbell.settings") == settings
    long = "x" * 1_000_000
    assert refused(conn, register.format("50", "3"), [long, long, long]) == ""
    worker = shop.value("select id from passbell.workers")
    assert refused(conn, "select passbell.heartbeat(%s, %s)", [worker, long]) == ""
    assert shop.value("select length(w::text) < 1500 from passbell.workers w")


def test_retention_takes_nothing_early(daemon: tuple[Shop, psycopg.Connection[Any]]) -> None:
    """No argument of prune or claim_prune removes rows younger than the owner's retention."""
    shop, conn = daemon
    shop.send_chunks()
    shop.conn.execute("update passbell.settings set retention = interval '30 days'")
    for limit in WHOLE:
        conn.execute("select passbell.claim_prune()")
        assert refused(conn, f"select * from passbell.prune({limit})") == ""
    assert shop.value("select count(*) from passbell.deliveries") == 6


def test_a_worker_without_an_id_or_with_a_policy_that_is_none(
    daemon: tuple[Shop, psycopg.Connection[Any]],
) -> None:
    """No worker could renew or report such a claim: refused."""
    _, conn = daemon
    assert refused(conn, "select * from passbell.claim_chunk(null)") == "PB400"
    for policy in ("'anything'", "null"):
        assert (
            refused(conn, f"select * from passbell.claim_chunk(gen_random_uuid(), '', 60, 3, {policy})")
            == "PB400"
        )
    for size in WHOLE:
        assert (
            refused(conn, f"select * from passbell.claim_campaign(gen_random_uuid(), {size}, {size})") == ""
        )
