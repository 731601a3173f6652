"""The functions that people call: preview, send, test, pause, resume, cancel, retry, progress."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from support.shop import utc

if TYPE_CHECKING:
    from support.shop import MakeShop, Shop


def refused(shop: Shop, sqlstate: str, words: str, query: str, *parameters: Any) -> None:
    """The call raises this SQLSTATE with these words in its sentence."""
    with pytest.raises(psycopg.Error, match=words) as error:
        shop.rows(query, parameters)
    assert error.value.sqlstate == sqlstate


def counts(order: dict[str, Any]) -> tuple[int, int, int, int]:
    """recipient, sent, failed, skipped."""
    return (order["recipient_count"], order["sent_count"], order["failed_count"], order["skipped_count"])


# ── preview ─────────────────────────────────────────────────────


def test_a_preview_counts_honestly(make_shop: MakeShop, generation: Any) -> None:
    """Matched, in a wallet, opted out, capped, reachable: and the campaign then reaches exactly the last."""
    shop = make_shop(generation)
    program = shop.program()
    shop.members(program, 5)
    capped = shop.member(program)
    shop.member(program, user={"marketing_opt_in": False})
    shop.member(program, status="UNINSTALLED")
    shop.member(program, is_active=False)
    shop.conn.execute("update passbell.settings set daily_cap = 1, rate_per_second = 10")
    assert shop.send(shop.campaign(program, target_query=f"IDS:{capped}"))["sent_count"] == 1

    seen = shop.row("select * from push_preview(%s)", [program])
    assert [seen[name] for name in ("matched", "in_wallet", "opted_out", "capped", "reachable")] == [
        9,
        7,
        1,
        1,
        5,
    ]
    assert seen["seconds_at_rate"] == pytest.approx(0.5)
    assert shop.value("select %s between now() and now() + interval '5 seconds'", [seen["finishes_at"]])

    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.send_chunks(cap=1)
    assert counts(shop.order(campaign)) == (6, 5, 0, 1)
    assert shop.ledger(campaign)[capped] == "capped"


@pytest.mark.parametrize("cap", [0, 1, 2, 3, 4])
def test_limits_are_counted_alike_whether_or_not_the_ledger_is_read(shop: Shop, cap: int) -> None:
    """As many messages as a limit allows reach it, one fewer do not; a preview of named members is the judge.

    Where too few campaigns sent since the limit began, the count of everybody leaves the ledger unread.
    """
    program = shop.program()
    members = shop.members(program, 4)
    base = utc("2026-09-07T15:00:00")
    for hours, reached in ((200, 4), (30, 3), (23.5, 3), (5, 2), (1, 1)):
        shop.clock(base - timedelta(hours=hours))
        target = "IDS:" + ",".join(map(str, members[:reached]))
        campaign = shop.campaign(program, f"Before {hours}", target_query=target)
        assert shop.send(campaign, cap=0)["sent_count"] == reached
    shop.clock(base)
    shop.conn.execute("update passbell.settings set daily_cap = %s", [cap])
    everybody = "IDS:" + ",".join(map(str, members))
    bites = set()
    for most, days, pause in (
        (None, None, None),
        (3, 2, None),
        (4, 2, None),
        (5, 9, None),
        (6, 9, None),
        (0, 7, None),
        (None, None, 3),
        (None, None, 250),
    ):
        shop.conn.execute(
            "update programs set push_max = %s, push_max_days = %s, push_min_hours = %s where id = %s",
            [most, days, pause, program],
        )
        of_all = shop.row("select * from push_preview(%s)", [program])
        named = shop.row("select * from push_preview(%s, %s)", [program, everybody])
        for name in ("matched", "capped", "too_often", "reachable"):
            assert of_all[name] == named[name], (most, days, pause, name)
        bites.add(of_all["capped"] + of_all["too_often"] > 0)
        if most is None and pause is None:
            assert of_all["capped"] == {0: 0, 1: 3, 2: 2, 3: 1, 4: 0}[cap]
    assert bites == {True, False} or cap in {1, 2, 3}


def test_a_preview_below_every_limit_reads_no_ledger(shop: Shop) -> None:
    """A day in which everybody had two messages, and three are allowed: no row of the ledger is looked at."""
    program = shop.program()
    members = shop.members(program, 50)
    for text in ("One", "Two"):
        assert shop.send(shop.campaign(program, text))["sent_count"] == len(members)
    shop.conn.execute("alter table passbell.deliveries rename to hidden")
    assert shop.value("select reachable from push_preview(%s, 'SLUMBER')", [program]) == 0
    assert shop.value("select reachable from push_preview(%s)", [program]) == len(members)
    shop.campaign(program, "Three")
    with pytest.raises(psycopg.Error, match="does not exist"):
        shop.value("select reachable from push_preview(%s)", [program])
    shop.conn.execute("alter table passbell.hidden rename to deliveries")


def test_a_preview_expects_to_wait_behind_what_is_running(shop: Shop) -> None:
    """The finish time counts the pushes that stand in line before."""
    program = shop.program()
    shop.members(program, 100)
    shop.conn.execute("update passbell.settings set rate_per_second = 10")
    shop.start(shop.campaign(program))
    wait = shop.value(
        "select extract(epoch from finishes_at - now()) from push_preview(%s, 'VIP:0')", [program]
    )
    assert wait == pytest.approx(10, abs=1)


def test_a_preview_refuses_what_a_campaign_would(shop: Shop) -> None:
    """An unknown audience or program is told in a sentence."""
    program = shop.program()
    preview = "select * from push_preview(%s, %s)"
    refused(shop, "PB400", "Unknown audience", preview, program, "NOBODY")
    refused(shop, "PB400", "needs a number", preview, program, "VIP:x")
    refused(shop, "PB400", "CSV", preview, program, "CSV")
    refused(shop, "PB404", "There is no program", preview, uuid4(), "ALL")
    refused(shop, "PB404", "There is no program", preview, None, "ALL")


# ── send ────────────────────────────────────────────────────────


def test_sending_is_one_call(shop: Shop) -> None:
    """push_send answers with the campaign; the daemon does the rest."""
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.value("select push_send(%s, 'Hello')", [program])
    order = shop.send(campaign)
    assert (order["status"], counts(order)) == ("COMPLETED", (2, 2, 0, 0))
    assert order["name"]
    later = shop.value(
        "select push_send(program_id => %s, message => 'Later', target => 'VIP', name => 'L',"
        " scheduled_at => now() + interval '1 day')",
        [program],
    )
    assert (shop.status(later), shop.claim()) == ("PENDING", None)


def test_a_send_with_the_number_one_saw_holds_to_it(shop: Shop) -> None:
    """If the audience has moved since the preview, nothing is sent and the new number is told."""
    program = shop.program()
    shop.members(program, 3)
    send = "select push_send(%s, 'Hello', 'ALL', null, null, %s)"
    assert shop.value(send, [program, 3])
    shop.member(program)
    refused(shop, "PB409", "4 phones now, 3 when you looked", send, program, 3)
    assert shop.value("select count(*) from push_campaigns") == 1


def test_a_send_that_cannot_work_is_refused_at_once(shop: Shop) -> None:
    """If push_send refuses an order, no campaign is left behind."""
    program = shop.program()
    send = "select push_send(%s, %s, %s)"
    refused(shop, "PB400", "Unknown placeholder", send, program, "{name}", "ALL")
    refused(shop, "PB400", "message is empty", send, program, " ", "ALL")
    refused(shop, "PB400", "Unknown audience", send, program, "Hello", "NOBODY")
    refused(shop, "PB404", "There is no program", send, uuid4(), "Hello", "ALL")
    assert shop.value("select count(*) from push_campaigns") == 0


def test_a_test_push_goes_to_one_pass_ahead_of_everything(shop: Shop) -> None:
    """push_test reaches one member first, in quiet hours and beside a big campaign; twice in a row as well."""
    shop.clock("2026-07-01 04:00+00")
    program = shop.program(timezone="UTC", push_window_start="09:00", push_window_end="20:00")
    shop.members(program, 20)
    me = shop.member(program, external_id="Me")
    shop.clock("2026-07-01 12:00+00")
    shop.start(shop.campaign(program, "Big"))
    shop.clock("2026-07-01 23:00+00")
    assert shop.chunk() is None
    for _ in range(2):
        test = shop.value("select push_test(%s, ' me ', 'Hello {first_name|you}')", [program])
        assert shop.start(test)["action"] == "expanded"
        chunk = shop.chunk()
        assert chunk is not None
        assert (chunk["kind"], chunk["pass_ids"]) == ("TEST", [me])
        shop.finish(chunk)
        assert shop.status(test) == "COMPLETED"
    refused(shop, "PB404", "There is no pass", "select push_test(%s, 'nobody', 'x')", program)


# ── pause, resume, cancel, retry ────────────────────────────────


def test_resume_goes_on_with_exactly_those_not_reached(shop: Shop) -> None:
    """A paused campaign hands out nothing, counts late reports, and after resume sends the rest."""
    program = shop.program()
    everybody = set(shop.members(program, 10))
    campaign = shop.campaign(program)
    shop.start(campaign, size=4)
    held = shop.chunk()
    assert held is not None
    assert shop.verb("pause", campaign)["status"] == "PAUSED"
    assert shop.verb("pause", campaign)["status"] == "PAUSED"
    assert shop.chunk() is None
    assert (
        shop.value(
            "select go_on from passbell.renew_leases(%s, array[%s]::uuid[], 60)",
            [shop.worker, held["claim_token"]],
        )
        is False
    )
    shop.finish(held, ["sent", "sent", "back", "back"])
    assert not shop.violations()
    reached = set(held["pass_ids"][:2])
    assert shop.waiting(campaign) == everybody - reached

    assert shop.verb("resume", campaign)["status"] == "PROCESSING"
    assert shop.verb("resume", campaign)["status"] == "PROCESSING"
    sent = [one for chunk in shop.send_chunks() for one in chunk["pass_ids"]]
    assert sorted(sent) == sorted(everybody - reached)
    assert counts(shop.order(campaign)) == (10, 10, 0, 0)
    assert len(shop.logs(campaign)) == 1


def test_a_pause_before_the_start_holds_the_order(shop: Shop) -> None:
    """A pending campaign can wait, too, and goes back to pending."""
    program = shop.program()
    shop.member(program)
    campaign = shop.campaign(program)
    shop.verb("pause", campaign)
    assert shop.claim() is None
    assert shop.verb("resume", campaign)["status"] == "PENDING"
    assert shop.send(campaign)["status"] == "COMPLETED"


def test_a_pause_after_the_last_push_completes_on_resume(shop: Shop) -> None:
    """When everything was sent before the pause took hold, resuming only closes the campaign."""
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    shop.start(campaign)
    held = shop.chunk()
    assert held is not None
    shop.verb("pause", campaign)
    shop.finish(held)
    assert shop.status(campaign) == "PAUSED"
    assert shop.verb("resume", campaign)["status"] == "COMPLETED"
    assert len(shop.logs(campaign)) == 1


def test_cancel_closes_what_is_left_and_the_counts_add_up(shop: Shop) -> None:
    """Free passes are skipped at once; those in a worker's hands when it reports."""
    program = shop.program()
    shop.members(program, 12)
    campaign = shop.campaign(program)
    shop.start(campaign, size=4)
    first, held = shop.chunk(), shop.chunk()
    assert first is not None
    assert held is not None
    shop.finish(first, ["sent", "sent", "rejected", "retry"])
    assert shop.verb("cancel", campaign)["status"] == "CANCELLED"
    assert counts(shop.order(campaign)) == (12, 2, 1, 5)
    assert not shop.logs(campaign)
    shop.finish(held, ["sent", "retry", "back", "not_found"])
    order = shop.order(campaign)
    assert counts(order) == (12, 3, 2, 7)
    assert (shop.waiting(campaign), len(shop.logs(campaign))) == (set(), 1)
    assert list(shop.ledger(campaign).values()).count("cancelled") == 7
    refused(shop, "PB422", "is CANCELLED", "select push_resume(%s)", campaign)
    refused(shop, "PB422", "is CANCELLED", "select push_pause(%s)", campaign)
    assert shop.verb("cancel", campaign)["status"] == "CANCELLED"


def test_a_cancelled_campaign_whose_worker_died_is_closed_when_the_lease_ends(shop: Shop) -> None:
    """No member is missed between a cancel and a crash."""
    program = shop.program()
    shop.members(program, 3)
    shop.clock("2026-07-01 12:00+00")
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.chunk(lease=60)
    shop.verb("cancel", campaign)
    assert counts(shop.order(campaign)) == (3, 0, 0, 0)
    shop.clock("2026-07-01 12:00:59+00")
    assert shop.value("select passbell.drain_cancelled()") == 0
    shop.clock("2026-07-01 12:01:01+00")
    assert shop.value("select passbell.drain_cancelled()") == 3
    assert counts(shop.order(campaign)) == (3, 0, 0, 3)
    assert len(shop.logs(campaign)) == 1


def test_cancel_before_the_start_sends_and_logs_nothing(shop: Shop) -> None:
    """An order that was taken back in time is no event of the audit table."""
    for status in ("DRAFT", "PENDING"):
        program = shop.program()
        shop.member(program)
        campaign = shop.campaign(program, status=status)
        shop.verb("cancel", campaign)
        assert shop.claim() is None
        assert (shop.status(campaign), shop.logs(campaign)) == ("CANCELLED", [])


def test_retry_failed_sends_again_to_those_who_failed_only(shop: Shop) -> None:
    """retry-failed sends the same text again to those who failed, and updates the one audit row."""
    program = shop.program()
    everybody = shop.members(program, 6)
    campaign = shop.campaign(program, "Hello {first_name|you}")
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, ["sent", "sent", "rejected", "rejected", "sent", "rejected"])
    assert counts(shop.order(campaign)) == (6, 3, 3, 0)
    assert shop.verb("retry_failed", campaign)["status"] == "PROCESSING"
    assert counts(shop.order(campaign)) == (6, 3, 0, 0)
    assert not shop.violations()
    again = shop.chunk()
    assert again is not None
    failed = {chunk["pass_ids"][i] for i in (2, 3, 5)}
    assert set(again["pass_ids"]) == failed
    assert set(again["texts"]) == {"Hello you"}
    shop.finish(again)
    order = shop.order(campaign)
    assert (order["status"], counts(order)) == ("COMPLETED", (6, 6, 0, 0))
    (log,) = shop.logs(campaign)
    assert (log["recipient_count"], log["success_count"], log["failed_count"]) == (6, 6, 0)
    assert set(shop.ledger(campaign)) == set(everybody)
    refused(
        shop,
        "PB422",
        "Only a completed",
        "select push_retry_failed(%s)",
        shop.campaign(program, status="DRAFT"),
    )


def test_retry_of_a_campaign_without_failures_changes_nothing(shop: Shop) -> None:
    """There is nothing to retry, and that is fine."""
    program = shop.program()
    shop.member(program)
    campaign = shop.campaign(program)
    shop.send(campaign)
    assert shop.verb("retry_failed", campaign)["status"] == "COMPLETED"


def test_the_verbs_know_an_unknown_campaign(shop: Shop) -> None:
    """Pause, resume, cancel and retry of an unknown id are refused with a sentence."""
    for verb in ("pause", "resume", "cancel", "retry_failed", "progress"):
        for nobody in (uuid4(), None):
            refused(shop, "PB404", "There is no campaign", f"select push_{verb}(%s)", nobody)


def test_progress_tells_how_far_it_is(shop: Shop) -> None:
    """Counts and percent at each step."""
    program = shop.program()
    shop.members(program, 8)
    campaign = shop.campaign(program)
    progress = "select * from push_progress(%s)"
    assert shop.row(progress, [campaign])["percent"] == 0
    shop.start(campaign, size=4)
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, ["sent", "sent", "rejected", "back"])
    seen = shop.row(progress, [campaign])
    assert [
        seen[name] for name in ("status", "recipient_count", "sent", "failed", "skipped", "remaining")
    ] == [
        "PROCESSING",
        8,
        2,
        1,
        0,
        5,
    ]
    assert seen["percent"] == pytest.approx(37.5)
    assert seen["finishes_at"] is not None
    shop.send_chunks()
    seen = shop.row(progress, [campaign])
    assert (seen["status"], seen["percent"], seen["remaining"]) == ("COMPLETED", 100, 0)
