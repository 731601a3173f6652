"""What the platform renames, drops or had before: opt-outs stay opt-outs, and nothing old is sent as if it were new."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from passbell.database.migrate import migrate
from passbell.errors import PassbellError
from support.processes import Command
from support.shop import Shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase


@pytest.fixture
def bare(database: MakeDatabase) -> Iterator[Shop]:
    """The present tables, before passbell came."""
    made = Shop(database("4", migrated=False), "4")
    yield made
    made.close()


@pytest.fixture
def present(database: MakeDatabase) -> Iterator[Shop]:
    """The present tables with passbell."""
    made = Shop(database("4"), "4")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("rename", "back", "words"),
    [
        (
            "alter table passes_master rename column user_id to person_id",
            "alter table passes_master rename column person_id to user_id",
            "passes_master.user_id, which passbell reads, is now called person_id.*rename column",
        ),
        (
            "alter table users rename column id to user_uuid",
            "alter table users rename column user_uuid to id",
            "users.id, which passbell reads, is now called user_uuid.*rename column",
        ),
        (
            "alter table users rename to members",
            "create view users as select * from members",
            "public.users, through which passbell reads who opted out, is gone; it is now called members",
        ),
        (
            "drop table users cascade",
            None,
            "public.users, through which passbell reads who opted out, is gone.*host_columns where relation",
        ),
    ],
)
def test_b5_the_way_to_an_opt_out_is_noticed(
    present: Shop, rename: str, back: str | None, words: str
) -> None:
    """A key or the table of members under another name: migrate names it, nothing is sent, and then all goes on."""
    club = present.program()
    out = present.member(club, user={"marketing_opt_in": False})
    present.conn.execute(rename)  # type: ignore[arg-type]
    campaign = present.campaign(club)
    assert present.claim() is None
    present.conn.execute("select passbell.explain_waiting()")
    assert present.order(campaign)["status_detail"].startswith("Waiting: Opt-outs cannot be read")
    with pytest.raises(PassbellError, match=words) as refused:
        migrate(present.url)
    assert "Nothing was changed" in str(refused.value)
    if back is None:
        present.conn.execute("delete from passbell.host_columns where relation = 'public.users'")
    else:
        present.conn.execute(back)  # type: ignore[arg-type]
    migrate(present.url)
    assert present.value("select passbell.look_at_consent()") is None
    present.send(campaign)
    assert present.ledger(campaign) == ({} if back else {out: "sent"})


def test_b5_a_table_that_the_platform_makes_anew_takes_the_adapter_along(present: Shop) -> None:
    """DROP TABLE users CASCADE drops recipients: campaigns wait and say so, check fails, and migrate makes it again."""
    club = present.program()
    member = present.member(club)
    present.conn.execute("drop table users cascade")
    present.conn.execute(
        "create table users (id uuid primary key default gen_random_uuid(), email text, marketing_opt_in boolean)"
    )
    present.conn.execute("insert into users (email, marketing_opt_in) values ('out@example.com', false)")
    present.conn.execute("update passes_master set user_id = (select id from users)")
    campaign = present.campaign(club)
    assert present.claim() is None
    present.conn.execute("select passbell.explain_waiting()")
    assert "passbell migrate" in present.order(campaign)["status_detail"]
    with Command("check", settings={"PASSBELL_DATABASE_URL": present.url}) as command:
        assert command.wait() == 1
        assert "FAIL database:" in command.output
        assert "run `passbell migrate`" in command.output
    migrate(present.url)
    present.send(campaign)
    assert present.ledger(campaign) == {}
    assert (
        present.row("select opted_in from passbell.recipients where pass_id = %s", [member])["opted_in"]
        is False
    )


def test_b5_a_kill_switch_under_another_name_is_noticed(present: Shop) -> None:
    """programs.is_suspended renamed: migrate refuses, instead of sending for programs that are suspended."""
    present.conn.execute("alter table programs rename column is_suspended to suspended")
    with pytest.raises(
        PassbellError, match=r"programs\.is_suspended, which passbell reads, is now called suspended"
    ):
        migrate(present.url)
    club = present.program(suspended=True)
    present.member(club, user={})
    campaign = present.campaign(club)
    assert present.start(campaign)["action"] == "failed"


@pytest.mark.parametrize(
    "columns",
    [
        "message text, sent_at timestamptz",
        "message_text text, status text default 'PENDING' check (status in ('PENDING', 'SENT'))",
    ],
)
def test_c8_what_was_in_the_table_before_is_not_sent(bare: Shop, columns: str) -> None:
    """Rows without a status, or without a date, become drafts that a person may submit; new orders are sent."""
    club = bare.program()
    member = bare.member(club)
    text = columns.split(maxsplit=1)[0]
    bare.conn.execute(
        f"create table push_campaigns (id uuid primary key default gen_random_uuid(), program_id uuid, {columns})"  # type: ignore[arg-type]
    )
    insert = sql.SQL("insert into push_campaigns (program_id, {}) values (%s, 'Old news')")
    bare.conn.execute(insert.format(sql.Identifier(text)), [club])
    migrate(bare.url)
    old = bare.row("select id, status, status_detail from push_campaigns")
    assert bare.claim() is None
    assert (old["status"], "before passbell" in old["status_detail"]) == ("DRAFT", True)
    campaign = bare.value("select push_send(%s, 'News')", [club])
    assert bare.send(campaign)["status"] == "COMPLETED"
    migrate(bare.url)
    bare.conn.execute("update push_campaigns set status = 'PENDING' where id = %s", [old["id"]])
    assert bare.send(old["id"])["status"] == "COMPLETED"
    assert bare.ledger(old["id"]) == {member: "sent"}


def test_c8_counters_without_a_default_begin_at_zero(bare: Shop) -> None:
    """Greetings that the engine orders add up as well, in a table whose counters have no default."""
    bare.conn.execute(
        "create table push_campaigns (id uuid primary key, program_id uuid, message_text text,"
        " sent_count int not null, failed_count bigint)"
    )
    migrate(bare.url)
    club = bare.program(birthday_bot_enabled=True, birthday_reward_points=0)
    member = bare.member(club, user={"birth_date": "1990-05-05"})
    bare.clock("2026-05-05 14:00+00")
    bare.rows("select * from run_birthdays(%s, '2026-05-05')", [club])
    bare.send_chunks()
    (order,) = bare.rows("select id, status, sent_count, failed_count from push_campaigns")
    assert (order["status"], order["sent_count"], order["failed_count"]) == ("COMPLETED", 1, 0)
    assert bare.ledger(order["id"]) == {member: "sent"}


@pytest.mark.parametrize("column", ["target_query", "csv_upload_url"])
def test_c8_a_column_that_a_complete_order_leaves_empty_is_named(bare: Shop, column: str) -> None:
    """If push_campaigns has a required column that an order leaves empty, it is named with the remedy."""
    bare.conn.execute(
        f"create table push_campaigns (id uuid primary key, program_id uuid not null,"
        f" message_text text, {column} text not null)"  # type: ignore[arg-type]
    )
    with pytest.raises(PassbellError, match=f"push_campaigns.{column} must be filled in.*drop not null"):
        migrate(bare.url)


def test_c4_a_policy_from_before_that_lets_everybody_in_is_named(database: MakeDatabase) -> None:
    """An earlier table's policy would show each tenant the campaigns of all: migrate and check name it."""
    policies = {
        "Everybody": ("true", True),
        "Signed in": ("(select auth.uid()) is not null", True),
        "Of a program": ("program_id is not null", False),
        "Super": (
            "exists (select from admin_profiles a where a.id = auth.uid() and a.role = 'SUPER_ADMIN')",
            False,
        ),
    }
    shop = Shop(database("4", supabase=True, migrated=False), "4")
    shop.conn.execute("create table push_campaigns (id uuid primary key, program_id uuid, message_text text)")
    for name, (expression, _) in policies.items():
        shop.conn.execute(f'create policy "{name}" on push_campaigns to authenticated using ({expression})')  # type: ignore[arg-type]
    warnings = migrate(shop.url).warnings
    named = [
        [name for name in policies if f'drop policy "{name}" on public.push_campaigns' in words]
        for words in warnings
    ]
    assert sorted(named) == [[name] for name, (_, told) in policies.items() if told], warnings
    shop.close()


def test_an_operators_own_function_keeps_its_rights(database: MakeDatabase) -> None:
    """A SECURITY DEFINER function of the operator's that begins with push_ is not handed to every signed-in user."""
    shop = Shop(database("4", supabase=True), "4")
    shop.conn.execute(
        "create function public.push_purge() returns void language sql security definer"
        " as 'delete from passbell.deliveries'"
    )
    shop.conn.execute(
        "revoke all on function public.push_purge() from public, anon, authenticated, service_role"
    )
    migrate(shop.url)
    people = Tenants(shop.url, "4")
    with (
        people.acting("authenticated", people.admin_a) as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        conn.execute("select push_purge()")
    with people.acting("authenticated", uuid4()) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select push_purge()")
    people.close()
    shop.close()


@pytest.mark.parametrize(
    "statements",
    [
        (
            "alter table admin_profiles drop constraint admin_profiles_program_id_fkey",
            "alter table admin_profiles alter program_id type text",
        ),
        ("create domain key as uuid", "alter table programs alter id type key"),
    ],
    ids=["text", "domain"],
)
def test_c4_keys_of_another_type_name_the_same_programs(
    database: MakeDatabase, statements: tuple[str, ...]
) -> None:
    """With admin_profiles.program_id as text or programs.id as a domain, administrators see their own programs."""
    shop = Shop(database("4", supabase=True, migrated=False), "4")
    for policy in shop.rows(
        "select format('drop policy %%I on %%s', polname, polrelid::regclass) as words from pg_policy"
        " where polrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)"
    ):
        shop.conn.execute(policy["words"])
    for statement in statements:
        shop.conn.execute(statement)  # type: ignore[arg-type]
    migrate(shop.url)
    shop.close()
    people = Tenants(shop.url, "4")
    tenant, root = uuid4(), uuid4()
    for who in (tenant, root):
        people.conn.execute("insert into auth.users (id, email) values (%s, %s)", [who, f"{who}@example.com"])
    people.conn.execute("update programs set tenant_id = %s where id = %s", [tenant, people.b])
    people.conn.execute("insert into admin_profiles (id, role) values (%s, 'SUPER_ADMIN')", [root])
    for who, programs in (
        (people.admin_a, {people.a}),
        (tenant, {people.b}),
        (root, {people.a, people.b}),
        (uuid4(), set()),
    ):
        with people.acting("authenticated", who) as conn:
            for table in ("push_deliveries", "push_campaigns"):
                query = sql.SQL("select distinct program_id from {}").format(sql.Identifier(table))
                seen = conn.execute(query).fetchall()
                assert {row[0] for row in seen} == programs
    people.close()


def test_c8_a_column_of_the_platforms_under_a_name_of_ours_is_named(bare: Shop) -> None:
    """If the platform has a column under a name of ours, migrate names column, type and remedy, and changes nothing."""
    for column in ("push_consent boolean", "birthday_leap_day integer", "passkit_account integer"):
        name, _, kind = column.partition(" ")
        bare.conn.execute(f"alter table programs add column {column}")  # type: ignore[arg-type]
        with pytest.raises(
            PassbellError, match=f"programs.{name} is {kind}.*rename column {name} to {name}_old"
        ) as refused:
            migrate(bare.url)
        assert "Nothing was changed" in str(refused.value)
        bare.conn.execute(f"alter table programs rename column {name} to {name}_old")  # type: ignore[arg-type]
    migrate(bare.url)
