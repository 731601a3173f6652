"""What a signed-in administrator reads beside their campaigns: the ledger with names, and each campaign's program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from passbell.database.migrate import migrate
from support.shop import Shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

# What PostgREST sends for `select=*,programs(name)`: it takes the function for a to-one relation.
EMBED = """
    select c.name, row_to_json(p.*) as programs
      from public.push_campaigns c
      left join lateral (select g.name from public.programs(c) g) p on true
     order by c.name
"""


@pytest.fixture(params=["1", "4"], ids=lambda value: f"generation{value}")
def tenants(request: pytest.FixtureRequest, database: MakeDatabase) -> Iterator[Tenants]:
    """Two programs with campaigns and an administrator each, on the oldest and on the present tables."""
    made = Tenants(database(request.param, supabase=True), request.param)
    yield made
    made.close()


def test_an_administrator_reads_what_became_of_their_members(tenants: Tenants) -> None:
    """The ledger of one's own campaigns, with external id and name; nothing of anybody else's, nothing for anon."""
    tenants.conn.execute(
        "insert into users (id, first_name, last_name) values ('00000000-0000-4000-8000-000000000001', 'Ada', null)"
    )
    first = tenants.passes[tenants.a][0]
    tenants.conn.execute(
        "update passes_master set user_id = '00000000-0000-4000-8000-000000000001' where id = %s", [first]
    )
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        rows = conn.execute(
            "select pass_id, external_id, name, outcome, reason, detail, sent_at is not null"
            "  from push_deliveries where campaign_id = %s",
            [tenants.sent[tenants.a]],
        ).fetchall()
        assert {row[0] for row in rows} == set(tenants.passes[tenants.a])
        names = {row[0]: row[2] for row in rows}
        assert names.pop(first) == "Ada"
        assert set(names.values()) == {None}
        assert all(row[1].startswith("M") and row[3:] == ("sent", None, None, True) for row in rows)
        programs = conn.execute("select distinct program_id from push_deliveries").fetchall()
        assert programs == [(tenants.a,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select * from passbell.deliveries")
        with pytest.raises(psycopg.errors.DatabaseError):
            conn.execute("delete from push_deliveries")
    with tenants.acting("service_role") as conn:
        assert len(conn.execute("select distinct program_id from push_deliveries").fetchall()) == 2
    with tenants.acting("authenticated", uuid4()) as conn:
        assert conn.execute("select count(*) from push_deliveries").fetchone() == (0,)
    with tenants.acting("anon") as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select * from push_deliveries")


def test_a_predicate_of_the_readers_own_sees_no_foreign_row(tenants: Tenants) -> None:
    """A function that tells what it is given is asked about the reader's rows alone."""
    tenants.conn.execute(
        "create function public.tell(text) returns boolean language plpgsql cost 0.0001"
        " as $$ begin raise notice '%', $1; return true; end $$"
    )
    told: list[str] = []
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        conn.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
        conn.execute("select count(*) from push_deliveries where tell(campaign_id::text)")
    assert told
    assert str(tenants.sent[tenants.b]) not in told


def test_c10_a_campaign_names_its_program(tenants: Tenants) -> None:
    """select('*, programs(name)') names a campaign's program, under the platform's own row security."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        rows = conn.execute(EMBED).fetchall()
    assert len(rows) == 3
    assert all(row[1] == {"name": "A"} for row in rows)
    with tenants.acting("service_role") as conn:
        assert {row[1]["name"] for row in conn.execute(EMBED)} == {"A", "B"}
        imports: Any = conn.execute(
            "select (select g.name from public.programs(i) g) from public.member_imports i"
        ).fetchall()
        assert imports == []


def test_c10_the_relations_are_as_postgrest_wants_them(tenants: Tenants) -> None:
    """One unnamed composite argument, SETOF a table, ROWS 1 for to-one; only people and servers may call them."""
    rows = tenants.rows(
        "select p.oid::regprocedure::text as signature, p.proretset, p.prorows, p.provolatile::text as volatile,"
        "       has_function_privilege('anon', p.oid, 'execute') as anon,"
        "       has_function_privilege('authenticated', p.oid, 'execute') as people"
        "  from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prosecdef = false"
        "   and obj_description(p.oid, 'pg_proc') like 'Relation for%%' order by 1"
    )
    pairs = {("push_campaigns", many) for many in ("push_deliveries", "push_list_problems")}
    pairs |= {("push_automations", "push_campaigns"), ("member_imports", "member_import_rows")}
    pairs |= {("programs", table) for table in ("push_campaigns", "push_automations", "push_suppressions")}
    pairs |= {("programs", view) for view in ("push_deliveries", "push_list_problems", "member_import_rows")}
    pairs |= {("programs", "member_imports")}
    assert {row["signature"]: row["prorows"] for row in rows} == {
        **{f"{one}({many})": 1 for one, many in pairs},
        **{f"{many}({one})": 100 for one, many in pairs},
    }
    assert all(row["proretset"] and row["people"] and not row["anon"] for row in rows)


def test_c10_imports_and_automations_do_not_hold_a_program_either(database: MakeDatabase) -> None:
    """A program with an import, an automation, a suppression and a draft is deleted; a finished import names none."""
    shop = Shop(database("4"), "4")
    try:
        program = shop.program()
        shop.campaign(program, status="DRAFT")
        shop.conn.execute(
            "insert into member_imports (program_id, csv_upload_url) values (%s, 'https://example.com/x.csv')",
            [program],
        )
        shop.conn.execute(
            "insert into push_automations (program_id, occasion, message_text) values (%s, 'DORMANT:30', 'Hi')",
            [program],
        )
        shop.conn.execute(
            "insert into push_suppressions (program_id, external_id) values (%s, 'M-1')", [program]
        )
        relation = "select (select g.name from public.programs(i) g) as name from public.member_imports i"
        assert [row["name"] for row in shop.rows(relation)] == ["Club"]
        shop.conn.execute("delete from programs where id = %s", [program])
        assert [row["name"] for row in shop.rows(relation)] == [None]
        migrate(shop.url)
    finally:
        shop.close()


def test_c10_the_platform_may_delete_a_program(database: MakeDatabase) -> None:
    """A finished campaign does not hold its program; it stays in the history without one."""
    shop = Shop(database("4"), "4")
    try:
        program = shop.program()
        campaign = shop.campaign(program)
        shop.send(campaign)
        shop.conn.execute("delete from notification_logs")
        shop.conn.execute("delete from programs where id = %s", [program])
        assert shop.order(campaign)["program_id"] == program
        assert shop.rows(EMBED) == [{"name": shop.order(campaign)["name"], "programs": None}]
        migrate(shop.url)
    finally:
        shop.close()
