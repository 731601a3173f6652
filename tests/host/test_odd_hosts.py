"""Hosts that are laid out otherwise: mapped where possible, refused before anything is changed where it is not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from passbell.database.migrate import migrate
from passbell.errors import PassbellError
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

MEMBER = (
    "select points, tier_points, birth_date, opted_in, reachable from passbell.recipients where pass_id = %s"
)


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


def schemas(shop: Shop) -> Any:
    """What there is in the database: a refused migration leaves it as it was."""
    return shop.rows(
        "select c.oid::regclass::text, a.attname, a.atttypid::regtype::text from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid where c.relnamespace = 'public'::regnamespace order by 1, 2"
    )


# ── odd types ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", {"1315": 1315, "1,315": None, "lots": None, "99999999999999999999": None}),
        ("numeric", {"NaN": None, "1e30": None, "12.4": 12}),
        ("double precision", {"Infinity": None}),
        ("bigint", {"9007199254740993": 9007199254740993}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a2_a_balance_that_is_no_number_is_unknown_for_that_member(
    bare: Shop, kind: str, values: dict[str, int | None]
) -> None:
    """One odd cell stops neither the campaign nor the others, and nobody is told 0 points who has some.

    With words of its own for that case the text is sent; without them that member fails, and the order says so first.
    Each odd value is in a program of its own.
    """
    bare.conn.execute("drop trigger keep_spend_tier on passes_master")
    bare.conn.execute(
        f"alter table passes_master alter points_balance drop default, alter points_balance type {kind}"  # type: ignore[arg-type]
    )
    clubs = []
    for value, points in values.items():
        club = bare.program(f"Club of {value}")
        odd, plain = bare.member(club, points_balance=value), bare.member(club, points_balance="7")
        clubs.append((club, odd, plain, points))
    migrate(bare.url)
    for club, odd, plain, points in clubs:
        assert bare.row(MEMBER, [odd])["points"] == points
        assert bare.row(MEMBER, [plain])["points"] == 7
        campaign = bare.campaign(club, "You have {points|some} points")
        assert bare.send(campaign)["status"] == "COMPLETED"
        assert bare.ledger(campaign) == {odd: "sent", plain: "sent"}

        text = "Your balance: {points}"
        told = bare.rows("select w from passbell.order_warnings(%s, %s) w", [club, text])
        samples = bare.rows("select pass_id, message from passbell.sample_messages(%s, %s)", [club, text])
        assert len(told) == (points is None)
        assert {row["pass_id"]: row["message"] for row in samples} == {
            odd: None if points is None else f"Your balance: {points}",
            plain: "Your balance: 7",
        }
        campaign = bare.campaign(club, text)
        bare.send(campaign)
        assert bare.ledger(campaign) == {odd: "render_error" if points is None else "sent", plain: "sent"}
        if points is None:
            assert "The balance of one member cannot be read" in told[0]["w"]
            details = bare.rows(
                "select detail from passbell.deliveries where reason = 'render_error' and campaign_id = %s",
                [campaign],
            )
            assert [row["detail"] for row in details] == ["The member's balance cannot be read."]


def test_a2_a_greeting_tells_nobody_a_balance_that_cannot_be_read(bare: Shop) -> None:
    """Whose points cannot be read gets no greeting that says 0, and none is noted as sent; the other one is greeted."""
    bare.conn.execute("drop trigger keep_spend_tier on passes_master")
    bare.conn.execute(
        "alter table passes_master alter points_balance drop default, alter points_balance type text"
    )
    club = bare.program(
        birthday_bot_enabled=True, birthday_reward_points=0, birthday_message="{points} points to spend"
    )
    born: Any = {"birth_date": "1990-05-05"}
    odd, plain = (bare.member(club, user=born, points_balance=value) for value in ("1,315", "7"))
    migrate(bare.url)
    bare.clock("2026-05-05 14:00+00")
    bare.rows("select * from run_birthdays(%s, '2026-05-05')", [club])
    noted = bare.rows("select pass_id, message_sent from birthday_logs")
    assert {row["pass_id"]: row["message_sent"] for row in noted} == {odd: None, plain: "7 points to spend"}
    (campaign,) = bare.rows("select id from push_campaigns where kind = 'BIRTHDAY'")
    bare.send_chunks()
    assert bare.ledger(campaign["id"]) == {odd: "render_error", plain: "sent"}


def test_c9_birth_dates_and_answers_as_text(bare: Shop) -> None:
    """Case 04: an ISO date is a date, a no is a no in many words, and an unreadable value is no answer."""
    bare.conn.execute("alter table users alter birth_date type text")
    bare.conn.execute(
        "alter table users alter marketing_opt_in drop default, alter marketing_opt_in type text using 'subscribed'"
    )
    club = bare.program(birthday_bot_enabled=True)
    people = {
        "subscribed": True,
        "yes": True,
        "no": False,
        "FALSE": False,
        "0": False,
        " unsubscribed ": False,
        "Opted out": False,
        "cleaned": False,
        "perhaps": True,
        None: True,
    }
    for answer, opted_in in people.items():
        member = bare.member(club, user={"marketing_opt_in": answer, "birth_date": "1990-02-30"})
        migrate(bare.url) if answer == "subscribed" else None
        row = bare.row(MEMBER, [member])
        assert (row["opted_in"], row["birth_date"]) == (opted_in, None), answer
    born = bare.member(club, user={"birth_date": "1990-05-05", "marketing_opt_in": None})
    assert bare.rows("select pass_id from get_birthdays_today(null, '2026-05-05')") == [{"pass_id": born}]
    plan = bare.rows("explain select from passbell.recipients where extract(month from birth_date) = 5")
    assert plan


def test_c9_views_instead_of_tables(bare: Shop) -> None:
    """A host whose users and programs are views is read through them, and nothing is added to them."""
    bare.conn.execute("alter table users rename to people")
    bare.conn.execute("create view users as select * from people")
    bare.conn.execute("alter table transactions rename to bookings")
    bare.conn.execute("create view transactions as select * from bookings")
    for _ in range(2):
        migrate(bare.url)
    club = bare.program()
    out = bare.member(club, user={"marketing_opt_in": False})
    into = bare.member(club, user={})
    campaign = bare.campaign(club)
    bare.send(campaign)
    assert bare.ledger(campaign) == {into: "sent"}
    assert bare.row(MEMBER, [out])["opted_in"] is False


@pytest.mark.parametrize(("consent", "reached"), [("OPT_OUT", 2), ("OPT_IN", 1), ("opt_in", None)])
def test_no_answer_is_a_no_where_the_program_wants_a_yes(
    present: Shop, consent: str, reached: int | None
) -> None:
    """push_consent OPT_IN: only an explicit yes is reached, whether the others never answered or have no row."""
    club, other = present.program(), present.program("Other")
    present.member(club, user={"marketing_opt_in": True})
    present.member(club)
    present.member(club, user={"marketing_opt_in": False})
    present.member(other, user={"marketing_opt_in": None})
    change = "update programs set push_consent = %s where id = %s"
    if reached is None:
        with pytest.raises(psycopg.errors.CheckViolation):
            present.conn.execute(change, [consent, club])
        return
    present.conn.execute(change, [consent, club])
    assert present.value("select reachable from push_preview(%s)", [club]) == reached
    assert present.value("select reachable from push_preview(%s)", [other]) == 1


# ── B5: opt-outs that cannot be read ────────────────────────────


def test_b5_a_renamed_column_is_found_and_nothing_is_sent(present: Shop) -> None:
    """Case 16: migrate names column and remedy and adds none; campaigns wait and say so; then all goes on."""
    club = present.program()
    member = present.member(club, user={})
    present.conn.execute("alter table users rename column marketing_opt_in to accepts_marketing")
    before = schemas(present)
    with pytest.raises(
        PassbellError, match=r"marketing_opt_in.*is now called accepts_marketing.*rename column"
    ):
        migrate(present.url)
    assert schemas(present) == before
    campaign = present.campaign(club)
    assert present.claim() is None
    present.conn.execute("select passbell.explain_waiting()")
    assert "accepts_marketing" in present.order(campaign)["status_detail"]
    with pytest.raises(psycopg.Error, match="Opt-outs cannot be read"):
        present.row("select * from push_preview(%s)", [club])
    present.conn.execute("alter table users rename column accepts_marketing to marketing_opt_in")
    present.conn.execute("select passbell.explain_waiting()")
    present.send(campaign)
    assert present.ledger(campaign) == {member: "sent"}


def test_b5_a_campaign_in_the_middle_waits_as_well(present: Shop) -> None:
    """If the opt-out column goes while a campaign is half sent, the rest is not handed out."""
    club = present.program()
    present.member(club, user={})
    campaign = present.campaign(club)
    present.start(campaign)
    present.conn.execute("alter table users rename column marketing_opt_in to accepts_marketing")
    present.conn.execute("select passbell.explain_waiting()")
    assert present.rows("select * from passbell.claim_chunk(%s)", [uuid4()]) == []
    assert present.order(campaign)["status_detail"].startswith("Waiting: Opt-outs cannot be read")


def test_b5_a_generated_column_keeps_both_names(present: Shop) -> None:
    """The other remedy that migrate names works: the old name as a generated column."""
    club = present.program()
    member = present.member(club, user={})
    present.conn.execute("alter table users rename column marketing_opt_in to accepts_marketing")
    present.conn.execute(
        "alter table users add column marketing_opt_in boolean generated always as (accepts_marketing) stored"
    )
    migrate(present.url)
    present.conn.execute("update users set accepts_marketing = false")
    assert present.row(MEMBER, [member])["opted_in"] is False


def test_b5_row_security_that_hides_members_from_the_owner(bare: Shop) -> None:
    """Case 15: FORCE ROW LEVEL SECURITY beside a plain owner is found by preview and at every turn of the daemon."""
    owner = f"owner_{uuid4().hex[:12]}"
    name = urlsplit(bare.url).path[1:]
    tables = [
        row["name"]
        for row in bare.rows(
            "select oid::regclass::text as name from pg_class"
            " where relnamespace = 'public'::regnamespace and relkind = 'r'"
        )
    ]
    for statement in (
        f"create role {owner} login password 'x'",
        f"alter database {name} owner to {owner}",
        f"alter schema public owner to {owner}",
        f"grant all on all tables in schema public to {owner}",
        *(f"alter table {table} owner to {owner}" for table in tables),
    ):
        bare.conn.execute(statement)  # type: ignore[arg-type]
    url = urlsplit(bare.url)
    plain = url._replace(netloc=f"{owner}:x@{url.hostname}:{url.port}").geturl()
    try:
        migrate(plain)
        club = bare.program()
        bare.member(club, user={"marketing_opt_in": False})
        bare.conn.execute('drop policy "people of one\'s programs" on users')
        bare.conn.execute("alter table users force row level security")
        assert bare.claim() is None
        with pytest.raises(psycopg.Error, match=r"row security on public\.users hides members"):
            bare.row("select * from push_preview(%s)", [club])
        bare.conn.execute("alter table users no force row level security")
        assert bare.value("select opted_out from push_preview(%s)", [club]) == 1
    finally:
        bare.conn.execute(f"reassign owned by {owner} to current_user")  # type: ignore[arg-type]
        bare.conn.execute(f"drop owned by {owner}")  # type: ignore[arg-type]
        bare.conn.execute(f"drop role {owner}")  # type: ignore[arg-type]


# ── C8: other layouts of push_campaigns ─────────────────────────

SECOND = """
create table push_campaigns (
    id uuid primary key default gen_random_uuid(), program_id uuid references programs (id), name text not null,
    message text not null, status text default 'draft' check (status in ('draft', 'PENDING', 'sent')),
    recipient_count int default 0, created_at timestamptz default now())
"""


def test_c8_the_owners_second_layout_works_under_both_names(bare: Shop) -> None:
    """`message` and message_text say the same, whichever a form fills in; the older CHECK is dropped with a warning."""
    bare.conn.execute(SECOND)
    club = bare.program()
    member = bare.member(club)
    bare.conn.execute(
        "insert into push_campaigns (program_id, name, message, status) values (%s, 'Old', 'Before', 'sent')",
        [club],
    )
    report = migrate(bare.url)
    assert any("push_campaigns_status_check" in warning for warning in report.warnings)
    assert migrate(bare.url).warnings == ()
    assert bare.value("select message_text from push_campaigns where name = 'Old'") == "Before"
    form = bare.value(
        "insert into push_campaigns (program_id, name, message, status)"
        " values (%s, 'Form', 'Hello', 'PENDING') returning id",
        [club],
    )
    assert bare.send(form)["status"] == "COMPLETED"
    assert bare.ledger(form) == {member: "sent"}
    ours = bare.value("select push_send(%s, 'Hello from us')", [club])
    assert bare.order(ours)["message"] == "Hello from us"
    bare.conn.execute("update push_campaigns set message = 'Changed' where id = %s", [ours])
    assert bare.order(ours)["message_text"] == "Changed"


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            (
                "create table push_campaigns (id uuid, created_at timestamptz, primary key (id, created_at))"
                " partition by range (created_at)"
            ),
            "is a partitioned table.*rename it",
        ),
        (
            (
                "create table push_campaigns (id uuid);"
                " insert into push_campaigns select '7f0c0de0-0000-4000-8000-000000000001' from generate_series(1, 2)"
            ),
            "7f0c0de0-0000-4000-8000-000000000001 stands in 2 rows.*primary key",
        ),
    ],
)
def test_c8_a_table_without_one_row_per_id_is_refused(bare: Shop, statements: str, words: str) -> None:
    """Partitioned tables and doubled ids are refused with the remedy, before anything is changed."""
    bare.conn.execute(statements)  # type: ignore[arg-type]
    with pytest.raises(PassbellError, match=words) as refused:
        migrate(bare.url)
    assert "Nothing was changed" in str(refused.value)
    assert bare.value("select to_regnamespace('passbell')") is None


def test_c8_a_table_whose_ids_came_from_elsewhere(bare: Shop) -> None:
    """No default on id, as where the owner's program made them: an order without an id gets one."""
    bare.conn.execute(
        "create table push_campaigns (id uuid primary key, program_id uuid, message text not null)"
    )
    migrate(bare.url)
    program = bare.program()
    bare.member(program)
    campaign = bare.value("select push_send(%s, 'Hello')", [program])
    assert bare.send(campaign)["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            "id bigserial primary key, program_id uuid, message_text text",
            "id is bigint.*rename to push_campaigns_old",
        ),
        ("id uuid primary key, program_id text, message_text text", "program_id is text.*rename"),
        (
            "id uuid primary key, program_id uuid, message_text text, status pg_lsn",
            "status is pg_lsn.*type text using",
        ),
        (
            "id uuid primary key, program_id uuid, message_text text, title text not null",
            "title must be filled in.*drop not null",
        ),
        ("id uuid primary key, program_id uuid, sent_count text", "sent_count is text.*type integer"),
        (
            "id uuid primary key, a text, message_text text generated always as (a) stored",
            "message_text is a generated",
        ),
    ],
)
def test_c8_what_cannot_be_mapped_is_refused_before_anything_changes(
    bare: Shop, table: str, words: str
) -> None:
    """Case 19: column, reason and remedy, and never "run passbell migrate"."""
    bare.conn.execute(f"create table push_campaigns ({table})")  # type: ignore[arg-type]
    before = schemas(bare)
    with pytest.raises(PassbellError, match=words) as refused:
        migrate(bare.url)
    assert "Nothing was changed" in str(refused.value)
    assert "run `passbell migrate`" not in str(refused.value)
    assert schemas(bare) == before
    assert bare.value("select to_regnamespace('passbell')") is None


# ── case 18 ─────────────────────────────────────────────────────


def test_migrate_waits_in_short_tries_so_that_readers_pass(bare: Shop) -> None:
    """While an open transaction holds programs, others go on reading it beside the migration that waits."""
    failed: list[BaseException] = []

    def install() -> None:
        try:
            migrate(bare.url)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            failed.append(error)

    with psycopg.connect(bare.url) as holder:
        holder.execute("select from programs")
        migration = threading.Thread(target=install)
        migration.start()
        waiting = "select exists (select from pg_locks where relation = 'programs'::regclass and not granted)"
        wait_until(lambda: bare.value(waiting), "the migration wants the table")
        bare.conn.execute("set statement_timeout = '5s'")
        for _ in range(3):
            bare.rows("select * from programs")
    migration.join(60)
    assert failed == []
    assert bare.value("select schema_version from passbell.settings") > 0
