"""Installing: by the command, by psql, twice, on whatever tables there are; and who may do what afterwards."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from passbell.database.bundle import sql_root
from passbell.database.migrate import check, migrate
from passbell.errors import SchemaTooNew
from support.dumps import client_program, dump
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeDatabase
    from support.databases import Databases, Generation, Supabase
    from support.shop import MakeShop

HOST_TABLES = (
    "programs",
    "users",
    "passes_master",
    "protocol_membership",
    "notification_logs",
    "birthday_logs",
)


def same(text: str) -> str:
    """A dump without what each installation has of its own: when it was made, and its secret."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00", "<installed at>", text)
    return re.sub(r"(?m)^engine\t[0-9a-f]{64}$", "engine\t<secret>", text)


@pytest.fixture(scope="module")
def installed(databases: Databases) -> Callable[..., str]:
    """What the first migrate of a database leaves, as text: taken once of each kind, tests get copies of it."""

    @functools.cache
    def text(generation: Generation, supabase: Supabase = False) -> str:  # noqa: FBT002
        url = databases.create(generation, supabase=supabase)
        found = dump(url)
        databases.drop(urlsplit(url).path.removeprefix("/"))
        return found

    return text


@pytest.mark.parametrize("supabase", [False, True, "legacy"])
@pytest.mark.parametrize("generation", ["empty", "1_bare", "1", "2", "3", "4"])
def test_installing_twice_changes_nothing(
    database: MakeDatabase, installed: Callable[..., str], generation: Generation, supabase: Supabase
) -> None:
    """On every generation of the host, and on none, with and without Supabase: the second dump equals the first."""
    url = database(generation, supabase=supabase)
    second = migrate(url)
    assert second.changed is False
    assert dump(url) == installed(generation, supabase)
    assert check(url).current


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `passbell migrate --print` writes, in a file."""
    file = tmp_path_factory.mktemp("printed") / "passbell.sql"
    with file.open("wb") as output:
        subprocess.run([sys.executable, "-m", "passbell", "migrate", "--print"], stdout=output, check=True)
    return file


@pytest.mark.parametrize("generation", ["empty", "1_bare", "4"])
def test_psql_installs_the_same_as_the_command(
    database: MakeDatabase, installed: Callable[..., str], generation: Generation, printed: Path
) -> None:
    """What `passbell migrate --print` writes runs by `psql -1 -f` and leaves the very same schema."""
    by_hand = database(generation, migrated=False)
    for _ in range(2):
        done = subprocess.run(
            [client_program("psql"), "-1", "-X", "-v", "ON_ERROR_STOP=1", "-q", "-f", str(printed), by_hand],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    # The command looks at the old rows of its constraints afterwards, beside writes; one transaction by hand cannot.
    with psycopg.connect(by_hand, autocommit=True) as connection:
        for (statement,) in connection.execute(
            "select format('alter table %s validate constraint %I', conrelid::regclass, conname)"
            "  from pg_constraint where not convalidated"
        ).fetchall():
            connection.execute(statement)

    assert same(dump(by_hand)) == same(installed(generation))
    assert check(by_hand).current


INDEXES_OF_OURS = ("idx_users_birthday", "notification_logs_campaign", "birthday_logs_pass_id_year_once")


def test_on_a_large_table_the_index_is_built_beside_the_platforms_writes(
    database: MakeDatabase,
    installed: Callable[..., str],
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the very same result; and one that was left half built is built anew."""
    beside = database(generation, migrated=False)
    monkeypatch.setattr("passbell.database.migrate.LARGE_BYTES", 0)
    with psycopg.connect(beside, autocommit=True) as connection:
        connection.execute("create index passes_master_external_id_folded on passes_master (external_id)")
        connection.execute(
            "update pg_index set indisvalid = false where indexrelid = 'passes_master_external_id_folded'::regclass"
        )
        migrate(beside)
        (valid,) = connection.execute(
            "select indisvalid from pg_index where indexrelid = 'passes_master_external_id_folded'::regclass"
        ).fetchone() or (None,)
    assert valid

    assert same(dump(beside)) == same(installed(generation))
    assert migrate(beside).changed is False


def test_indexes_that_need_columns_of_ours_are_built_beside_writes(
    database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On large tables the installation builds none; birthdays have their proof first, or duplicates are named."""
    monkeypatch.setattr("passbell.database.migrate.LARGE_BYTES", 0)
    url = database("1_bare", migrated=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter table users add column birth_date text")
        connection.execute("drop table if exists birthday_logs, notification_logs")
        connection.execute("create table birthday_logs (id uuid, pass_id uuid, year int)")
        connection.execute(
            "create table notification_logs (id uuid default gen_random_uuid(), program_id uuid)"
        )
        monkeypatch.setattr("passbell.database.migrate._build_late", lambda _url: None)
        assert any("birthday_logs has no UNIQUE" in warning for warning in migrate(url).warnings)
        missing = [
            row[0] for row in connection.execute("select name from passbell.missing_indexes()").fetchall()
        ]
        assert sorted(missing) == sorted(INDEXES_OF_OURS)
        monkeypatch.undo()
        monkeypatch.setattr("passbell.database.migrate.LARGE_BYTES", 0)
        assert migrate(url).warnings == ()
        assert connection.execute("select * from passbell.missing_indexes()").fetchall() == []

        connection.execute("drop index birthday_logs_pass_id_year_once")
        connection.execute(
            "insert into birthday_logs (pass_id, year) select '00000000-0000-0000-0000-000000000001', 2026"
            " from generate_series(1, 2)"
        )
        assert any("duplicates forbid it" in warning for warning in migrate(url).warnings)


def test_the_installation_adds_to_the_hosts_tables_and_takes_nothing(
    database: MakeDatabase, generation: Generation
) -> None:
    """Every column of the host is still there with its type, and its rows are as they were."""
    url = database(generation, migrated=False)
    shop = Shop(url, generation)
    club = shop.program()
    shop.member(club, user={"first_name": "Ada"}, points=5)
    columns = (
        "select table_name, column_name, data_type, is_nullable from information_schema.columns"
        " where table_schema = 'public'"
    )

    def everything() -> Any:
        return {tuple(row.values()) for row in shop.rows(columns)}, [
            [
                {k: v for k, v in row.items() if k in known[table]}
                for row in shop.rows(f"select * from {table}")  # noqa: S608
            ]
            for table in HOST_TABLES
        ]

    known = {
        table: {r["column_name"] for r in shop.rows(columns + " and table_name = %s", [table])}
        for table in HOST_TABLES
    }
    before = everything()
    first = migrate(url)
    assert (first.before, first.changed) == (0, True)
    after = everything()
    assert before[0] <= after[0]
    assert before[1] == after[1]
    shop.close()


MINIMAL = """
create table public.push_campaigns (
    id uuid primary key default gen_random_uuid(), program_id uuid references public.programs (id), name text not null,
    message_text text not null, target_query text, csv_upload_url text, status text default 'PENDING',
    sent_count int default 0, failed_count int default 0, created_at timestamptz default now())
"""


def test_the_owners_own_table_is_completed(database: MakeDatabase, generation: Generation) -> None:
    """A minimal push_campaigns table that was there before, with old rows in it, becomes a working one."""
    url = database(generation, migrated=False)
    shop = Shop(url, generation)
    shop.conn.execute(MINIMAL)
    club = shop.program()
    member = shop.member(club)
    old = shop.campaign(club, "Old", status="SENT", sent_count=None)
    migrate(url)
    migrate(url)
    assert shop.order(old)["status"] == "SENT"
    campaign = shop.campaign(club, "New")
    assert shop.send(campaign)["status"] == "COMPLETED"
    assert shop.ledger(campaign) == {member: "sent"}
    shop.close()


def test_an_owners_row_that_waits_is_sent_with_care(database: MakeDatabase) -> None:
    """PENDING rows that lay in the owner's table before the installation are not fired if they are old."""
    url = database("2", migrated=False)
    shop = Shop(url, "2")
    shop.conn.execute(MINIMAL)
    club = shop.program()
    shop.member(club)
    old = shop.campaign(club, "Old", created_at="2025-01-01")
    migrate(url)
    shop.claim()
    assert shop.status(old) == "PAUSED", shop.order(old)
    shop.close()


def test_the_host_may_come_later(database: MakeDatabase) -> None:
    """Installed on an empty database, orders fail with a sentence; migrated again beside the host, they work."""
    url = database("empty", migrated=False)
    migrate(url)
    shop = Shop(url, "3")
    lost = shop.campaign(uuid4())
    assert shop.start(lost)["action"] == "failed"
    shop.conn.execute("drop table notification_logs, birthday_logs")  # ours here, the host's in its own file
    shop.conn.execute((sql_root() / "host" / "generation_3.sql").read_bytes())  # type: ignore[arg-type]
    migrate(url)
    club = shop.program()
    shop.member(club)
    assert shop.send(shop.campaign(club))["sent_count"] == 1
    shop.close()


def test_ones_own_view_of_the_recipients_is_left_alone(make_shop: MakeShop) -> None:
    """An operator who replaced the adapter keeps it through every migrate."""
    shop = make_shop()
    club = shop.program()
    shop.members(club, 2)
    vip = shop.member(club, external_id="only-me")
    shop.conn.execute("alter view passbell.recipients rename to recipients_generated")
    shop.conn.execute(
        "create view passbell.recipients as select * from passbell.recipients_generated where external_id = 'only-me'"
    )
    migrate(shop.url)
    campaign = shop.campaign(club)
    shop.send(campaign)
    assert shop.ledger(campaign) == {vip: "sent"}


def test_a_newer_schema_is_not_touched(make_shop: MakeShop) -> None:
    """An old program refuses a database that a newer one has migrated."""
    shop = make_shop()
    shop.conn.execute("update passbell.settings set schema_version = 9999")
    for action in (check, migrate):
        with pytest.raises(SchemaTooNew):
            action(shop.url)


def test_two_migrations_at_the_same_moment_wait_for_each_other(database: MakeDatabase) -> None:
    """If several machines migrate at the same moment, the schema is installed once."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    url = database("2", migrated=False)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(migrate, [url] * 4))
    assert sorted(report.changed for report in reports) == [False, False, False, True]


# ── who may do what ─────────────────────────────────────────────


@pytest.fixture
def tenant(make_shop: MakeShop) -> Any:
    """A Supabase project with two programs and an administrator of the first."""
    shop = make_shop("3", supabase=True)
    mine, theirs = shop.program("Mine"), shop.program("Theirs")
    shop.members(mine, 2)
    shop.members(theirs, 2)
    admin = uuid4()
    shop.conn.execute("insert into auth.users (id, email) values (%s, 'ada@example.com')", [admin])
    shop.conn.execute("insert into admin_profiles (id, program_id) values (%s, %s)", [admin, mine])
    return shop, mine, theirs, admin


def as_role(shop: Shop, role: str, admin: Any = None) -> psycopg.Connection[Any]:
    """A connection as Supabase's API would use it."""
    conn = psycopg.connect(shop.url, autocommit=True)
    if admin is not None:
        conn.execute(
            "select set_config('request.jwt.claims', %s, false)",
            [f'{{"sub": "{admin}", "email": "ada@example.com", "role": "{role}"}}'],
        )
    conn.execute(psycopg.sql.SQL("set role {}").format(psycopg.sql.Identifier(role)))
    return conn


def test_an_administrator_acts_for_their_own_program_only(tenant: Any) -> None:
    """Rows and functions alike: only the own program."""
    shop, mine, theirs, admin = tenant
    foreign = shop.campaign(theirs, "Foreign")
    with as_role(shop, "authenticated", admin) as conn:
        own = conn.execute("select push_send(%s, 'Hello')", [mine]).fetchone()[0]
        conn.execute(
            "insert into push_campaigns (program_id, name, message_text) values (%s, 'B', 'Direct')", [mine]
        )
        assert conn.execute("select count(*) from push_campaigns").fetchone() == (2,)
        assert conn.execute("select reachable from push_preview(%s)", [mine]).fetchone() == (2,)
        conn.execute("select push_pause(%s)", [own])
        assert "ada@example.com" in shop.order(own)["status_detail"]
        assert shop.order(own)["created_by"] == "ada@example.com"
        for call, parameters in (
            ("select push_send(%s, 'Hello')", [theirs]),
            ("select * from push_preview(%s)", [theirs]),
            ("select push_test(%s, 'M1', 'x')", [theirs]),
            ("select push_pause(%s)", [foreign]),
            ("select push_resume(%s)", [foreign]),
            ("select push_cancel(%s)", [foreign]),
            ("select push_retry_failed(%s)", [foreign]),
            ("select * from push_progress(%s)", [foreign]),
            ("insert into push_campaigns (program_id, name, message_text) values (%s, 'C', 'x')", [theirs]),
        ):
            with pytest.raises(psycopg.Error) as refused:
                conn.execute(call, parameters)
            assert refused.value.sqlstate in {"PB403", "42501"}, call
        assert conn.execute("update push_campaigns set name = 'x' where id = %s", [foreign]).rowcount == 0
    assert shop.status(foreign) == "PENDING"


def test_the_engines_rooms_are_closed_to_users(tenant: Any) -> None:
    """Neither anonymous nor signed-in users reach the queue, the ledger, the segments or the engine's functions."""
    shop, mine, _, admin = tenant
    for role in ("anon", "authenticated"):
        with as_role(shop, role, admin) as conn:
            for statement in (
                "select * from passbell.chunks",
                "select * from passbell.deliveries",
                "select * from passbell.recipients",
                "insert into passbell.segments (name, predicate) values ('X', 'true')",
                "select * from passbell.claim_campaign(gen_random_uuid())",
                "select * from passbell.claim_chunk(gen_random_uuid())",
                "select passbell.award_points(gen_random_uuid(), 1000000, 'mine')",
                "select passbell.close_breaker('x')",
                "select passbell.build_adapters()",
                "delete from public.push_campaigns",
                "truncate public.push_campaigns",
            ):
                with pytest.raises(psycopg.Error) as refused:
                    conn.execute(statement)  # type: ignore[arg-type]
                assert refused.value.sqlstate == "42501", (role, statement)
    with as_role(shop, "anon") as conn:
        for statement in ("select * from push_campaigns", f"select push_send('{mine}', 'Hello')"):
            with pytest.raises(psycopg.Error) as refused:
                conn.execute(statement)  # type: ignore[arg-type]
            assert refused.value.sqlstate == "42501"


def test_the_service_role_sees_everything(tenant: Any) -> None:
    """The platform's own server acts for every program."""
    shop, mine, theirs, _ = tenant
    with as_role(shop, "service_role") as conn:
        for one in (mine, theirs):
            assert conn.execute("select push_send(%s, 'Hello')", [one]).fetchone()
        assert conn.execute("select count(*) from push_campaigns").fetchone() == (2,)
        assert conn.execute("select * from passbell.check_conservation()").fetchall() == []


def test_without_supabase_any_role_of_the_server_may_not_call_by_default(make_shop: MakeShop) -> None:
    """EXECUTE is not everybody's."""
    shop = make_shop()
    assert (
        shop.value(
            "select has_function_privilege('pg_monitor',"
            " 'public.push_send(uuid,text,text,text,timestamptz,integer)', 'execute')"
        )
        is False
    )
