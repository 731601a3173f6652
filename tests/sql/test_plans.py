"""What the hot path reads, counted in rows: never a table or an index from one end to the other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.shop import Shop

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
    """Also in a session whose plans were made while ledger and queue were empty, and with campaigns that wait."""
    grown(shop)
    with Reads(shop) as read:
        chunk = shop.chunk()
    assert chunk is not None
    assert len(chunk["pass_ids"]) == SIZE
    assert 0 < read["passes_master_pkey"] <= SIZE
    assert 0 < read["deliveries_pass"] <= SIZE
    assert 0 < read["chunks_ready"] <= 5
    assert read["push_campaigns_processing"] <= 60
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
    shop.clock("2027-05-05 12:00:00+00")
    while (chunk := shop.chunk(lease=1)) is not None:
        pass
    shop.clock("2027-05-05 12:01:00+00")
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
