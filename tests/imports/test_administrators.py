"""What a program's administrator can do with an import: everything to their own members, nothing to anybody else's.

`users` is one table for all programs of the platform, found by e-mail address, so a file could name anybody.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from passbell.database.imports import HeldImport, apply_import, read_file, stage_members
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import psycopg

    from conftest import MakeDatabase
    from support.shop import Row

URL = "https://example.com/members.csv"
INSERT = "insert into member_imports (program_id, csv_upload_url) values (%s, %s) returning id"
TAKEN = (
    "this address belongs to somebody who is not a member of this program;"
    " only the platform's operator may import it"
)
SHARED = "this member is in another program too: only passes were linked, no value was changed"


@pytest.fixture(params=["2", "3"], ids=lambda value: f"generation{value}")
def tenants(request: pytest.FixtureRequest, database: MakeDatabase) -> Iterator[Tenants]:
    made = Tenants(database(request.param, supabase=True), request.param)
    yield made
    made.close()


def work(tenants: Tenants, text: str) -> Row:
    """What a daemon does with the one import that waits, the file being `text`; its row afterwards."""
    claimed = tenants.row("select * from passbell.claim_import(%s)", [tenants.worker])
    held = HeldImport(
        *(claimed[name] for name in ("import_id", "claim_token", "region", "date_order", "today"))
    )
    with tenants.conn.transaction():
        stage_members(tenants.conn, held, read_file(held, io.BytesIO(text.encode())))
    return apply_import(tenants.conn, held)


def by_admin(tenants: Tenants, text: str) -> Row:
    """The same for a new import of program A's administrator."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        conn.execute(INSERT, [tenants.a, URL])
    return work(tenants, text)


def told(tenants: Tenants, done: Row) -> list[tuple[str, str | None]]:
    """Result and reason of every row."""
    query = "select result, reason from member_import_rows where import_id = %s order by row_number"
    return [(row["result"], row["reason"]) for row in tenants.rows(query, [done["id"]])]


def user(tenants: Tenants, email: str) -> Row:
    return tenants.row("select * from users where email = %s", [email])


def owner_of(tenants: Tenants, pass_id: UUID) -> UUID | None:
    found: UUID | None = tenants.value("select user_id from passes_master where id = %s", [pass_id])
    return found


def test_their_own_members_and_new_ones(tenants: Tenants) -> None:
    """An administrator's import creates new members and changes own ones; the same file again changes nothing."""
    tenants.member(tenants.a, user={"email": "ann@a.example", "city": "Rome"})
    loose = tenants.member(tenants.a, external_id="LOOSE")
    text = "email,city,member_id\nann@a.example,Oslo,\nnew@a.example,Bern,\nbo@a.example,Paris,LOOSE\n"
    done = by_admin(tenants, text)
    assert done["restricted"] is True
    assert told(tenants, done) == [("updated", None), ("created", None), ("created", None)]
    assert (user(tenants, "ann@a.example")["city"], user(tenants, "new@a.example")["city"]) == (
        "Oslo",
        "Bern",
    )
    assert owner_of(tenants, loose) == user(tenants, "bo@a.example")["id"]
    assert told(tenants, by_admin(tenants, text)) == [("unchanged", None)] * 3
    # A member that their own import made, without a pass so far, stays theirs to correct.
    assert told(tenants, by_admin(tenants, "email,city\nnew@a.example,Basel\n")) == [("updated", None)]


@pytest.mark.parametrize("spelling", ["vic@b.example", " VIC@B.example "])
def test_members_of_another_program_are_out_of_reach(tenants: Tenants, spelling: str) -> None:
    """An address of B's member changes nothing and links nothing, however it is spelt; the row says so."""
    tenants.member(tenants.b, user={"email": "vic@b.example", "first_name": "Vic", "marketing_opt_in": False})
    mine = tenants.member(tenants.a, external_id="MINE")
    before = tenants.rows("select * from users order by id")
    text = f"email,first_name,newsletter,birthday,member_id\n{spelling},Mallory,yes,1990-05-06,{{}}\n"
    for pass_id in ("", "MINE"):
        assert told(tenants, by_admin(tenants, text.format(pass_id))) == [("rejected", TAKEN)]
    assert tenants.rows("select * from users order by id") == before
    assert owner_of(tenants, mine) is None


def test_nobodys_members_are_out_of_reach_too(tenants: Tenants) -> None:
    """A person without a pass in any program gets the same rejection, which does not say which case it is."""
    tenants.conn.execute("insert into users (email, city) values ('new@x.example', 'Rome')")
    assert told(tenants, by_admin(tenants, "email,city\nnew@x.example,Oslo\n")) == [("rejected", TAKEN)]
    assert user(tenants, "new@x.example")["city"] == "Rome"


def test_a_pass_that_carries_anothers_address_opens_no_door(tenants: Tenants) -> None:
    """Any address can be enrolled at A's page: a pass of A with the address of B's member makes no member of A."""
    tenants.member(tenants.b, user={"email": "vic@b.example", "city": "Rome"})
    bait = tenants.member(tenants.a, external_id="BAIT", member_email="vic@b.example")
    for text in ("member_id,city\nBAIT,Oslo\n", "email,city\nvic@b.example,Oslo\n"):
        assert told(tenants, by_admin(tenants, text)) == [("rejected", TAKEN)]
    assert user(tenants, "vic@b.example")["city"] == "Rome"
    assert owner_of(tenants, bait) is None


def test_a_member_of_both_keeps_every_value(tenants: Tenants) -> None:
    """A person of programs A and B gets A's passes and keeps names, opt-out, birth date and address."""
    tenants.member(tenants.a, user={"email": "both@example.com", "city": "Rome", "marketing_opt_in": False})
    both = user(tenants, "both@example.com")
    elsewhere = tenants.member(tenants.b)
    tenants.conn.execute("update passes_master set user_id = %s where id = %s", [both["id"], elsewhere])
    second = tenants.member(tenants.a, external_id="SECOND")
    enrolled = tenants.member(tenants.a, member_email="both@example.com")
    text = "email,city,newsletter,first_name,member_id\nboth@example.com,Oslo,yes,X,{}\n"
    assert told(tenants, by_admin(tenants, text.format("SECOND"))) == [("linked", SHARED)]
    assert told(tenants, by_admin(tenants, text.format(""))) == [("linked", SHARED)]
    assert owner_of(tenants, second) == owner_of(tenants, enrolled) == both["id"]
    assert told(tenants, by_admin(tenants, text.format(""))) == [("unchanged", SHARED)]
    assert user(tenants, "both@example.com") == both


def test_a_member_without_an_address_is_not_given_one_by_the_other_program(tenants: Tenants) -> None:
    """A person of both programs without an e-mail does not get one, because it would give access to that person."""
    mine = tenants.member(tenants.a, external_id="MINE", user={"email": None})
    elsewhere = tenants.member(tenants.b)
    tenants.conn.execute(
        "update passes_master set user_id = %s where id = %s", [owner_of(tenants, mine), elsewhere]
    )
    done = by_admin(tenants, "member_id,email\nMINE,mallory@a.example\n")
    assert told(tenants, done) == [("unchanged", SHARED)]
    assert tenants.rows("select * from users where email = 'mallory@a.example'") == []


def test_somebody_who_signs_up_meanwhile(tenants: Tenants) -> None:
    """If the address comes into use after the file was read, the row is rejected."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        conn.execute(INSERT, [tenants.a, URL])
    claimed = tenants.row("select * from passbell.claim_import(%s)", [tenants.worker])
    held = HeldImport(
        *(claimed[name] for name in ("import_id", "claim_token", "region", "date_order", "today"))
    )
    with tenants.conn.transaction():
        stage_members(tenants.conn, held, read_file(held, io.BytesIO(b"email,city\nlate@b.example,Oslo\n")))
    tenants.member(tenants.b, user={"email": "late@b.example", "city": "Rome"})
    done = apply_import(tenants.conn, held)
    assert done["rejected_count"] == 1
    assert user(tenants, "late@b.example")["city"] == "Rome"


def test_ids_of_other_programs_are_not_told_from_unknown_ones(tenants: Tenants) -> None:
    """An administrator does not learn which ids another program has given out."""
    tenants.member(tenants.b, external_id="THEIRS")
    done = by_admin(tenants, "member_id,city\nTHEIRS,Oslo\nNOBODYS,Oslo\n")
    reason = "there is no pass with this id in this program"
    assert told(tenants, done) == [("rejected", reason)] * 2


def insert(conn: psycopg.Connection[Any], program: UUID) -> Any:
    return conn.execute(
        "insert into member_imports (program_id, csv_upload_url, restricted) values (%s, %s, false)"
        " returning id, restricted",
        [program, URL],
    ).fetchone()


def test_no_statement_takes_the_restriction_off(tenants: Tenants) -> None:
    """An administrator's import is restricted whatever it says, and so is an operator's that they changed."""
    served = tenants.row(INSERT, [tenants.a, URL])["id"]
    restricted = "select restricted from member_imports where id = %s"
    assert tenants.value(restricted, [served]) is False
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        own, flag = insert(conn, tenants.a)
        assert flag is True
        conn.execute("update member_imports set restricted = false where id = %s", [own])
        assert tenants.value(restricted, [own]) is True
        conn.execute("update member_imports set name = 'mine' where id = %s", [served])
        assert tenants.value(restricted, [served]) is False  # its file is still the operator's
        conn.execute("update member_imports set csv_upload_url = %s where id = %s", [URL + "?mine", served])
    assert tenants.value(restricted, [served]) is True
    with tenants.acting("service_role") as conn:
        conn.execute("update member_imports set restricted = false where id = %s", [served])
    assert tenants.value(restricted, [served]) is True


def test_the_operators_own_import_reaches_everybody(tenants: Tenants) -> None:
    """What a server orders is not restricted: the operator answers for all programs."""
    tenants.member(tenants.b, user={"email": "vic@b.example", "city": "Rome"})
    with tenants.acting("service_role") as conn:
        assert insert(conn, tenants.a)[1] is False
    done = work(tenants, "email,city\nvic@b.example,Oslo\n")
    assert told(tenants, done) == [("updated", None)]
    assert user(tenants, "vic@b.example")["city"] == "Oslo"
