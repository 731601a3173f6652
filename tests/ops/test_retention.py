"""History that is pruned by age, and members who are erased."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from conftest import StartDaemon

YEAR = "2020-06-01 12:00:00+00"
LATER = "2022-06-01 12:00:00+00"


def prune(shop: Shop, limit: int = 2000) -> dict[str, int]:
    """Prune until nothing is left to do; the rows removed by table."""
    gone: dict[str, int] = {}
    while True:
        rows = shop.rows("select * from passbell.prune(%s)", [limit])
        for row in rows:
            gone[row["relation"]] = gone.get(row["relation"], 0) + row["removed"]
        if all(row["done"] for row in rows):
            return gone


def sent_to(shop: Shop, program: UUID, text: str, at: str) -> UUID:
    """A campaign sent to everybody at a moment of the past."""
    shop.clock(at)
    campaign = shop.campaign(program, text, scheduled_at=at)
    shop.send(campaign)
    shop.clock(None)
    return campaign


def ledger_size(shop: Shop, campaign: Any) -> int:
    size: int = shop.value("select count(*) from passbell.deliveries where campaign_id = %s", [campaign])
    return size


def test_old_rows_go_in_batches_and_the_newest_of_each_pass_stays(shop: Shop) -> None:
    """Of two old campaigns the earlier one's rows go; the later one's stay, because phones still show its text."""
    program = shop.program()
    shop.members(program, 25)
    first = sent_to(shop, program, "First", YEAR)
    second = sent_to(shop, program, "Second", LATER)

    assert prune(shop, limit=10)["deliveries"] == 25
    assert ledger_size(shop, first) == 0
    assert ledger_size(shop, second) == 25
    assert shop.violations() == []
    assert shop.order(first)["sent_count"] == 25
    # The same text again must differ, or no phone buzzes: the rule still knows.
    third = shop.campaign(program, "Second")
    shop.start(third)
    chunk = shop.chunk()
    assert chunk is not None
    assert all(text != "Second" for text in chunk["texts"])


def test_what_was_not_delivered_goes_whatever_came_later(shop: Shop) -> None:
    """Failed and skipped rows of old campaigns are removed, with the texts of failed rows."""
    program = shop.program()
    shop.members(program, 4)
    shop.member(program, status="UNINSTALLED")
    shop.clock(YEAR)
    campaign = shop.campaign(program, "Hello", target_query="ALL", scheduled_at=YEAR)
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, "rejected")
    shop.clock(None)
    prune(shop)
    assert ledger_size(shop, campaign) == 0
    assert shop.violations() == []


def test_nothing_recent_or_running_is_touched(shop: Shop) -> None:
    """Campaigns within the age, and old ones that are paused or being sent, keep every row."""
    program = shop.program()
    shop.members(program, 10)
    recent = shop.campaign(program, "Recent")
    shop.send(recent)
    shop.clock(YEAR)
    running = shop.campaign(program, "Old and paused", scheduled_at=YEAR)
    shop.start(running, size=5)
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk)
    shop.verb("pause", running)
    shop.clock(None)
    assert prune(shop) == {"import_rows": 0}
    assert ledger_size(shop, recent) == 10
    assert ledger_size(shop, running) == 5


def test_the_age_is_a_setting(shop: Shop) -> None:
    """NULL keeps everything for ever; less than a week is refused."""
    program = shop.program()
    shop.members(program, 3)
    first = sent_to(shop, program, "First", YEAR)
    sent_to(shop, program, "Second", LATER)
    shop.conn.execute("update passbell.settings set retention = null")
    assert not shop.value("select passbell.claim_prune()")
    prune(shop)
    assert ledger_size(shop, first) == 3
    with pytest.raises(psycopg.errors.CheckViolation):
        shop.conn.execute("update passbell.settings set retention = '1 day'")


def test_what_a_programs_own_limit_counts_stays(shop: Shop) -> None:
    """Kept for a week, but at most two messages in 90 days: the ledger of those days stays, and the limit holds."""
    program = shop.program(push_max=2, push_max_days=90)
    shop.members(program, 3)
    sent = [sent_to(shop, program, f"Text {n}", f"2026-01-{n:02} 12:00:00+00") for n in (1, 3)]
    shop.conn.execute("update passbell.settings set retention = interval '7 days'")
    shop.clock("2026-03-30 12:00:00+00")
    assert prune(shop).get("deliveries", 0) == 0
    third = shop.campaign(program, "Third")
    assert shop.send(third)["sent_count"] == 0
    assert set(shop.ledger(third).values()) == {"too_often"}
    shop.clock("2026-04-02 12:00:00+00")
    prune(shop)
    assert [ledger_size(shop, one) for one in sent] == [0, 3], "the newest of each pass stays anyway"


def test_failures_that_are_left_can_still_be_retried(shop: Shop) -> None:
    """After pruning, retry-failed of the old campaign retries the failures that are left, or finds none."""
    program = shop.program()
    shop.members(program, 3)
    first = sent_to(shop, program, "First", YEAR)
    sent_to(shop, program, "Second", LATER)
    prune(shop)
    shop.verb("retry_failed", first)
    assert shop.status(first) == "COMPLETED"
    assert shop.violations() == []


def test_the_daemon_prunes_once_a_day(shop: Shop, start_daemon: StartDaemon) -> None:
    """A daemon prunes soon after its start; a second one on the same day does not."""
    program = shop.program()
    shop.members(program, 12)
    first = sent_to(shop, program, "First", YEAR)
    sent_to(shop, program, "Second", LATER)
    daemon = start_daemon()
    wait_until(lambda: daemon.events("history_pruned"))
    assert daemon.events("history_pruned")[0]["deliveries"] == 12
    assert ledger_size(shop, first) == 0
    assert not shop.value("select passbell.claim_prune()")


def test_what_another_session_counts_meanwhile_is_pruned(shop: Shop) -> None:
    """If a result is counted while its campaign is pruned, the rows are removed the same day."""
    program = shop.program()
    shop.members(program, 12)
    first = sent_to(shop, program, "First", YEAR)
    sent_to(shop, program, "Second", LATER)
    with psycopg.connect(shop.url) as other, ThreadPoolExecutor(1) as pool:
        assert other.execute("select passbell.count_result(%s)", [first]).fetchone() == (True,)
        pruner = Shop(shop.url)
        pruned = pool.submit(prune, pruner)
        wait_until(lambda: shop.rows("select from pg_locks where locktype = 'advisory' and not granted"))
        other.commit()
        assert pruned.result(30)["deliveries"] == 12
        pruner.close()
    assert ledger_size(shop, first) == 0


def test_deleting_a_pruned_campaign_leaves_nothing(shop: Shop) -> None:
    """The tally of what was pruned goes with its campaign."""
    program = shop.program()
    shop.members(program, 3)
    first = sent_to(shop, program, "First", YEAR)
    sent_to(shop, program, "Second", LATER)
    prune(shop)
    shop.conn.execute("delete from push_campaigns where id = %s", [first])
    assert shop.value("select count(*) from passbell.pruned where campaign_id = %s", [first]) == 0


# ── push_forget ─────────────────────────────────────────────────


def everything(shop: Shop) -> str:
    tables = shop.rows(
        "select oid::regclass::text as name from pg_class"
        " where relnamespace = 'passbell'::regnamespace and relkind = 'r'"
    )
    return "".join(str(shop.rows(f"select t::text from {table['name']} t")) for table in tables)  # noqa: S608


def test_a_member_is_erased(shop: Shop) -> None:
    """Ledger, lists, failed gifts, greetings and tests forget the member; the counts of campaigns stay true."""
    program = shop.program()
    shop.members(program, 3)
    member = shop.member(program, user={"first_name": "Ada"}, external_id="ADA-1")
    shop.send(shop.campaign(program, "Hello"))
    listed = shop.campaign(program, "Listed", target_query="IDS:ADA-1,ada-1,nobody,ADA-10")
    shop.send(listed)
    test = shop.value("select push_test(%s, 'ADA-1', 'Hi Ada')", [program])
    shop.send(test)
    shop.conn.execute(
        "insert into birthday_logs (pass_id, program_id, year, points_awarded, message_sent)"
        " values (%s, %s, 2026, 5, 'Hi Ada')",
        [member, program],
    )
    waiting = shop.campaign(program, "Waits")
    shop.start(waiting)

    erased = {row["relation"]: row["erased"] for row in shop.rows("select * from push_forget(' ada-1 ')")}

    assert erased["deliveries"] == 4
    assert erased["chunks"] == 1
    assert erased["birthday_logs"] == 1
    assert str(member) not in everything(shop)
    assert not re.search(r"ada-1\b", everything(shop).lower())
    assert "Ada" not in str(shop.order(test))
    assert shop.order(listed)["target_query"] == "IDS:erased,erased,nobody,ADA-10"
    assert shop.value(
        "select message_sent is null and year = 2026 from birthday_logs where pass_id = %s", [member]
    )
    assert shop.violations() == []
    shop.send_chunks()
    assert shop.order(waiting)["sent_count"] == 3
    assert shop.order(waiting)["skipped_count"] == 1
    assert shop.status(waiting) == "COMPLETED"
    assert shop.violations() == []


def test_a_member_who_is_gone_is_erased_by_pass_id(shop: Shop) -> None:
    """push_forget takes the pass id of a pass that the platform has deleted."""
    program = shop.program()
    member = shop.member(program)
    campaign = shop.campaign(program, "Hello")
    shop.send(campaign)
    shop.conn.execute("delete from passes_master where id = %s", [member])
    shop.rows("select * from push_forget(%s)", [str(member)])
    assert str(member) not in everything(shop)
    assert shop.violations() == []


def test_forgetting_the_last_one_waiting_completes_the_campaign(shop: Shop) -> None:
    """A campaign whose only waiting pass is erased is over."""
    program = shop.program()
    shop.member(program, external_id="ONLY")
    campaign = shop.campaign(program, "Hello")
    shop.start(campaign)
    shop.rows("select * from push_forget('ONLY')")
    assert shop.status(campaign) == "COMPLETED"
    assert shop.violations() == []


def test_while_a_push_is_in_flight_it_says_so(shop: Shop) -> None:
    """If a daemon is sending to a member, the member is erased a minute later."""
    program = shop.program()
    shop.member(program, external_id="BUSY")
    campaign = shop.campaign(program, "Hello")
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    with pytest.raises(psycopg.Error, match="in flight"):
        shop.rows("select * from push_forget('BUSY')")
    shop.finish(chunk)
    shop.rows("select * from push_forget('BUSY')")


@pytest.mark.parametrize("name", ["", "   ", "nobody-there", str(uuid4())])
def test_nobody_is_nobody(shop: Shop, name: str) -> None:
    """push_forget with an empty or unknown id erases nothing and says so."""
    program = shop.program()
    shop.members(program, 2)
    shop.send(shop.campaign(program, "Hello"))
    with pytest.raises(psycopg.Error) as error:
        shop.rows("select * from push_forget(%s)", [name])
    assert error.value.sqlstate in {"PB400", "PB404"}
    assert shop.value("select count(*) from passbell.deliveries") == 2
