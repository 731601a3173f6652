"""docs/data-protection.md names every place where passbell keeps something about members, and who can read it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg

from support.markdown import ROOT
from support.roles import role_url

if TYPE_CHECKING:
    from conftest import MakeDatabase

# Tables in which no member stands, whatever is sent: the installation, its pace, its processes and programs.
NOBODY = {
    "accounts",
    "host_columns",
    "birthday_programs",
    "holdouts",
    "import_leases",
    "list_loads",
    "migrations",
    "owed_counts",
    "pruned",
    "rate_limits",
    "secrets",
    "segments",
    "settings",
    "sighted_programs",
    "slow_programs",
    "triggers",
    "turns",
    "workers",
    "zone_names",
}


def test_every_table_is_accounted_for(database: MakeDatabase) -> None:
    """A new table is either explained to the members' lawyer or known to hold no member."""
    page = (ROOT / "docs" / "data-protection.md").read_text("utf-8")
    with psycopg.connect(database("3")) as connection:
        tables = {
            name
            for (name,) in connection.execute(
                "select relname from pg_class where relnamespace = 'passbell'::regnamespace and relkind = 'r'"
            )
        }
        assert tables >= NOBODY
        for name in sorted(tables - NOBODY):
            assert f"`passbell.{name}`" in page, name
        # A table counted among those without members has no column that could hold one.
        suspicious = connection.execute(
            "select attrelid::regclass::text, attname from pg_attribute where attnum > 0 and not attisdropped"
            " and attrelid = any (select ('passbell.' || t)::regclass from unnest(%s::text[]) as t)"
            " and attname ~ 'pass_id|user|email|external|value|answer|message|text'",
            [sorted(NOBODY)],
        ).fetchall()
    # Holds the name of a metadata key (PASSBELL_MESSAGE_KEY of one account), never what is written there.
    assert suspicious == [("passbell.accounts", "message_key")]


def test_who_can_read_it(database: MakeDatabase) -> None:
    """A person's administrator reads the views that the last section names; the two own roles read no table."""
    page = (ROOT / "docs" / "data-protection.md").read_text("utf-8")
    kept, _, readers = page.partition("## Who can read it")
    tables = sorted(set(re.findall(r"^\|[^|]*`(passbell\.\w+)`", kept, re.MULTILINE)))
    views = sorted(set(re.findall(r"`((?:push|member)_\w+)`", readers)))
    assert len(tables) > 10
    assert views == ["member_import_rows", "push_deliveries", "push_list_problems"]
    url = database("4", supabase=True)
    may = "select t, r from unnest(%s::text[]) t, unnest(%s::text[]) r where has_table_privilege(r, t, 'select')"
    with ExitStack() as stack:
        for role in ("passbell_daemon", "passbell_web"):
            stack.enter_context(role_url(url, role))
        connection = stack.enter_context(psycopg.connect(url))
        closed = ["anon", "authenticated", "passbell_daemon", "passbell_web"]
        assert connection.execute(may, [tables, closed]).fetchall() == []
        opened = connection.execute(may, [views, closed]).fetchall()
        assert sorted(opened) == [(view, "authenticated") for view in views]
        suppressed = connection.execute(may, [["push_suppressions"], closed]).fetchall()
        assert suppressed == [("push_suppressions", "authenticated")]
        read = connection.execute(may, [tables, ["service_role"]]).fetchall()
        assert len(read) == len(tables)
