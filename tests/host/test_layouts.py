"""What of the platform's tables passbell cannot work with is named before anything is changed; the rest is mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from passbell.database.migrate import migrate
from passbell.errors import PassbellError
from support.processes import Command
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeDatabase

TABLE = (
    "create table push_campaigns"
    " (id uuid primary key default gen_random_uuid(), program_id uuid, message_text text{})"
)
LOWER = """
create function lower_status() returns trigger language plpgsql as $$
begin new.status := lower(new.status); return new; end $$
"""


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


def columns(shop: Shop) -> Any:
    """What there is in the database."""
    return shop.rows(
        "select c.oid::regclass::text, a.attname, a.atttypid::regtype::text from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid where c.relnamespace = 'public'::regnamespace order by 1, 2"
    )


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            [TABLE.format(", status varchar(8)")],
            r"status is character varying\(8\), which is too short.*type text",
        ),
        (
            [TABLE.format(", status_detail varchar(80)")],
            r"status_detail is character varying\(80\).*too short.*type text",
        ),
        (
            [TABLE.format(", scheduled_at timestamp")],
            "scheduled_at is timestamp without time zone.*using scheduled_at at time zone 'UTC'",
        ),
        (
            ["create domain must as text not null", TABLE.format(", channel must")],
            "channel must be filled in.*drop not null",
        ),
        (["create view push_campaigns as select id from programs"], "push_campaigns is a view.*rename"),
        (
            [TABLE.format(", kind text default 'x' check (kind in ('x', 'y'))")],
            "push_campaigns_kind_check.*drop constraint push_campaigns_kind_check",
        ),
        (
            [
                TABLE.format(
                    ", status text, sent_at timestamptz, check (status <> 'COMPLETED' or sent_at is not null)"
                )
            ],
            r"push_campaigns_check.*sent_at IS NOT NULL.*drop constraint push_campaigns_check",
        ),
        (
            [
                TABLE.format(", status text"),
                LOWER,
                "create trigger zz before insert on push_campaigns for each row execute function lower_status()",
            ],
            "trigger or rule of the platform's on push_campaigns changes these columns",
        ),
        (["alter table birthday_logs alter year type text"], "birthday_logs.year is text.*type integer"),
        (
            ["alter table birthday_logs rename to b", "create view birthday_logs as select * from b"],
            "birthday_logs is no table.*given twice.*rename",
        ),
        (
            ["create table member_imports (id uuid primary key, filename text)"],
            "member_imports is not the table.*no column program_id.*member_imports_old",
        ),
        (
            ["create table push_suppressions (id bigint, program_id uuid, external_id text)"],
            "push_suppressions.*id is bigint, not uuid.*push_suppressions_old",
        ),
        (["create table push_deliveries (id int)"], "push_deliveries is not the view.*alter table"),
        (["create view push_deliveries as select 1 as id"], "push_deliveries is not the view.*alter view"),
        (
            ["create function push_send(uuid, text) returns int language sql as 'select 1'"],
            r"push_send\(uuid,text\) is a function of the platform's.*rename to push_send_old",
        ),
        (
            ["create schema passbell", "create table passbell.settings (a int)"],
            "schema passbell belongs to something else.*passbell_old",
        ),
    ],
)
def test_c8_what_cannot_be_mapped_is_named_and_nothing_is_changed(
    bare: Shop, statements: list[str], words: str
) -> None:
    """Column or constraint, the reason and the remedy; never "run passbell migrate"."""
    for statement in statements:
        bare.conn.execute(statement)  # type: ignore[arg-type]
    before = columns(bare)
    with pytest.raises(PassbellError, match=words) as refused:
        migrate(bare.url)
    assert "Nothing was changed" in str(refused.value)
    assert "run `passbell migrate`" not in str(refused.value)
    assert columns(bare) == before
    assert bare.value("select to_regprocedure('passbell.claim_chunk(uuid)')") is None


def test_c8_following_the_remedy_installs(bare: Shop) -> None:
    """The statement that migrate names can be pasted as it stands, and then it goes on."""
    for statement in (
        TABLE.format(
            ", status varchar(8), sent_at timestamp, check (status <> 'COMPLETED' or sent_at is not null)"
        ),
        "create function push_send(uuid, text) returns int language sql as 'select 1'",
    ):
        bare.conn.execute(statement)  # type: ignore[arg-type]
    told = []
    for _ in range(4):
        try:
            migrate(bare.url)
        except PassbellError as refused:
            told.append(str(refused))
            remedy = str(refused).partition("Remedy: ")[2].partition(" Nothing was changed")[0]
            bare.conn.execute(remedy.partition("; and migrate")[0].rstrip("."))  # type: ignore[arg-type]
    assert len(told) == 3
    program = bare.program()
    bare.member(program)
    assert bare.send(bare.value("select push_send(%s, 'Hello')", [program]))["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "layout",
    [
        (
            "program_id uuid not null references programs (id) on delete cascade, name varchar(50) not null,"
            " message varchar(200) not null, status varchar(12) not null default 'draft',"
            " created_at timestamp default now()"
        ),
        "title text, created_at timestamp not null default now()",
    ],
)
def test_c8_an_older_layout_is_mapped(bare: Shop, layout: str) -> None:
    """Times without a zone, a default of `draft`, no id and no program: what passbell orders is sent."""
    key = "id uuid primary key default gen_random_uuid(), " if "program_id" in layout else ""
    bare.conn.execute(f"create table push_campaigns ({key}{layout})")  # type: ignore[arg-type]
    assert migrate(bare.url).warnings == ()
    assert not migrate(bare.url).changed
    program = bare.program()
    member = bare.member(program)
    campaign = bare.value("select push_send(%s, 'Hello')", [program])
    assert bare.send(campaign)["status"] == "COMPLETED"
    assert bare.ledger(campaign) == {member: "sent"}
    test = bare.value(
        "select push_test(%s, external_id, 'Test') from passes_master where id = %s", [program, member]
    )
    assert bare.send(test)["status"] == "COMPLETED"


def test_c8_a_restore_is_answered_for_columns_with_a_length(bare: Shop) -> None:
    """Names and statuses of another type than text: what is held after a restore is listed all the same."""
    bare.conn.execute(
        "create table push_campaigns (id uuid primary key default gen_random_uuid(), program_id uuid,"
        " name varchar(200), status varchar(12) not null default 'PENDING', status_detail varchar(500))"
    )
    migrate(bare.url)
    bare.clock("2026-05-05 03:00+00")
    program = bare.program(timezone="UTC", birthday_bot_enabled=True)
    bare.member(program, user={"birth_date": "1990-05-05"})
    bare.rows("select passbell.note_birthday_programs()")
    bare.conn.execute(
        "insert into push_automations (program_id, name, occasion, message_text, is_on)"
        " values (%s, 'Tuesdays', 'EVERY:TUE', 'Open until ten', true)",
        [program],
    )
    bare.clock("2026-05-05 23:00+00")
    held = bare.rows("select * from passbell.after_restore('2026-05-05 03:00+00')")
    assert [(row["what"], row["name"], row["status"]) for row in held] == [
        ("birthday", "Birthdays 2026-05-05", "PAUSED"),
        ("automation", "Tuesdays 2026-05-05", "PAUSED"),
    ]


def test_c8_a_table_that_comes_to_refuse_campaigns_is_found_by_check(present: Shop) -> None:
    """If the platform adds a rule that refuses campaigns, migrate warns, and check fails with the remedy."""
    present.program()
    present.conn.execute("alter table push_campaigns add column sent_at timestamptz")
    present.conn.execute(
        "alter table push_campaigns add check (status <> 'COMPLETED' or sent_at is not null)"
    )
    before = present.rows("select * from push_campaigns")
    (warning,) = migrate(present.url).warnings
    assert "drop constraint push_campaigns_check" in warning
    assert present.rows("select * from push_campaigns") == before
    with Command("check", settings={"PASSBELL_DATABASE_URL": present.url}) as command:
        assert command.wait() == 1
        assert "FAIL installation: The table push_campaigns refuses" in command.output


def test_c8_a_default_of_draft_is_told_by_check(bare: Shop) -> None:
    """A form that leaves the status empty orders a draft there: check says so, and how to change it."""
    bare.conn.execute(TABLE.format(", status text default 'draft'"))
    migrate(bare.url)
    bare.member(bare.program())
    with Command("check", settings={"PASSBELL_DATABASE_URL": bare.url}) as command:
        command.wait()
        assert "an order without a status is DRAFT here" in command.output


# ── the rest of the platform ────────────────────────────────────


@pytest.mark.parametrize(
    ("statements", "stored"),
    [
        (
            [
                "create type answer as enum ('unknown', 'subscribed', 'unsubscribed')",
                (
                    "alter table users alter marketing_opt_in drop default, alter marketing_opt_in type answer"
                    " using case when marketing_opt_in then 'subscribed' else 'unsubscribed' end::answer"
                ),
            ],
            ("unsubscribed", "subscribed"),
        ),
        (
            [
                (
                    "alter table users alter marketing_opt_in drop default, alter marketing_opt_in type smallint"
                    " using marketing_opt_in::int::smallint"
                )
            ],
            ("0", "1"),
        ),
    ],
)
def test_c9_an_import_answers_in_the_columns_own_words(
    bare: Shop, tmp_path: Path, statements: list[str], stored: tuple[str, str]
) -> None:
    """A no and a yes of a file are stored as the platform's type says them, and read back as such."""
    for statement in statements:
        bare.conn.execute(statement)  # type: ignore[arg-type]
    migrate(bare.url)
    program = bare.program()
    code, told = imported(
        bare, tmp_path, program, "email,opt_in\nno@example.com,no\nyes@example.com,yes\nopen@example.com,\n"
    )
    assert code == 0, told
    found = {
        row["email"]: row["said"]
        for row in bare.rows("select email, marketing_opt_in::text as said from users")
    }
    assert found == {"no@example.com": stored[0], "yes@example.com": stored[1], "open@example.com": None}


def test_c9_an_import_into_a_column_without_a_no_is_refused(bare: Shop, tmp_path: Path) -> None:
    """An enum that knows no yes and no: the file's answers cannot be stored, so nothing of it is."""
    for statement in (
        "create type mood as enum ('alpha', 'beta')",
        "alter table users alter marketing_opt_in drop default, alter marketing_opt_in type mood using null",
    ):
        bare.conn.execute(statement)  # type: ignore[arg-type]
    migrate(bare.url)
    code, told = imported(bare, tmp_path, bare.program(), "email,opt_in\nno@example.com,no\n")
    assert code == 1
    assert "no value of users.marketing_opt_in reads as yes or no" in told
    assert bare.value("select count(*) from users") == 0
    assert imported(bare, tmp_path, bare.program("B"), "email,first_name\nno@example.com,Ada\n")[0] == 0


def test_c8_users_with_other_keys_are_read_and_an_import_says_why_not(bare: Shop, tmp_path: Path) -> None:
    """Opt-outs count whatever the type of users.id; an import is refused in a sentence."""
    for statement in (
        'drop policy "people of one\'s programs" on users',
        "alter table passes_master drop column user_id",
        "drop table users",
        "create table users (id bigserial primary key, email text, marketing_opt_in boolean default true)",
        "alter table passes_master add column user_id bigint references users (id)",
    ):
        bare.conn.execute(statement)  # type: ignore[arg-type]
    migrate(bare.url)
    program = bare.program()
    bare.member(program, user={"marketing_opt_in": False})
    kept = bare.member(program, user={})
    campaign = bare.campaign(program)
    bare.send(campaign)
    assert bare.ledger(campaign) == {kept: "sent"}
    code, told = imported(bare, tmp_path, program, "email\nada@example.com\n")
    assert code == 1
    assert "users.id is bigint" in told


def test_c8_transactions_with_text_keys_and_a_partitioned_log(bare: Shop) -> None:
    """Visits are found by the text of the pass, and each campaign has its one row in a partitioned audit table."""
    for statement in (
        'drop policy "rows of one\'s passes" on transactions',
        "alter table transactions drop constraint transactions_pass_id_fkey",
        "alter table transactions alter pass_id type text using pass_id::text",
        "drop table notification_logs",
        (
            "create table notification_logs (id uuid default gen_random_uuid(), program_id uuid, campaign_name text,"
            " created_at timestamptz default now()) partition by range (created_at)"
        ),
        "create table notification_logs_all partition of notification_logs default",
    ):
        bare.conn.execute(statement)  # type: ignore[arg-type]
    migrate(bare.url)
    program = bare.program()
    member = bare.member(program, last_updated="2026-01-01")
    bare.conn.execute(
        "insert into transactions (pass_id, action_type, value_change) values (%s, 'MEMBER_EARN', 5)",
        [str(member)],
    )
    assert bare.value("select matched from push_preview(%s, 'SLUMBER')", [program]) == 0
    campaign = bare.campaign(program)
    bare.send(campaign)
    assert len(bare.logs(campaign)) == 1


AWARD = """
create function process_membership_transaction(p_external_id text, p_action text, p_amount int) returns {}
language plpgsql as $$ begin
    update passes_master set points_balance = points_balance + p_amount where external_id = p_external_id;
    return '{}';
end $$
"""


@pytest.mark.parametrize(
    ("kind", "answer", "gifted"),
    [("text", '{"success": true, "new_balance": 9}', 1), ("jsonb", '{"success": "perhaps"}', 0)],
)
def test_c3_award_functions_that_answer_otherwise(bare: Shop, kind: str, answer: str, gifted: int) -> None:
    """JSON as text is read; an answer that is neither yes nor no is a refusal, and migrate goes on beside it."""
    bare.conn.execute("drop function process_membership_transaction")
    bare.conn.execute("drop function process_membership_transaction_atomic")
    bare.conn.execute(AWARD.format(kind, answer))  # type: ignore[arg-type]
    migrate(bare.url)
    program = bare.program(birthday_bot_enabled=True, birthday_reward_points=5)
    bare.member(program, user={"birth_date": "1990-05-05"}, points_balance=1)
    migrate(bare.url)
    assert bare.row("select gifted, failed from run_birthdays(%s, '2026-05-05')", [program]) == {
        "gifted": gifted,
        "failed": 1 - gifted,
    }


def test_c3_an_award_function_that_hangs_does_not_hold_up_migrate(bare: Shop) -> None:
    """Its trial is cut, nothing else is tried without a bound, and the installation goes on."""
    migrate(bare.url)
    bare.member(bare.program(), user={})
    bare.conn.execute(
        "create or replace function process_membership_transaction(p_external_id text, p_action text, p_amount int,"
        " p_transaction_amount numeric default null) returns jsonb language sql as"
        " $$ select jsonb_build_object('success', pg_sleep(3600) is null) $$"
    )
    bare.conn.execute("set statement_timeout = '1s'")
    tried = bare.rows("select works, detail from passbell.award_trial() order by place")
    assert [(row["works"], row["detail"]) for row in tried] == [
        (None, "it was not tried, because another one took too long"),
        (False, "its trial took too long"),
    ]
    bare.conn.execute("reset statement_timeout")
    migrate(f"{bare.url}{'&' if '?' in bare.url else '?'}options=-c%20statement_timeout%3D5s")


def test_c8_a_trigger_that_hangs_is_told(bare: Shop) -> None:
    """If a trigger hangs on migrate's test campaign, the sentence names the table, and no row stays."""
    migrate(bare.url)
    bare.conn.execute(
        "create function hang() returns trigger language plpgsql as $$ begin perform pg_sleep(3600); return new; end $$"
    )
    bare.conn.execute(
        "create trigger hang before insert on push_campaigns for each row execute function hang()"
    )
    bare.conn.execute("set statement_timeout = '1s'")
    assert "took too long" in bare.value("select passbell.order_trial()")
    bare.conn.execute("reset statement_timeout")
    assert bare.value("select count(*) from push_campaigns") == 0


def test_a_column_of_the_gift_log_that_must_be_filled_in_is_named(bare: Shop) -> None:
    """A warning says that no gift can be noted, with column and remedy, before the first birthday."""
    bare.conn.execute("alter table birthday_logs add column sent_by text not null")
    (warning,) = migrate(bare.url).warnings
    assert "birthday_logs.sent_by must be filled in" in warning


def test_a_connection_that_may_only_read_is_no_passing_trouble(bare: Shop) -> None:
    """On a replica or with a read-only role, migrate says which connection to give it instead."""
    with pytest.raises(PassbellError, match=r"may only read.*address of the primary"):
        migrate(f"{bare.url}{'&' if '?' in bare.url else '?'}options=-c%20default_transaction_read_only%3Don")


def imported(shop: Shop, folder: Path, program: Any, text: str) -> tuple[int, str]:
    """`passbell import` of a file with this text: its exit code and what it says."""
    file = folder / "members.csv"
    file.write_text(text, "utf-8")
    settings = {"PASSBELL_DATABASE_URL": shop.url}
    with Command("import", str(file), "--program", str(program), settings=settings) as command:
        return command.wait(), command.output + command.log
