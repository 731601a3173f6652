"""The stand-in of the host's tables behaves as the host does, in each of its generations."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from passbell.database.bundle import sql_root
from passbell.devkit.demo.members import populate
from support.databases import load_host

if TYPE_CHECKING:
    from conftest import MakeDatabase
    from support.databases import Generation


def call(conn: psycopg.Connection[Any], function: str, *arguments: object) -> dict[str, Any]:
    marks = ", ".join(["%s"] * len(arguments))
    row = conn.execute(f"select public.{function}({marks})", arguments).fetchone()  # type: ignore[arg-type]
    assert row is not None
    answer: dict[str, Any] = row[0]
    return answer


def member(conn: psycopg.Connection[Any]) -> tuple[UUID, str]:
    row = conn.execute(
        "select p.id, p.external_id from passes_master p join protocol_membership m on m.pass_id = p.id"
        " order by p.external_id limit 1"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def balance(conn: psycopg.Connection[Any], generation: str, pass_id: UUID) -> int:
    query = (
        "select points_balance from protocol_membership where pass_id = %s"
        if generation.startswith("1")
        else "select points_balance from passes_master where id = %s"
    )
    row = conn.execute(query, [pass_id]).fetchone()
    assert row is not None
    amount: int = row[0]
    return amount


@pytest.fixture(params=["1", "1_bare", "2", "3"])
def any_generation(request: pytest.FixtureRequest) -> Generation:
    value: Generation = request.param
    return value


def test_points_move_and_the_member_becomes_active(
    database: MakeDatabase, any_generation: Generation
) -> None:
    """Earning points raises the balance that counts, dates the activity and leaves a transaction."""
    with psycopg.connect(database(any_generation, migrated=False), autocommit=True) as conn:
        populate(conn, any_generation, passes=50)
        pass_id, external_id = member(conn)
        before = balance(conn, any_generation, pass_id)
        conn.execute("update passes_master set last_updated = '2020-01-01' where id = %s", [pass_id])

        answer = call(conn, "process_membership_transaction", external_id, "MEMBER_EARN", 25)

        assert answer["success"] is True
        assert (answer["previous_balance"], answer["new_balance"]) == (before, before + 25)
        assert balance(conn, any_generation, pass_id) == before + 25
        assert conn.execute(
            "select value_change, action_type::text from transactions where id = %s",
            [answer["transaction_id"]],
        ).fetchone() == (25, "MEMBER_EARN")
        assert conn.execute(
            "select last_updated > now() - interval '1 minute' from passes_master where id = %s", [pass_id]
        ).fetchone() == (True,)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (("nobody", "MEMBER_EARN", 5), "Pass not found"),
        ((None, "MEMBER_EARN", 0), "INVALID_AMOUNT"),
        ((None, "MEMBER_EARN", -5), "INVALID_AMOUNT"),
        ((None, "MEMBER_EARN", None), "INVALID_AMOUNT"),
        ((None, "DANCE", 5), "Unknown action"),
    ],
)
def test_a_refusal_is_returned_not_raised(
    database: MakeDatabase,
    generation: Generation,
    order: tuple[str | None, str, int | None],
    error: str,
) -> None:
    """The platform's award function returns a refusal instead of raising it, and gives no points."""
    with psycopg.connect(database(generation, migrated=False), autocommit=True) as conn:
        populate(conn, generation, passes=50)
        external_id, action, amount = order
        answer = call(conn, "process_membership_transaction", external_id or member(conn)[1], action, amount)
        assert answer == {"success": False, "error": error}
        assert conn.execute("select count(*) from transactions").fetchone() == (0,)


@pytest.mark.parametrize("suspending", ["2", "3"])
def test_a_suspended_program_gives_no_points(database: MakeDatabase, suspending: Generation) -> None:
    """The kill switch of the platform also stops points."""
    with psycopg.connect(database(suspending, migrated=False), autocommit=True) as conn:
        populate(conn, suspending, passes=50)
        conn.execute("update programs set is_suspended = true")
        answer = call(conn, "process_membership_transaction", member(conn)[1], "MEMBER_EARN", 5)
        assert answer == {"success": False, "error": "Program is suspended"}


def test_generation_3_has_an_atomic_twin_that_takes_the_bill(database: MakeDatabase) -> None:
    """Both spellings of generation 3 take the amount of the bill as a fourth argument."""
    with psycopg.connect(database("3", migrated=False), autocommit=True) as conn:
        populate(conn, "3", passes=50)
        external_id = member(conn)[1]
        twin = call(
            conn, "process_membership_transaction_atomic", external_id, "MEMBER_EARN", 5, Decimal("12.5")
        )
        first = call(conn, "process_membership_transaction", external_id, "MEMBER_EARN", 5, Decimal("12.5"))
        assert twin["success"] is first["success"] is True
        assert first["previous_balance"] == twin["new_balance"]


def test_the_legacy_signature_works_on_every_generation(
    database: MakeDatabase, generation: Generation
) -> None:
    """The five-argument spelling finds the balance wherever this generation keeps it."""
    with psycopg.connect(database(generation, migrated=False), autocommit=True) as conn:
        populate(conn, generation, passes=50)
        conn.execute((sql_root() / "host" / "legacy_transaction.sql").read_bytes())
        pass_id, _ = member(conn)
        before = balance(conn, generation, pass_id)

        answer = call(conn, "process_membership_transaction", pass_id, "EARN", 7, "birthday", "{}")

        assert answer["new_balance"] == balance(conn, generation, pass_id) == before + 7
        assert (
            call(conn, "process_membership_transaction", uuid4(), "EARN", 7, "", "{}")["error"]
            == "Pass not found"
        )
        assert (
            call(conn, "process_membership_transaction", pass_id, "EARN", 0, "", "{}")["error"]
            == "INVALID_AMOUNT"
        )


def test_supabase_may_be_put_around_every_generation_twice(
    database: MakeDatabase, any_generation: Generation
) -> None:
    """The stand-in of Supabase loads around every generation, and a second load changes nothing."""
    url = database(any_generation, supabase="legacy", migrated=False)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute((sql_root() / "host" / "supabase.sql").read_bytes())
        assert conn.execute(
            "select rolbypassrls from pg_roles where rolname = 'service_role'"
        ).fetchone() == (True,)
        assert conn.execute("select extensions.uuid_generate_v4() is not null").fetchone() == (True,)


@pytest.mark.parametrize("setting", ["request.jwt.claims", "request.jwt.claim.sub"])
def test_an_administrator_sees_only_the_audit_rows_of_their_program(
    database: MakeDatabase, setting: str
) -> None:
    """Supabase's row security follows admin_profiles, whichever way the token is passed."""
    with psycopg.connect(database("1", supabase=True, migrated=False)) as conn:
        programs = list(populate(conn, "1", passes=50).values())
        admin = uuid4()
        conn.execute("insert into auth.users (id, email) values (%s, 'admin@example.com')", [admin])
        conn.execute("insert into admin_profiles (id, program_id) values (%s, %s)", [admin, programs[0]])
        for program in programs:
            conn.execute(
                "insert into notification_logs (program_id, campaign_name) values (%s, 'x')", [program]
            )
        claim = str(admin) if setting.endswith("sub") else f'{{"sub": "{admin}"}}'
        conn.execute("select set_config(%s, %s, true)", [setting, claim])
        conn.execute("set local role authenticated")
        assert conn.execute("select program_id from notification_logs").fetchall() == [(programs[0],)]


def test_plain_postgresql_has_neither_host_nor_supabase(database: MakeDatabase) -> None:
    """An empty database is empty: no host tables, no Supabase schemas."""
    with psycopg.connect(database("empty", migrated=False)) as conn:
        assert conn.execute(
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)
        assert conn.execute("select to_regnamespace('auth'), to_regnamespace('extensions')").fetchone() == (
            None,
            None,
        )


def test_a_host_file_is_complete_by_itself(database: MakeDatabase, any_generation: Generation) -> None:
    """Each generation's file loads into an empty database with nothing before it."""
    url = database("empty", migrated=False)
    load_host(url, any_generation)
    with psycopg.connect(url) as conn:
        assert conn.execute("select count(*) from passes_master").fetchone() == (0,)
