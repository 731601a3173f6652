# ruff: noqa: S608 - the names are those of this file
"""Automations and suppressions in the hands of a program's administrator, as Softr's login is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.tenants import refused

if TYPE_CHECKING:
    from support.tenants import Tenants

NEW = "insert into push_automations (program_id, occasion, message_text) values (%s, 'EVERY:1', 'Hi')"


def test_an_administrator_keeps_the_automations_of_the_own_program(tenants: Tenants) -> None:
    """An administrator may do all with the own program's automations but write passbell's columns."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        conn.execute(NEW, [tenants.a])
        conn.execute(
            "update push_automations set is_on = true, fired_count = 99, switched_on_on = '2020-01-01',"
            " status_detail = 'mine', last_run_on = '2020-01-01', created_by = 'somebody', created_at = '2020-01-01'"
        )
        columns = (
            "id, is_on, fired_count, status_detail, last_run_on, created_by, extract(year from created_at)"
        )
        ((made, *found),) = conn.execute(f"select {columns} from push_automations").fetchall()
        assert found[:4] == [True, 0, None, None]
        assert found[4] != "somebody"
        assert found[5] != 2020
        assert len(conn.execute("select * from automation_preview(%s, 5)", [made]).fetchall()) == 5
        assert len(conn.execute("select * from run_automations(%s)", [tenants.a]).fetchall()) == 1
        conn.execute("select * from get_due(%s)", [made])
        conn.execute("select * from automation_results(%s)", [made])
        conn.execute("insert into push_suppressions (program_id, external_id) values (%s, 'M1')", [tenants.a])
        assert conn.execute("delete from push_suppressions").rowcount == 1
        assert refused(conn, "update push_automations set program_id = %s", [tenants.b]) == "PB422"
        assert refused(conn, "update push_automations set occasion = 'OFTEN'") == "PB400"
        assert refused(conn, "select * from run_automations()") == "PB403"
        conn.execute("update push_campaigns set status = 'CANCELLED' where automation_id is not null")
        assert conn.execute("delete from push_automations").rowcount == 1


def test_another_programs_automations_are_not_there(tenants: Tenants) -> None:
    """An administrator can neither see nor change, run or measure another program's automations."""
    other = tenants.value(f"{NEW} returning id", [tenants.b])
    tenants.conn.execute(
        "insert into push_suppressions (program_id, external_id) values (%s, 'M6')", [tenants.b]
    )
    before = tenants.rows("select * from push_automations")
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        for table in ("push_automations", "push_suppressions"):
            assert conn.execute(f"select * from {table}").fetchall() == []
            assert conn.execute(f"delete from {table}").rowcount == 0
        assert conn.execute("update push_automations set is_on = true").rowcount == 0
        assert refused(conn, NEW, [tenants.b]) == "42501"
        suppress = "insert into push_suppressions (program_id, external_id) values (%s, 'M6')"
        assert refused(conn, suppress, [tenants.b]) == "42501"
        for call in ("get_due", "automation_preview", "automation_results"):
            assert refused(conn, f"select * from {call}(%s)", [other]) == "PB403", call
        assert refused(conn, "select * from run_automations(%s)", [tenants.b]) == "PB403"
        for table in ("triggers", "occasions", "automation_runs", "crossings", "sightings"):
            assert refused(conn, f"select * from passbell.{table}") == "42501", table
    assert tenants.rows("select * from push_automations") == before


def test_a_stranger_sees_and_does_nothing(tenants: Tenants) -> None:
    """The anonymous key of the Data API reaches none of it."""
    tenants.conn.execute(NEW, [tenants.b])
    with tenants.acting("anon") as conn:
        for query in (
            "select * from push_automations",
            "delete from push_suppressions",
            "select * from run_automations()",
            "select * from get_due(null)",
        ):
            assert refused(conn, query) == "42501", query
