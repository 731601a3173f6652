"""The owner of the tables need not be a superuser: on Supabase it is `postgres`, which is none."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from passbell.database.bundle import sql_root
from passbell.database.migrate import check, migrate
from support.processes import Daemon
from support.tenants import Tenants, refused
from support.wait import wait_until
from support.web import KEY, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases

ROLE = "plain_owner"


@pytest.fixture(scope="module", params=["2", "3"], ids=lambda value: f"generation{value}")
def plain(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[Tenants, str]]:
    """A Supabase project whose tables belong to a role without any attribute; installed as that role.

    What is around it (roles, schema auth) the superuser has made. Yields the shop, and the role's URL. The tests share
    it: each has rows of its own and takes back what it changes in tables.
    """
    url = databases.create("empty", supabase=True, migrated=False)
    parts = urlsplit(url)
    name = parts.path.removeprefix("/")
    password = secrets.token_hex(8)
    mine = urlunsplit(parts._replace(netloc=f"{ROLE}:{password}@{parts.netloc.rpartition('@')[2]}"))
    with psycopg.connect(url, autocommit=True) as admin:
        owner = sql.Identifier(ROLE)
        admin.execute(sql.SQL("create role {} login noinherit password {}").format(owner, password))
        try:
            admin.execute(sql.SQL("grant create on database {} to {}").format(sql.Identifier(name), owner))
            admin.execute(sql.SQL("grant all on schema public to {}").format(owner))
            admin.execute(sql.SQL("grant usage, create on schema auth to {}").format(owner))
            admin.execute(sql.SQL("grant all on all tables in schema auth to {}").format(owner))
            # As on Supabase, it may act as the others, but has nothing from them by itself.
            admin.execute(sql.SQL("grant anon, authenticated, service_role to {}").format(owner))
            with psycopg.connect(mine, autocommit=True) as conn:
                conn.execute((sql_root() / "host" / f"generation_{request.param}.sql").read_bytes())
                conn.execute("grant usage on schema public to anon, authenticated, service_role")
            migrate(mine)
            shop = Tenants(mine, request.param)
            yield shop, mine
            shop.close()
        finally:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [ROLE])
            admin.execute(sql.SQL("drop owned by {} cascade").format(owner))
            admin.execute(sql.SQL("drop role {}").format(owner))
            databases.drop(name)


def test_it_is_no_superuser(plain: tuple[Tenants, str]) -> None:
    """Neither superuser nor exempt from row level security, and everything of ours belongs to it."""
    shop, url = plain
    role = shop.row("select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = current_user")
    assert not any(role.values())
    foreign = shop.rows(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where (n.nspname = 'passbell' or c.relname in ('push_campaigns', 'member_imports'))"
        " and pg_get_userbyid(c.relowner) <> current_user"
    )
    assert foreign == []
    assert check(url).current
    migrate(url)
    assert check(url).current


def test_everything_works_for_it(plain: tuple[Tenants, str]) -> None:
    """A daemon with its URL sends, gifts and counts; the page with its URL orders and imports."""
    shop, url = plain
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=50, birthday_send_at="00:00")
    shop.members(program, 40)
    today = shop.born_today()
    gifted = shop.member(program, user={"birth_date": today}, points=10)
    settings: dict[str, Any] = {"DRY_RUN": True, "RATE_PER_SECOND": 1000, "POLL_SECONDS": 0.2}
    with Web(url) as web, web.client(KEY) as api, Daemon(url, "http://127.0.0.1:9", **settings) as daemon:
        order = {"programId": str(program), "message": "Hello {points|friend}"}
        campaign = api.post("/api/notify/broadcast", order).json()["result"]["campaignId"]
        upload = {"csvFile": ("members.csv", "email,first_name\nann@example.com,Ann\n", "text/csv")}
        imported = api.post("/api/members/import", data={"programId": str(program)}, files=upload)
        assert imported.status_code == 200, imported.text
        wait_until(lambda: shop.status(campaign) == "COMPLETED")
        wait_until(lambda: shop.value("select count(*) from birthday_logs where pass_id = %s", [gifted]) == 1)
        troubles = [event for event in daemon.events() if event.get("level") in {"warning", "error"}]
        assert troubles == []
        assert daemon.terminate() == 0
    assert shop.value("select first_name from users where email = 'ann@example.com'") == "Ann"
    assert shop.violations() == []


def test_everybody_else_has_the_same_rights_as_ever(plain: tuple[Tenants, str]) -> None:
    """Policies and grants are the same if the owner is not a superuser."""
    shop, _ = plain
    insert = "insert into push_campaigns (program_id, message_text) values (%s, 'x')"
    with shop.acting("authenticated", shop.admin_a) as conn:
        assert refused(conn, insert, [shop.a]) == ""
        assert refused(conn, insert, [shop.b]) == "42501"
        assert conn.execute("select distinct program_id from push_campaigns").fetchall() == [(shop.a,)]
        assert refused(conn, "select push_send(%s, 'x')", [shop.a]) == ""
        assert refused(conn, "select push_send(%s, 'x')", [shop.b]) == "PB403"
        assert refused(conn, "select * from passbell.deliveries") == "42501"
        assert refused(conn, "select * from run_birthdays()") == "42501"
    with shop.acting("anon") as conn:
        assert refused(conn, "select * from push_campaigns") == "42501"
        assert refused(conn, "select push_send(%s, 'x')", [shop.a]) == "42501"
    with shop.acting("service_role") as conn:
        assert refused(conn, insert, [shop.b]) == ""
        assert refused(conn, "select * from run_birthdays()") == ""
        assert refused(conn, "update passbell.chunks set attempt = 0") == "42501"


def test_forced_row_security_on_members_is_noticed(plain: tuple[Tenants, str]) -> None:
    """Rows that FORCE ROW LEVEL SECURITY hides from a plain owner look like people without an opt-out: it says so."""
    shop, _ = plain
    with shop.conn.transaction(force_rollback=True):
        assert shop.value("select passbell.consent_trouble()") is None
        shop.conn.execute("alter table users enable row level security")
        assert shop.value("select passbell.consent_trouble()") is None
        shop.conn.execute("alter table users force row level security")
        assert "BYPASSRLS" in shop.value("select passbell.consent_trouble()")
        assert shop.value("select value from passbell.queue_state() where metric = 'consent'") == 1
