"""docs/data-protection.md names every place where passbell keeps something about members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from support.markdown import ROOT

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
