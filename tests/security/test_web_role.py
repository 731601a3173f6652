"""passbell_web: a database role that can do what `passbell web` needs and nothing else.

The whole of tests/web runs under it; here is what it must be refused.
"""

# ruff: noqa: S608 - the statements are put together from this file's own words
from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from support.tenants import refused

if TYPE_CHECKING:
    from support.shop import Shop


def test_it_can_do_nothing_else(web_url: tuple[Shop, str]) -> None:
    """It touches no table but to stage files, no rule, no queue, no gift but through the page's functions."""
    shop, url = web_url
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    # On PostgreSQL 14 everybody may create tables in public; `passbell check` says what to do.
    everybody = shop.value("select passbell.is_open_schema('public')")
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in (
            "select * from public.push_campaigns",
            "select * from public.member_imports",
            "select * from public.users",
            "select * from public.passes_master",
            "select * from passbell.recipients",
            "select * from passbell.deliveries",
            "select * from passbell.api_requests",
            "select * from passbell.import_staged",
            "update passbell.settings set daily_cap = 0",
            "update passbell.segments set predicate = 'true'",
            "insert into passbell.segments (name, predicate) values ('EVIL', 'true')",
            "update passbell.rate_limits set rate_per_second = 1000000",
            f"insert into public.push_campaigns (program_id, message_text) values ('{program}', 'x')",
            f"update public.push_campaigns set sent_count = 5 where id = '{campaign}'",
            f"delete from public.push_campaigns where id = '{campaign}'",
            f"insert into public.member_imports (program_id, csv_upload_url) values ('{program}', 'x')",
            "select * from push_forget('M1')",
            "select * from passbell.claim_campaign(gen_random_uuid())",
            "select * from passbell.claim_chunk(gen_random_uuid())",
            "select * from passbell.claim_import(gen_random_uuid())",
            "select passbell.take_slots('x', 1)",
            "select passbell.close_breaker('x')",
            "select passbell.award_points(gen_random_uuid(), 1, '')",
            "select passbell.award_gift(gen_random_uuid(), 1, '')",
            "select passbell.build_adapters()",
            *([] if everybody else ["create table public.mine ()"]),
            "create function passbell.mine() returns int language sql as 'select 1'",
        ):
            assert refused(conn, statement) == "42501", statement
        assert refused(conn, "select passbell.discard_draft(%s)", [campaign]) == ""
    assert shop.status(campaign) == "PENDING"  # only drafts can be discarded


@pytest.mark.parametrize("name", ["uuid", "text", "integer", "timestamptz", "jsonb"])
def test_a_leaked_password_is_not_the_owners(web_url: tuple[Shop, str], name: str) -> None:
    """With the page's password no code can be slipped into functions that run as the owner."""
    shop, url = web_url
    real = {"integer": "int4"}.get(name, name)
    program = shop.program()
    shop.member(program, user={"first_name": "Ann"})
    shop.conn.execute("create table public.caught (who text); grant insert on public.caught to public")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "create function pg_temp.trap() returns boolean language plpgsql as $$"
            " begin insert into public.caught values (current_user); return true; end $$"
        )
        conn.execute(f'create domain pg_temp."{name}" as pg_catalog.{real} check (pg_temp.trap())')
        for call in (
            "passbell.order_push('me', null, %(p)s, 'Hi', 'ALL', null, null, null)",
            "passbell.sample_messages(%(p)s, 'Hi {first_name}', 'ALL', 5)",
            "passbell.campaign_page(null, null, null, 10, null)",
            "passbell.program_list()",
            "passbell.open_import(%(p)s)",
            "passbell.birthdays_ahead(%(p)s)",
            "public.push_preview(%(p)s)",
        ):
            assert refused(conn, f"select * from {call}", {"p": str(program)}) == "", call
    assert {row["who"] for row in shop.rows("select who from public.caught")} <= {"passbell_web"}


def test_two_roles_do_not_lend_each_other_rights(web_url: tuple[Shop, str]) -> None:
    """passbell_web cannot stage rows for an import that it did not open."""
    shop, url = web_url
    with psycopg.connect(url, autocommit=True) as conn:
        state = refused(conn, "select passbell.import_batch(gen_random_uuid(), gen_random_uuid())")
        assert state == "PB412"
        state = refused(conn, "select passbell.import_staged(gen_random_uuid(), gen_random_uuid())")
        assert state == "PB412"
    assert shop.value("select count(*) from member_imports") == 0
