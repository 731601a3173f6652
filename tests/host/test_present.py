"""The platform as it is today: row security of its own, an award function that always raises, a sync that dates all."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from passbell.database.migrate import migrate
from support.processes import Command
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

FIRST = "select process_membership_transaction(%s, 'MEMBER_EARN', 5)"
TWIN = "select process_membership_transaction_atomic(%s, 'MEMBER_EARN', 5)"
BIRTHDAY = "(now() at time zone 'America/New_York')::date - interval '28 years'"


@pytest.fixture
def shop(database: MakeDatabase) -> Iterator[Shop]:
    """A shop on the platform's present tables, with Supabase around them."""
    made = Shop(database("4", supabase=True), "4")
    yield made
    made.close()


def celebrate(shop: Shop, count: int) -> tuple[UUID, list[UUID]]:
    """A program with as many members whose birthday is today."""
    club = shop.program(birthday_bot_enabled=True, birthday_reward_points=50)
    members = [shop.member(club, user={"first_name": "Ada"}, points=1) for _ in range(count)]
    shop.conn.execute(f"update users set birth_date = {BIRTHDAY}")  # type: ignore[arg-type]  # noqa: S608
    return club, members


# ── the stand-in itself ─────────────────────────────────────────


def test_the_first_award_function_raises_and_its_twin_works(shop: Shop) -> None:
    """As migration 015 of the platform leaves it; an earning dates no member, the sync dates all of them."""
    club = shop.program()
    pass_id = shop.member(club, points=1, external_id="M-1", last_updated="2026-01-01")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        shop.value(FIRST, ["M-1"])
    assert shop.value(TWIN, ["M-1"])["new_balance"] == 6
    dated = "select last_updated::date::text from passes_master where id = %s"
    assert shop.value(dated, [pass_id]) == "2026-01-01"
    shop.value("select sync_membership_pass(%s, %s, 'M-1', 'INSTALLED', 9)", [club, "p" * 22])
    assert shop.value(dated, [pass_id]) != "2026-01-01"
    assert shop.rows("select * from protocol_membership") == []


# ── C3: the award function that works ───────────────────────────


def test_c3_all_gifts_are_given_and_the_command_says_so(shop: Shop) -> None:
    """Six birthdays, six gifts, exit 0; `check` names the function that is used and the one that is broken."""
    club, members = celebrate(shop, 6)
    migrate(shop.url)
    with Command("birthdays", settings={"PASSBELL_DATABASE_URL": shop.url}) as command:
        assert command.wait() == 0, command.output
    points = "select points from passbell.recipients where program_id = %s"
    assert [row["points"] for row in shop.rows(points, [club])] == [51] * 6
    assert shop.value("select count(*) from passbell.awards where pass_id = any (%s)", [members]) == 6
    before = shop.rows("select * from transactions order by id")
    with Command("check", settings={"PASSBELL_DATABASE_URL": shop.url}) as command:
        command.wait()
        assert "process_membership_transaction_atomic(text,text,integer,numeric) works" in command.output
        assert "process_membership_transaction(text,text,integer,numeric) is broken" in command.output
    assert shop.rows("select * from transactions order by id") == before


def test_c3_with_nobody_to_try_it_on_the_twin_answers_at_the_first_gift(shop: Shop) -> None:
    """On an empty platform no award function can be tried; one that does not work is passed over at the first gift."""
    _, members = celebrate(shop, 2)
    for pass_id in members:
        assert shop.value("select passbell.award_points(%s, 50, 'Birthday')", [pass_id]) == 51


def test_c3_where_no_function_works_check_fails(shop: Shop) -> None:
    """Without the twin every gift fails: `check` says why before the first birthday, the command ends with 1."""
    celebrate(shop, 1)
    shop.conn.execute("drop function process_membership_transaction_atomic(text, text, integer, numeric)")
    migrate(shop.url)
    trial = shop.row("select works, detail from passbell.award_trial()")
    assert trial["works"] is False
    assert "program_id" in trial["detail"]
    with Command("birthdays", settings={"PASSBELL_DATABASE_URL": shop.url}) as command:
        assert command.wait() == 1
        assert "program_id" in command.output


# ── C4: users that the platform's own row security lets in ────────────


def user(shop: Shop) -> UUID:
    found: UUID = shop.value(
        "insert into auth.users (id, email) values (gen_random_uuid(), gen_random_uuid() || '@example.com')"
        " returning id"
    )
    return found


def acting(shop: Shop, who: UUID | None) -> psycopg.Connection[Any]:
    """A connection as Supabase's API makes it for a signed-in person."""
    conn = psycopg.connect(shop.url, autocommit=True)
    conn.execute("select set_config('request.jwt.claims', %s, false)", [f'{{"sub": "{who or uuid4()}"}}'])
    conn.execute("set role authenticated")
    return conn


def test_c4_passbell_grants_what_the_platform_grants(shop: Shop) -> None:
    """A tenant of several programs, an administrator of one, a SUPER_ADMIN without a program, and a stranger."""
    tenant, admin, root, both = user(shop), user(shop), user(shop), user(shop)
    programs = [
        shop.program("North", tenant_id=tenant),
        shop.program("South", tenant_id=tenant),
        shop.program("East"),
        shop.program("West", tenant_id=both),
    ]
    for program in programs:
        shop.members(program, 2)
    profiles = [
        (admin, programs[2], "CLIENT_ADMIN"),
        (root, None, "SUPER_ADMIN"),
        (both, programs[2], "CLIENT_ADMIN"),
    ]
    for profile in profiles:
        shop.conn.execute("insert into admin_profiles (id, program_id, role) values (%s, %s, %s)", profile)
    expected = {tenant: {0, 1}, admin: {2}, root: {0, 1, 2, 3}, both: {2, 3}, None: set()}
    for who, numbers in expected.items():
        with acting(shop, who) as conn:
            seen = {row[0] for row in conn.execute("select id from programs")}
            assert seen == {programs[n] for n in numbers}
            for program in programs:
                order = "insert into push_campaigns (program_id, message_text) values (%s, 'Hi') returning id"
                if program in seen:
                    assert conn.execute("select push_send(%s, 'Hello')", [program]).fetchone()
                    assert conn.execute(order, [program]).fetchone()
                else:
                    for call in ("select push_send(%s, 'Hello')", order):
                        with pytest.raises(psycopg.Error) as refused:
                            conn.execute(call, [program])
                        assert refused.value.sqlstate in {"PB403", "42501"}
            mine = {row[0] for row in conn.execute("select distinct program_id from push_campaigns")}
            assert mine == seen


def test_c4_an_administrator_without_a_program_sees_nothing(shop: Shop) -> None:
    """Only the role SUPER_ADMIN opens all programs; an empty program alone does not."""
    lost = user(shop)
    program = shop.program("North")
    shop.conn.execute("insert into admin_profiles (id, role) values (%s, 'CLIENT_ADMIN')", [lost])
    with acting(shop, lost) as conn, pytest.raises(psycopg.Error, match="not an administrator"):
        conn.execute("select push_send(%s, 'Hello')", [program])


# ── C5, C6 ──────────────────────────────────────────────────────


def test_c5_tiers_follow_the_balance(shop: Shop) -> None:
    """Members of the platform's sync have no row in protocol_membership: VIP and TIER count their points."""
    club = shop.program()
    for number, points in enumerate((10, 1_500, 6_000, 20_000)):
        shop.value(
            "select sync_membership_pass(%s, %s, %s, 'INSTALLED', %s)",
            [club, f"{number:022d}", f"M-{number}", points],
        )
    counts = [
        shop.value("select matched from push_preview(%s, %s)", [club, target])
        for target in ("VIP", "TIER:1", "TIER:2", "TIER:3", "TIER:4")
    ]
    assert counts == [3, 1, 1, 1, 1]


def test_c5_members_with_and_without_a_row_stand_side_by_side(shop: Shop) -> None:
    """Where protocol_membership knows tier points they count, whatever the balance; elsewhere the balance does."""
    club = shop.program()
    for number, (balance, tier_points) in enumerate(
        ((10, 6_000), (9_000, 20), (1_500, None), (20_000, None))
    ):
        pass_id = shop.value(
            "select sync_membership_pass(%s, %s, %s, 'INSTALLED', %s)",
            [club, f"{number:022d}", f"M-{number}", balance],
        )
        if tier_points is not None:
            shop.conn.execute(
                "insert into protocol_membership (pass_id, points_balance, tier_points)"
                " select id, %s, %s from passes_master where external_id = %s",
                [balance, tier_points, f"M-{number}"],
            )
        assert pass_id is not None
    reached = {
        target: shop.value(
            "select array_agg(external_id order by external_id) from passbell.sample_messages(%s, 'Hi', %s)",
            [club, target],
        )
        for target in (
            "TIER:1",
            "TIER:2",
            "TIER:3",
            "TIER:4",
            "VIP",
            "TIER_GOLD & WHALE",
            "tier_silver&WHALE",
        )
    }
    assert reached == {
        "TIER:1": ["M-1"],
        "TIER:2": ["M-2"],
        "TIER:3": ["M-0"],
        "TIER:4": ["M-3"],
        "VIP": ["M-0", "M-2", "M-3"],
        "TIER_GOLD & WHALE": None,  # C7: the platform's names intersect as ours do; M-0 has a balance of 10
        "tier_silver&WHALE": ["M-2"],
    }


def test_c6_a_sync_run_does_not_empty_slumber(shop: Shop) -> None:
    """The sync dates every member; who earned in March is still away, who earned a minute ago is not."""
    club = shop.program()
    for number in range(4):
        shop.member(club, external_id=f"M-{number}", last_updated="2026-01-01")
        shop.value("select process_membership_transaction_atomic(%s, 'MEMBER_EARN', 5)", [f"M-{number}"])
    shop.conn.execute("update transactions set created_at = now() - interval '40 days'")
    shop.value("select process_membership_transaction_atomic('M-0', 'MEMBER_REDEEM', 2)")
    for number in range(4):
        shop.value(
            "select sync_membership_pass(%s, %s, %s, 'INSTALLED', 5)", [club, f"{number:022d}", f"M-{number}"]
        )
    assert shop.value("select matched from push_preview(%s, 'SLUMBER')", [club]) == 3


# ── C9: the database's own ways ─────────────────────────────────


def test_c9_dates_in_another_style(shop: Shop) -> None:
    """Case 03: a database that writes dates as 31/12/2026 is read all the same."""
    club = shop.program("Cafe", birthday_bot_enabled=True)
    shop.member(club, user={"birth_date": "1990-05-13"})
    campaign = shop.campaign(club)
    name = shop.value("select quote_ident(current_database())")
    shop.conn.execute(f"alter database {name} set datestyle = 'SQL, DMY'")
    settings = {"PASSBELL_DATABASE_URL": shop.url}
    with Command("status", str(campaign), "--json", settings=settings) as command:
        assert command.wait() == 0, command.output
        ordered = datetime.fromisoformat(json.loads(command.output)["created_at"])
    assert ordered == shop.order(campaign)["created_at"]
    with Command("birthdays", "--dry-run", "--on", "2026-05-13", "--json", settings=settings) as command:
        assert command.wait() == 0, command.output
        assert "1990-05-13" in command.output, command.output


def test_c5_check_says_where_points_tiers_and_activity_come_from(shop: Shop) -> None:
    """`check` says where points, tiers and activity come from, and for how many members they are unknown."""
    club = shop.program()
    for number in range(3):
        shop.member(club, external_id=f"M-{number}", points_balance=5)
    shop.value("select process_membership_transaction_atomic('M-1', 'MEMBER_EARN', 5)")
    shop.conn.execute("update passes_master set points_balance = null where external_id = 'M-2'")
    found = {
        row.pop("what"): row
        for row in shop.rows(
            "select what, members, instead, missing, unreadable from passbell.host_sources()"
        )
    }
    none = {"members": 3, "instead": 0, "missing": 0, "unreadable": 0}
    assert found == {
        "points": {**none, "missing": 1},
        "tier points": {**none, "instead": 3, "missing": 1},
        "last activity": {**none, "instead": 2},
    }
    with Command("check", settings={"PASSBELL_DATABASE_URL": shop.url}) as command:
        command.wait()
        assert "points of 3 members: passes_master.points_balance; unknown for 1" in command.output
        assert "3 have no row in protocol_membership: the balance counts" in command.output


def test_c9_values_that_cannot_be_read_are_counted(database: MakeDatabase) -> None:
    """A text that is neither yes nor no is counted as unreadable, not guessed."""
    shop = Shop(database("2", migrated=False), "2")
    try:
        shop.conn.execute(
            "alter table users alter marketing_opt_in drop default, alter marketing_opt_in type text using 'yes'"
        )
        club = shop.program()
        for answer in ("perhaps", "no", "ask again", None):
            shop.member(club, user={"marketing_opt_in": answer})
        migrate(shop.url)
        query = "select source, members, unreadable from passbell.host_sources() where what = 'unreadable'"
        assert shop.rows(query) == [{"source": "users.marketing_opt_in", "members": 3, "unreadable": 2}]
    finally:
        shop.close()


def test_c11_softrs_login_edits_birthdays_through_the_view_of_its_program(shop: Shop) -> None:
    """docs/howto/softr.md: the platform's own table refuses the login, the view of its program serves it."""
    page = (Path(__file__).parents[2] / "docs/howto/softr.md").read_text("utf-8")
    recipe = page[page.index("create view softr_programs as") :].partition("```")[0]
    club, other = shop.program("Club"), shop.program("Other")
    shop.conn.execute("create role softr_c11 login")
    try:
        shop.conn.execute("grant select, update on programs to softr_c11")
        shop.conn.execute(recipe.replace("<program>", str(club)).replace("to softr;", "to softr_c11;"))
        shop.conn.execute("set role softr_c11")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="admin_profiles"):
            shop.conn.execute("update programs set birthday_reward_points = 60 where id = %s", [club])
        changed = (
            "update softr_programs set birthday_bot_enabled = true, birthday_reward_points = 60 where id = %s"
        )
        assert [shop.conn.execute(changed, [one]).rowcount for one in (club, other)] == [1, 0]
        shop.conn.execute("reset role")
        assert shop.value("select birthday_reward_points from programs where id = %s", [club]) == 60
    finally:
        shop.conn.execute("reset role")
        shop.conn.execute("drop owned by softr_c11")
        shop.conn.execute("drop role softr_c11")
