from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest
from psycopg import sql

from passbell.db.migrate import migrate
from support.shop import Shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.databases import Supabase

DAEMON = "passbell_daemon"


@pytest.fixture(params=[True, "legacy"], ids=["new project", "old project"])
def tenants(request: pytest.FixtureRequest, database: MakeDatabase) -> Iterator[Tenants]:
    """A Supabase project, with today's default grants and with those of before 30 October 2026."""
    supabase: Supabase = request.param
    made = Tenants(database("3", supabase=supabase), "3")
    yield made
    made.close()


@pytest.fixture
def daemon_url(database: MakeDatabase) -> Iterator[tuple[Shop, str]]:
    """A shop, and the URL with which the role passbell_daemon reaches it."""
    url = database("2")
    password = secrets.token_hex(8)
    shop = Shop(url, "2")
    name = sql.Identifier(DAEMON)
    shop.conn.execute(sql.SQL("create role {} login password {}").format(name, password))
    try:
        migrate(url)
        parts = urlsplit(url)
        yield (
            shop,
            urlunsplit(parts._replace(netloc=f"{DAEMON}:{password}@{parts.netloc.rpartition('@')[2]}")),
        )
    finally:
        # Roles are the whole server's.
        shop.conn.execute(sql.SQL("drop owned by {}").format(name))
        shop.conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [DAEMON]
        )
        shop.conn.execute(sql.SQL("drop role {}").format(name))
        shop.close()
