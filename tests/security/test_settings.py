"""What a login sets for its own session changes nothing for anybody else, and gives it no right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from passbell.database.migrate import migrate
from support.processes import Command, Daemon
from support.shop import Shop
from support.tenants import refused
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeDatabase
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
    """The daemon's role cannot move the clock, so it cannot erase the ledger or claim held chunks early."""
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


ODD_DATABASE = (
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'iso_8601'",
    "extra_float_digits = '-15'",
    "standard_conforming_strings = off",
    "timezone = 'Asia/Kathmandu'",
    "bytea_output = 'escape'",
    "quote_all_identifiers = on",
    "default_transaction_read_only = off",
)


def test_a_database_with_settings_of_its_own(database: MakeDatabase, tmp_path: Path) -> None:
    """Dates as DD/MM/YYYY, few digits: installing, sending, birthdays, import and commands work as ever."""
    url = database("2", migrated=False)
    name = sql.Identifier(url.rpartition("/")[2].partition("?")[0])
    with psycopg.connect(url, autocommit=True) as conn:
        for setting in ODD_DATABASE:
            conn.execute(sql.SQL("alter database {} set " + setting).format(name))  # type: ignore[arg-type]
    migrate(url)
    assert migrate(url).changed is False
    shop = Shop(url, "2")
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
    today = shop.born_today()
    shop.member(program, user={"first_name": "Ada", "birth_date": today}, points=1315, external_id="ADA")
    order = [
        "send",
        "--program",
        "Club",
        "--target",
        "IDS:ADA",
        "--message",
        "Hi {first_name|you}, {points} points",
    ]
    rows = tmp_path / "members.csv"
    rows.write_text("email,first_name,birth_date\nada@example.com,Ada,1990-02-01\n")
    settings = {"PASSBELL_DATABASE_URL": url}
    with Daemon(url, "http://127.0.0.1:9", DRY_RUN=True, RATE_PER_SECOND=50, POLL_SECONDS=0.2):
        for arguments in (order, ["status"], ["import", str(rows), "--program", "Club"], ["birthdays"]):
            with Command(*arguments, settings=settings) as command:
                assert command.wait() == 0, (arguments, command.log)
        wait_until(lambda: shop.value("select count(*) from push_campaigns where status = 'COMPLETED'") == 2)
    assert shop.rows("select detail from passbell.deliveries where outcome <> 'sent'") == []
    name_of = shop.value("select name from push_campaigns where kind = 'BIRTHDAY'")
    local = shop.value("select to_char(now() at time zone 'America/New_York', 'YYYY-MM-DD')")
    assert name_of == f"Birthdays {local}"
    assert shop.value("select birth_date = '1990-02-01' from users where email = 'ada@example.com'")
    shop.close()


@pytest.mark.parametrize(
    "setting", ["standard_conforming_strings = off", "datestyle = 'SQL, DMY'", "extra_float_digits = -15"]
)
def test_the_rules_read_texts_alike(tenants: Tenants, setting: str) -> None:
    """A login's own setting opens no gap in what is refused, and changes no text."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        conn.execute(sql.SQL("set " + setting))  # type: ignore[arg-type]
        test = "insert into push_campaigns (program_id, message_text, kind, target_query) values (%s, 'x', 'TEST', %s)"
        for target in ("IDss:M1", "s IDS:M1", "IDS:M1,M2", "ALL"):
            assert refused(conn, test, [tenants.a, target]) == "PB422", target
        for message in ("{lone", "{unknown}", " \u200b\u00a0 "):
            assert refused(conn, "select push_send(%s, %s)", [tenants.a, message]) == "PB400", message
        found = conn.execute(
            "select push_send(%s, %s, 'IDS:M1', 'x', '2030-02-01 10:00+00')",
            [tenants.a, "Hi {first_name|you}, 5 s {{points}}"],
        ).fetchone()
        assert found is not None
    assert tenants.value(
        "select scheduled_at = '2030-02-01 10:00+00' from push_campaigns where id = %s", found
    )


def test_no_function_reads_a_backslash_as_the_session_wants(tenants: Tenants) -> None:
    """Each function with a backslash in a plain string has the setting by which strings are read, or writes E''."""
    wrong = tenants.rows(
        r"select p.oid::regprocedure::text as name from pg_proc p where p.pronamespace = 'passbell'::regnamespace"
        r" and regexp_replace(regexp_replace(p.prosrc, '--[^\n]*', '', 'g'),"
        r"                    E'E\'([^\'\\\\]|\\\\.|\'\')*\'', '', 'g') like '%%\\%%'"
        r" and not coalesce(p.proconfig::text, '') like '%%standard_conforming_strings=on%%'"
    )
    assert wrong == []
