"""What an administrator, a stranger and a server can really do, tried with real statements."""

# ruff: noqa: S608 - the statements are put together from this file's own words
from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from support.tenants import refused

if TYPE_CHECKING:
    from support.tenants import Tenants

VERBS = ("pause", "resume", "cancel", "retry_failed", "progress")


def snapshot(tenants: Tenants) -> list[dict[str, object]]:
    """Everything of program B that anybody could have touched."""
    return tenants.rows(
        "select c.*, (select count(*) from passbell.chunks k where k.campaign_id = c.id) as chunks,"
        " (select count(*) from passbell.deliveries d where d.campaign_id = c.id) as deliveries"
        " from push_campaigns c where program_id = %s order by id",
        [tenants.b],
    )


def test_an_administrator_cannot_touch_another_program(tenants: Tenants) -> None:
    """No function, no statement, no detour lets the administrator of A change or read anything of B."""
    before = snapshot(tenants)
    b = tenants.b
    campaigns = [tenants.sent[b], tenants.running[b], tenants.listed[b]]
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        for campaign in campaigns:
            for verb in VERBS:
                assert refused(conn, f"select * from push_{verb}(%s)", [campaign]) == "PB403", verb
            assert conn.execute("select * from push_campaigns where id = %s", [campaign]).fetchall() == []
            for change in (
                "status = 'CANCELLED'",
                "message_text = 'mine'",
                "program_id = %(a)s",
                "name = 'x'",
            ):
                done = conn.execute(
                    f"update push_campaigns set {change} where id = %(id)s", {"a": tenants.a, "id": campaign}
                )
                assert done.rowcount == 0
        for call in (
            "push_send(%s, 'x')",
            "push_preview(%s)",
            "push_test(%s, 'M6', 'x')",
            "push_send(%s, 'x', 'IDS:M6')",
        ):
            assert refused(conn, f"select * from {call}", [b]) == "PB403", call
        assert (
            refused(conn, "insert into push_campaigns (program_id, message_text) values (%s, 'x')", [b])
            == "42501"
        )
        assert refused(conn, "insert into push_campaigns (message_text) values ('x')") == "42501"
        own = tenants.campaign(tenants.a, "Draft", status="DRAFT")
        assert refused(conn, "update push_campaigns set program_id = %s where id = %s", [b, own]) == "42501"
        # ON CONFLICT and RETURNING must not show a row that a SELECT would not.
        assert refused(
            conn,
            "insert into push_campaigns (id, program_id, message_text) values (%s, %s, 'x')"
            " on conflict (id) do update set message_text = 'x' returning *",
            [campaigns[0], tenants.a],
        )
        for table in (
            "deliveries",
            "list_entries",
            "chunks",
            "recipients",
            "workers",
            "rate_limits",
            "settings",
            "segments",
        ):
            assert refused(conn, f"select * from passbell.{table}") == "42501", table
        for call in ("get_birthdays_today(%s)", "run_birthdays(%s)"):
            assert refused(conn, f"select * from {call}", [b]) == "42501"
        assert refused(conn, "select * from push_forget('M6')") == "42501"
        assert refused(conn, "select * from passbell.sample_messages(%s, 'x')", [b]) == "42501"
        # An audience that names B's members by id reaches none of them.
        assert conn.execute(
            "select reachable from push_preview(%s, 'IDS:M6,M7,M8')", [tenants.a]
        ).fetchone() == (0,)
    assert snapshot(tenants) == before


def test_an_administrator_has_the_use_of_their_own(tenants: Tenants) -> None:
    """An administrator may use all verbs on the own program, and the campaign says who did."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        running = tenants.running[tenants.a]
        conn.execute("select push_pause(%s)", [running])
        assert str(tenants.admin_a) in str(tenants.order(running)["status_detail"])
        conn.execute("update push_campaigns set status = 'PENDING' where id = %s", [running])
        assert tenants.status(running) == "PROCESSING"
        assert conn.execute("select recipient_count from push_progress(%s)", [running]).fetchone() == (3,)
        assert conn.execute("select distinct program_id from push_campaigns").fetchall() == [(tenants.a,)]
        made = conn.execute(
            "insert into push_campaigns (program_id, message_text, created_by) values (%s, 'x', 'the boss')"
            " returning created_by",
            [tenants.a],
        ).fetchone()
        assert made == (f"{tenants.admin_a}@example.com",)  # created_by cannot be another person


@pytest.mark.parametrize("claims", [None, "nobody", "broken"])
def test_a_token_without_a_program_opens_nothing(tenants: Tenants, claims: str | None) -> None:
    """Signed in but administrator of nothing, without claims, or with claims that are not JSON: no row, no function."""
    with tenants.acting("authenticated", uuid4() if claims == "nobody" else None) as conn:
        if claims == "broken":
            conn.execute("select set_config('request.jwt.claim.sub', %s, false)", ["' or true --"])
        assert conn.execute("select * from push_campaigns").fetchall() == []
        assert refused(conn, "select push_send(%s, 'x')", [tenants.a]) == "PB403"
        assert (
            refused(
                conn, "insert into push_campaigns (program_id, message_text) values (%s, 'x')", [tenants.a]
            )
            == "42501"
        )


def test_a_stranger_can_do_nothing(tenants: Tenants) -> None:
    """The anonymous role is refused everywhere, even with a stolen user's claims."""
    with tenants.acting("anon", tenants.admin_a) as conn:
        for statement in (
            "select * from push_campaigns",
            "insert into push_campaigns (message_text) values ('x')",
            "update push_campaigns set name = 'x'",
            "delete from push_campaigns",
            "truncate push_campaigns",
            "select * from passbell.deliveries",
            "select * from passbell.recipients",
            f"select push_send('{tenants.a}', 'x')",
            f"select push_preview('{tenants.a}')",
            f"select push_cancel('{tenants.running[tenants.a]}')",
            f"select * from push_progress('{tenants.running[tenants.a]}')",
            f"select * from run_birthdays('{tenants.a}')",
            "select * from get_birthdays_today()",
            "select * from push_forget('M1')",
            f"select passbell.is_admin_of('{tenants.a}')",
            "select passbell.award_points(gen_random_uuid(), 1, '')",
        ):
            assert refused(conn, statement) == "42501", statement


def test_a_server_can_do_all_that_a_server_needs(tenants: Tenants) -> None:
    """service_role may order for every program, use all verbs, run birthdays, read the ledger and erase."""
    a, b = tenants.a, tenants.b
    with tenants.acting("service_role") as conn:
        for program in (a, b):
            order = conn.execute("select push_send(%s, 'Hi')", [program]).fetchone()
            assert order is not None
            for verb in ("pause", "resume", "progress", "cancel"):
                conn.execute(f"select * from push_{verb}(%s)", order)
            conn.execute(
                "insert into push_campaigns (program_id, message_text, created_by) values (%s, 'x', 'crm')",
                [program],
            )
            conn.execute("select * from push_preview(%s)", [program])
            conn.execute("select * from get_birthdays_today(%s)", [program])
            conn.execute("select * from run_birthdays(%s)", [program])
        assert conn.execute("select count(*) from passbell.deliveries where outcome = 'sent'").fetchone() == (
            6,
        )
        assert conn.execute(
            "select count(distinct created_by) from push_campaigns where created_by = 'crm'"
        ).fetchone() == (1,)
        assert conn.execute("select * from passbell.check_conservation()").fetchall() == []
        assert refused(conn, "select * from passbell.message_warnings('Hi {{frist_name}}')") == ""
        conn.execute("select push_test(%s, 'M3', 'x')", [a])
        assert refused(conn, "select * from push_forget('M4')") == ""
        # But the engine's rooms are the engine's.
        for statement in (
            "update passbell.chunks set attempt = 0",
            "delete from passbell.deliveries",
            "insert into passbell.segments (name, predicate) values ('EVIL', 'true')",
            "select passbell.replace_adapter('recipients', 'select 1')",
            "select * from passbell.claim_chunk(gen_random_uuid())",
        ):
            assert refused(conn, statement) == "42501", statement


def test_a_test_send_cannot_reach_everybody(tenants: Tenants) -> None:
    """A campaign of kind TEST, which ignores quiet hours, is refused for more than one pass."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        for target in (None, "ALL", "IDS:M1,M2", "WHALE", "IDS:M1 & ALL"):
            with pytest.raises(psycopg.Error) as error:
                conn.execute(
                    "insert into push_campaigns (program_id, message_text, kind, target_query)"
                    " values (%s, 'x', 'test', %s)",
                    [tenants.a, target],
                )
            assert error.value.sqlstate == "PB422"


def test_a_type_of_ones_own_does_not_run_in_our_name(tenants: Tenants) -> None:
    """A caller's temporary type named uuid or text does not run its code with our functions' rights."""
    conn = tenants.conn
    conn.execute(
        "create table public.caught (who text); grant insert, select on public.caught to authenticated"
    )
    with tenants.acting("authenticated", tenants.admin_a) as own:
        own.execute(
            "create function pg_temp.trap() returns boolean language plpgsql as $$"
            " begin insert into public.caught values (current_user); return true; end $$"
        )
        for name in ("uuid", "text", "timestamptz", "jsonb"):
            own.execute(f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.trap())")
        for call, argument in (
            ("push_send(%s, 'x')", tenants.a),
            ("push_pause(%s)", tenants.running[tenants.a]),
        ):
            own.execute(f"select public.{call.replace('%s', '%s::pg_catalog.uuid')}", [argument])
    assert {row["who"] for row in tenants.rows("select who from public.caught")} <= {"authenticated"}
