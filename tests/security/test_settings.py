"""What a login sets for its own session changes nothing for anybody else, and gives it no right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from support.tenants import refused

if TYPE_CHECKING:
    from support.shop import Shop
    from support.tenants import Tenants


@pytest.mark.parametrize("moment", ["2090-01-01", "2000-01-01", "infinity", "no time at all"])
def test_only_the_owner_moves_the_clock(tenants: Tenants, moment: str) -> None:
    """`set passbell.now` by a tenant or a server changes neither what is stored nor what is refused."""
    for role, user in (("authenticated", tenants.admin_a), ("service_role", None)):
        with tenants.acting(role, user) as conn:
            conn.execute(sql.SQL("set passbell.now = {}").format(moment))
            found = conn.execute("select push_send(%s, 'x')", [tenants.a]).fetchone()
            assert found is not None
            order = tenants.order(found[0])
            assert tenants.value("select abs(extract(epoch from now() - %s)) < 60", [order["created_at"]])
            assert tenants.value("select abs(extract(epoch from now() - %s)) < 60", [order["submitted_at"]])
            conn.execute("select push_cancel(%s)", [found[0]])
            assert tenants.value(
                "select abs(extract(epoch from now() - completed_at)) < 60 from push_campaigns where id = %s",
                [found[0]],
            )


def test_the_daemons_role_cannot_move_the_clock(daemon_url: tuple[Shop, str]) -> None:
    """With the daemon's password nobody erases the ledger through retention, or claims what others hold."""
    shop, url = daemon_url
    program = shop.program()
    shop.members(program, 5)
    shop.send(shop.campaign(program))
    held = shop.campaign(program, "held")
    shop.start(held)
    assert shop.chunk() is not None
    shop.conn.execute("update passbell.settings set retention = interval '30 days'")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("set passbell.now = '2090-01-01'")
        conn.execute("select passbell.claim_prune()")
        for _ in range(3):
            conn.execute("select * from passbell.prune()")
        assert conn.execute("select * from passbell.claim_chunk(gen_random_uuid())").fetchall() == []
    assert shop.value("select count(*) from passbell.deliveries") == 5
    assert shop.value("select pruned_at <= now() from passbell.settings")
    assert shop.violations() == []


def test_the_owner_and_a_superuser_move_it(tenants: Tenants) -> None:
    """Tests and backtests set passbell.now; a role taken on in between decides while it lasts."""
    tenants.clock("2031-01-01 00:00+00")
    assert tenants.value("select passbell.now() = '2031-01-01 00:00+00'")
    owner = tenants.value("select nspowner::regrole::text from pg_namespace where nspname = 'passbell'")
    tenants.conn.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
    assert tenants.value("select passbell.now() = '2031-01-01 00:00+00'")
    tenants.conn.execute("reset role")
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        assert refused(conn, "select passbell.now()") == "42501"
