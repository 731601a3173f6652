"""Counters and times are the engine's: no setting that a login makes passes for the engine's mark."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.roles import role_url
from support.shop import Shop
from support.tenants import Tenants, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from conftest import MakeDatabase

FORGED = (
    "set passbell.engine = on",
    "set geqo_seed = 0.7365",
    "select set_config('passbell.engine', repeat('0', 64), false)",
    "select set_config('passbell.engine', repeat('0', 64) || '+', false)",
    "select set_config('passbell.engine', repeat('+', 64), false)",
    "select set_config('passbell.engine', encode(sha256(''), 'hex'), false)",
    (
        "select set_config('passbell.engine', encode(sha256((' ' || pg_backend_pid() || ' '"
        " || extract(epoch from now()))::bytea), 'hex'), false)"
    ),
)
WRITES = (
    "update push_campaigns set sent_count = 77, failed_count = 7, skipped_count = 7, recipient_count = 7 where id = %s",
    "update push_campaigns set started_at = null, completed_at = now(), released_at = now() where id = %s",
)
COUNTED = (
    "select sent_count, failed_count, skipped_count, recipient_count, started_at, completed_at, released_at"
)


@pytest.fixture
def shop(database: MakeDatabase) -> Iterator[Shop]:
    made = Shop(database("2"), "2")
    yield made
    made.close()


def started(shop: Shop, count: int = 3) -> UUID:
    """A campaign to some passes, frozen."""
    program = shop.program()
    shop.members(program, count)
    campaign = shop.campaign(program)
    shop.start(campaign)
    return campaign


def marked(conn: psycopg.Connection[Any]) -> str:
    found = conn.execute("select current_setting('passbell.engine', true)").fetchone()
    return (found and found[0]) or ""


@contextlib.contextmanager
def spy(shop: Shop) -> Iterator[None]:
    """A trigger of the host that writes down the mark which it sees."""
    shop.conn.execute("create table seen (mark text)")
    shop.conn.execute(
        "create function spy() returns trigger language plpgsql as $$ begin"
        " insert into public.seen values (current_setting('passbell.engine', true)); return new; end $$"
    )
    shop.conn.execute(
        "create trigger a_spy before update on push_campaigns for each row execute function spy()"
    )
    yield
    shop.conn.execute("drop trigger a_spy on push_campaigns")


@pytest.mark.parametrize("forged", FORGED)
def test_a_setting_makes_nobody_the_engine(tenants: Tenants, forged: str) -> None:
    """No setting lets a login write counters or times, or take the engine's steps."""
    sent, running = tenants.sent[tenants.a], tenants.running[tenants.a]
    for role, user in (("authenticated", tenants.admin_a), ("service_role", None)):
        with tenants.acting(role, user) as conn:
            conn.execute(forged)  # type: ignore[arg-type]
            before = tenants.rows(f"{COUNTED} from push_campaigns order by id")
            for write in WRITES:
                assert refused(conn, write, [sent]) == ""
            assert tenants.rows(f"{COUNTED} from push_campaigns order by id") == before
            for status in ("COMPLETED", "FAILED", "PROCESSING"):
                assert refused(
                    conn, "update push_campaigns set status = %s where id = %s", [status, sent]
                ) in ({""} if status == "COMPLETED" else {"PB422"})
            # Paused and resumed, the campaign goes on where it stood, not as one that never started.
            conn.execute("select push_pause(%s)", [running])
            conn.execute("select push_resume(%s)", [running])
            assert tenants.status(running) == "PROCESSING"
            assert (
                refused(
                    conn,
                    "insert into push_campaigns (program_id, message_text, status) values (%s, 'x', 'PROCESSING')",
                    [tenants.a],
                )
                == "PB422"
            )
            conn.execute(
                "insert into member_imports (program_id, csv_upload_url) values (%s, 'x')", [tenants.a]
            )
            conn.execute("update member_imports set created_count = 7, status_detail = 'mine'")
            assert (
                tenants.rows("select from member_imports where created_count > 0 or status_detail = 'mine'")
                == []
            )
    tenants.send_chunks()
    assert tenants.violations() == []


def test_the_mark_is_off_when_a_function_returns(shop: Shop) -> None:
    """After a function of the engine returns, the rest of the transaction cannot write counters."""
    campaign = started(shop)
    with shop.conn.transaction():
        chunk = shop.chunk()
        assert chunk is not None
        assert marked(shop.conn) == ""
        shop.finish(chunk, ["sent", "rejected", "rejected"])
        assert marked(shop.conn) == ""
        shop.verb("retry_failed", campaign)
        assert marked(shop.conn) == ""
        shop.verb("cancel", campaign)
        assert marked(shop.conn) == ""
        shop.conn.execute("update push_campaigns set sent_count = 9 where id = %s", [campaign])
    assert shop.order(campaign)["sent_count"] == 1
    assert shop.violations() == []


def test_an_error_takes_the_mark_back(shop: Shop) -> None:
    """If the host refuses a write of the engine, the rest of the transaction cannot write counters."""
    campaign = started(shop)
    chunk = shop.chunk()
    assert chunk is not None
    shop.conn.execute("alter table push_campaigns add constraint no check (sent_count < 1)")
    with shop.conn.transaction():
        with contextlib.suppress(psycopg.errors.CheckViolation), shop.conn.transaction():
            shop.finish(chunk)
        assert marked(shop.conn) == ""
        shop.conn.execute("update push_campaigns set failed_count = 9 where id = %s", [campaign])
    assert shop.order(campaign)["failed_count"] == 0


def test_a_mark_that_leaked_is_worth_nothing_later(shop: Shop) -> None:
    """What a trigger of the host read while the engine wrote opens nothing in another transaction."""
    campaign = started(shop)
    with spy(shop):
        shop.send_chunks()
    marks = {row["mark"] for row in shop.rows("select mark from seen where mark <> ''")}
    assert marks
    with psycopg.connect(shop.url, autocommit=True) as other:
        for conn in (shop.conn, other):
            for mark in marks:
                conn.execute("select set_config('passbell.engine', %s, false)", [mark])
                conn.execute("update push_campaigns set sent_count = 9 where id = %s", [campaign])
    assert shop.order(campaign)["sent_count"] == 3


def test_a_trigger_that_calls_the_engine_leaves_the_mark_alone(shop: Shop) -> None:
    """A host's trigger on campaigns calls the engine's functions in the middle of the engine's own write."""
    first, second = started(shop), started(shop)
    shop.conn.execute(
        "create function busybody() returns trigger language plpgsql as $$ begin"
        f" if new.id = '{first}' then perform passbell.hold_campaign('{second}', 'with the other'); end if;"
        " return new; end $$"
    )
    shop.conn.execute(
        "create trigger a_busybody before update on push_campaigns for each row execute function busybody()"
    )
    while (chunk := shop.chunk()) is not None:
        shop.finish(chunk)
    assert shop.order(first)["sent_count"] == 3
    assert shop.status(first) == "COMPLETED"
    assert (shop.status(second), shop.order(second)["status_detail"]) == ("PAUSED", "with the other")
    assert shop.violations() == []


def test_the_owner_repairs_by_hand(shop: Shop) -> None:
    """`select passbell.as_engine()` lets the owner correct a counter, until the end of the transaction."""
    campaign = started(shop)
    with shop.conn.transaction():
        shop.conn.execute("select passbell.as_engine()")
        shop.conn.execute("update push_campaigns set failed_count = 2 where id = %s", [campaign])
        shop.verb("pause", campaign)
        shop.conn.execute("update push_campaigns set failed_count = 1 where id = %s", [campaign])
    shop.conn.execute("update push_campaigns set failed_count = 0 where id = %s", [campaign])
    assert shop.order(campaign)["failed_count"] == 1


@pytest.mark.parametrize(
    "role", ["service_role", "authenticated", "passbell_daemon", "passbell_web", "auditor"]
)
def test_the_secret_is_the_owners(database: MakeDatabase, role: str) -> None:
    """No role reads what the mark is made with, nor has it made; a role that may read every table does not either."""
    shop = Shop(database("2", supabase=True), "2")
    made = role.startswith("passbell")
    with contextlib.ExitStack() as stack:
        if made:
            stack.enter_context(role_url(shop.url, role))
        if role == "auditor":
            shop.conn.execute("create role auditor")
            stack.callback(shop.conn.execute, "drop role auditor")
            shop.conn.execute("grant pg_read_all_data to auditor")
        shop.conn.execute(f"set role {role}")
        stack.callback(shop.conn.execute, "reset role")
        if role == "auditor":
            assert shop.rows("select * from passbell.secrets") == []
        else:
            assert refused(shop.conn, "select * from passbell.secrets") == "42501"
        for call in ("as_engine", "engine_mark", "engine_begins", "engine_ends", "is_engine", "new_secret"):
            assert refused(shop.conn, f"select passbell.{call}()") == "42501", call
        assert refused(shop.conn, "update passbell.secrets set secret = 'x'") == "42501"
    shop.close()


def test_a_restore_makes_a_new_secret(shop: Shop) -> None:
    """What was read in a copy of the database opens nothing in the one that was restored from it."""
    before = shop.value("select secret from passbell.secrets")
    shop.conn.execute("select * from passbell.after_restore('2020-01-01')")
    assert shop.value("select secret from passbell.secrets") not in {before, None}


def test_a_lost_secret_is_named(shop: Shop) -> None:
    """Without its row the engine does not touch the campaign's row, and says that `passbell migrate` heals it."""
    started(shop)
    chunk = shop.chunk()
    assert chunk is not None
    shop.conn.execute("delete from passbell.secrets")
    shop.finish(chunk)
    assert "run `passbell migrate`" in shop.value("select reason from passbell.set_aside")
    assert shop.order(chunk["campaign_id"])["sent_count"] == 0
