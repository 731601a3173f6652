"""What the hot path reads, counted in rows: never a table or an index from one end to the other."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases
    from support.shop import Chunk

SIZE = 100
MEMBERS = 3_000
READ = """
    select c.relname, pg_stat_get_xact_tuples_returned(c.oid) as rows
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('public', 'passbell') and c.relkind in ('r', 'i')
"""
HISTORY = """
    insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome)
    select md5('c' || c)::uuid, p.id, now() - make_interval(days => 2 + c), c, 1, 'sent'
      from passes_master p cross join generate_series(1, 10) c
"""


def claimed(shop: Shop, **options: Any) -> Chunk:
    """A chunk; there must be one."""
    chunk = shop.chunk(**options)
    assert chunk is not None
    return chunk


class Reads:
    """What a block of calls on the shop's connection reads: entries of indexes, rows of tables that are scanned."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.rows: Counter[str] = Counter()

    def __enter__(self) -> Counter[str]:
        self._transaction = self._shop.conn.transaction()
        self._transaction.__enter__()
        self._before = self._now()
        return self.rows

    def __exit__(self, *exception: object) -> None:
        self.rows.update(self._now())
        self.rows.subtract(self._before)
        self._transaction.__exit__(*exception)

    def _now(self) -> dict[str, int]:
        return {row["relname"]: row["rows"] for row in self._shop.rows(READ)}


def grown(shop: Shop) -> None:
    """A daemon's session whose plans are from the day of the installation, and then a shop with a history."""
    program = shop.program()
    shop.members(program, 2)
    shop.conn.execute("vacuum analyze")
    for number in range(8):
        shop.send(shop.campaign(program, f"Early {number}"), cap=0)
    other = shop.program("Other")
    shop.members(program, MEMBERS)
    shop.members(other, MEMBERS)
    shop.conn.execute(HISTORY)
    for number in range(20):
        shop.start(shop.campaign(other, f"Waiting {number}"), SIZE)
    shop.start(shop.campaign(program, "Now"), SIZE)


def test_a_claim_reads_its_own_passes_and_no_more(shop: Shop) -> None:
    """A claim reads the rows of its own passes only, also with plans made on empty tables."""
    grown(shop)
    with Reads(shop) as read:
        chunk = shop.chunk()
    assert chunk is not None
    assert len(chunk["pass_ids"]) == SIZE
    assert 0 < read["passes_master_pkey"] <= SIZE
    assert 0 < read["deliveries_pass"] <= SIZE
    assert 0 < read["chunks_ready"] <= 5
    assert read["push_campaigns_in_turn"] <= 60
    assert read["programs_pkey"] <= 5
    assert not whole(read)


def test_finishing_reads_the_chunk_and_no_more(shop: Shop) -> None:
    """The ledger is appended to, not read; of the queue, the chunk and the campaign's last one."""
    grown(shop)
    chunk = shop.chunk()
    assert chunk is not None
    with Reads(shop) as read:
        shop.finish(chunk)
    assert read["deliveries_pass"] == 0
    assert 0 < read["chunks_pkey"] <= 5
    assert 0 < read["push_campaigns_pkey"] <= 10
    assert not whole(read)


def test_a_repeat_looks_only_at_what_came_after_it(shop: Shop) -> None:
    """A chunk whose worker died asks the ledger what its passes got since, not for everybody's history."""
    grown(shop)
    later = shop.value("select now() + interval '1 day'")
    shop.clock(later)
    while (chunk := shop.chunk(lease=1)) is not None:
        pass
    shop.clock(later + timedelta(minutes=1))
    with Reads(shop) as read:
        chunk = shop.chunk()
    assert chunk is not None
    assert read["deliveries_pass"] <= SIZE
    assert not whole(read)


def whole(read: Counter[str]) -> dict[str, int]:
    """Tables scanned, and indexes of large tables that were read but for a few."""
    large = (
        "passes_master",
        "users",
        "protocol_membership",
        "deliveries",
        "deliveries_pkey",
        "chunks",
        "push_campaigns",
    )
    return {name: read[name] for name in large if read[name]}


BIG = "select id from programs where name = 'Big'"


@pytest.fixture(scope="module")
def crowd(databases: Databases) -> Iterator[Shop]:
    """Two programs with so many members that looking through them would show; each test has campaigns of its own."""
    url = databases.create("2")
    shop = Shop(url, "2")
    for name in ("Big", "Other"):
        shop.members(shop.program(name), 10 * MEMBERS)
    shop.conn.execute("vacuum analyze passes_master")
    yield shop
    assert not shop.violations()
    shop.close()
    databases.drop(urlsplit(url).path.removeprefix("/"))


def test_a_test_send_looks_up_its_pass_and_no_other(crowd: Shop) -> None:
    """However many members the program has: when it is ordered, and when its audience is frozen."""
    program = crowd.value(BIG)
    name = crowd.value("select external_id from passes_master where program_id = %s limit 1", [program])
    with Reads(crowd) as read:
        crowd.value("select push_test(%s, %s, 'Try')", [program, f" {name.lower()} "])
        claim = crowd.claim()
    assert claim is not None
    assert (claim["action"], claim["recipients"]) == ("expanded", 1)
    assert 0 < read["passes_master_external_id_folded"] <= 5
    assert not looked_through(read)


def looked_through(read: Counter[str]) -> dict[str, int]:
    """Tables and indexes of members and of what they got, as far as more was read than a few hundred ids explain."""
    large = ("passes_master", "passes_master_program", "deliveries", "deliveries_pkey", "deliveries_pass")
    return {name: read[name] for name in large if read[name] > MEMBERS / 10}


def test_named_members_are_looked_up_one_by_one(crowd: Shop) -> None:
    """An IDS: audience, counted, shown and frozen; by external id, by pass id, and one that no member has."""
    program = crowd.value(BIG)
    rows = crowd.rows("select id, external_id from passes_master where program_id = %s limit 4", [program])
    target = "IDS:" + ",".join(
        [*(row["external_id"].lower() for row in rows[1:]), str(rows[0]["id"]), "nobody"]
    )
    crowd.conn.execute(
        "insert into passbell.deliveries (campaign_id, pass_id, attempts, outcome)"
        " select md5('c')::uuid, id, 1, 'sent' from passes_master"
    )
    with Reads(crowd) as read:
        preview = crowd.row("select * from push_preview(%s, %s)", [program, target])
        samples = crowd.rows("select * from passbell.sample_messages(%s, 'Hi', %s)", [program, target])
        claim = crowd.start(crowd.campaign(program, "Hi", target_query=target))
    assert (preview["matched"], len(samples), claim["recipients"]) == (4, 4, 4)
    assert 0 < read["passes_master_external_id_folded"] <= 40
    assert not looked_through(read)


def test_a_short_list_is_looked_up_id_by_id(crowd: Shop) -> None:
    """A short list is matched by index lookups, also for ids of another program or of none."""
    program = crowd.value(BIG)
    with Reads(crowd) as read:
        campaign = crowd.value("select passbell.draft_list_campaign(%s, 'Hi')", [program])
        crowd.conn.execute(
            "insert into passbell.list_pages (campaign_id, page_no, row_numbers, ids)"
            " select %s, 1, array_agg(n), array_agg('m' || n * 250) from generate_series(1, 300) as n",
            [campaign],
        )
        listed = crowd.row("select * from passbell.submit_list_campaign(%s, 'x')", [campaign])
    assert listed["matched"] == listed["targeted"] > 100
    assert listed["reasons"]["other_program"] > 100
    assert listed["reasons"]["unknown_member"] > 10
    assert 0 < read["passes_master_external_id_folded"] <= 900
    assert not looked_through(read)


def test_orders_that_wait_are_not_looked_through(shop: Shop) -> None:
    """Taking the next order reads that one, however many are due behind it or scheduled."""
    assert shop.claim() is None  # reads, for the last time, the orders that migrate tried and took back
    for number in range(20):
        program = shop.program(f"Club {number}")
        shop.members(program, 1)
        for later in (None, None, None, "2099-01-01"):
            shop.campaign(program, f"Hello {later}", target_query=f"WHALE:{number}", scheduled_at=later)
    with Reads(shop) as read:
        first = shop.claim()
    assert first is not None
    assert 0 < read["push_campaigns_due"] <= 5
    assert read["push_campaigns_program"] <= 10
    assert read["programs_pkey"] <= 20
    assert not read["push_campaigns"]


def test_the_words_of_waiting_campaigns_are_brought_up_to_date_in_one_walk(shop: Shop) -> None:
    """Each campaign is read once or twice, never once per program; those without news are not written."""
    for number in range(40):
        program = shop.program(f"Club {number}")
        shop.campaign(program, "Later", scheduled_at="2099-01-01")
        shop.campaign(program, "Now")
    shop.conn.execute("select passbell.explain_waiting('test')")
    details = shop.rows("select status_detail from push_campaigns where scheduled_at is not null")
    assert {row["status_detail"] for row in details} == {"Scheduled for 2098-12-31 19:00 America/New_York."}
    before = shop.rows("select ctid::text, status_detail from push_campaigns order by id")
    with Reads(shop) as read:
        shop.conn.execute("select passbell.explain_waiting('test')")
    assert sum(read[name] for name in read if name.startswith(("push_campaigns", "programs"))) <= 400
    assert shop.rows("select ctid::text, status_detail from push_campaigns order by id") == before


def test_an_old_snapshot_does_not_slow_claims_down(shop: Shop) -> None:
    """A dump or a forgotten transaction keeps every finished chunk's index entries: they are not read again."""
    program = shop.program()
    shop.members(program, 400)
    shop.start(shop.campaign(program, "Now"), 2)
    with psycopg.connect(shop.url) as old:
        old.execute("set transaction isolation level repeatable read")
        old.execute("select count(*) from push_campaigns")
        for _ in range(150):
            shop.finish(claimed(shop))
        with Reads(shop) as read:
            chunk = claimed(shop)
            shop.finish(chunk)
    assert read["chunks_ready"] <= 10
    assert read["chunks_in_flight"] <= 10
    assert read["chunks_pkey"] <= 10
    assert read["deliveries_pass"] <= 10


def test_a_freed_chunk_is_found_before_the_rest(shop: Shop) -> None:
    """Claims go on where the last one found its chunk; what a dead worker held lies before that, and comes first."""
    program = shop.program()
    shop.members(program, 8)
    shop.start(shop.campaign(program, "Now"), 2)
    dead = uuid4()
    held = claimed(shop, worker=dead)
    shop.finish(claimed(shop))
    shop.conn.execute("select passbell.bury_workers(array[%s]::uuid[])", [dead])
    assert claimed(shop)["pass_ids"] == held["pass_ids"]
    left = [claimed(shop)["chunk_no"] for _ in range(2)]
    assert left == [3, 4]
    assert shop.chunk() is None


def test_a_chunk_that_was_locked_when_a_claim_passed_it_is_not_forgotten(shop: Shop) -> None:
    """Another session locked its row for a moment: it is found as soon as nothing is ready behind it."""
    program = shop.program()
    shop.members(program, 6)
    shop.start(shop.campaign(program, "Now"), 2)
    with psycopg.connect(shop.url) as other:
        other.execute("select from passbell.chunks where chunk_no = 1 for update")
        assert [claimed(shop)["chunk_no"] for _ in range(2)] == [2, 3]
        assert shop.chunk() is None
    assert claimed(shop)["chunk_no"] == 1


def test_a_large_audience_at_its_cap_is_skipped_in_parts(shop: Shop) -> None:
    """Each claim commits what it skipped, long before its caller loses patience; the campaign ends all the same."""
    program = shop.program()
    shop.members(program, 6_000)
    for number in range(3):
        shop.conn.execute(
            "insert into passbell.deliveries (campaign_id, pass_id, sent_at, text_hash, attempts, outcome)"
            " select md5('c' || %s::text)::uuid, p.id, now(), 1, 1, 'sent' from passes_master p",
            [number],
        )
    campaign = shop.campaign(program)
    shop.start(campaign, 1_000)
    assert shop.chunk(cap=3) is None
    assert (shop.order(campaign)["skipped_count"], shop.status(campaign)) == (5_000, "PROCESSING")
    assert shop.chunk(cap=3) is None
    assert (shop.order(campaign)["skipped_count"], shop.status(campaign)) == (6_000, "COMPLETED")


def test_d11_a_preview_of_everybody_reads_the_last_day_alone(shop: Shop) -> None:
    """The ledger of ten older days is not looked at, whatever its size."""
    program = shop.program()
    shop.members(program, MEMBERS)
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.conn.execute(HISTORY + "order by c desc")  # as it is written: in the order of time
    shop.send_chunks()
    shop.conn.execute("vacuum analyze passbell.deliveries")
    plan = shop.rows(
        "explain select count(*) from passbell.deliveries d where d.sent_at > passbell.now() - interval '24 hours'"
        " and d.outcome = 'sent'"
    )
    assert any("deliveries_sent" in line for row in plan for line in row.values()), plan


@pytest.mark.parametrize("target", ["ALL", "TIER:1"])
def test_d11_a_preview_with_limits_reads_as_far_back_as_the_longest(shop: Shop, target: str) -> None:
    """At most one message in three days: three days of the ledger are read, not the ten before them."""
    program = shop.program()
    shop.members(program, MEMBERS)
    shop.conn.execute("update programs set push_max = 1, push_max_days = 3 where id = %s", [program])
    shop.start(shop.campaign(program))
    shop.conn.execute(HISTORY + "order by c desc")
    shop.send_chunks()
    shop.conn.execute("vacuum analyze passbell.deliveries")
    with Reads(shop) as read:
        shop.row("select * from push_preview(%s, %s)", [program, target])
    whole = shop.value("select count(*) from passbell.deliveries")
    recent = shop.value(
        "select count(*) from passbell.deliveries where sent_at > passbell.now() - interval '3 days'"
    )
    assert recent < whole / 2
    assert 0 < read["deliveries"] + read["deliveries_sent"] <= recent + SIZE, (read, whole, recent)
