"""docs/reference/sql.md: functions for people, the tables they read and write, and audiences, from the catalogue."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from reference_markdown import WIDTH, WRITTEN, block, fetch, table

if TYPE_CHECKING:
    import psycopg

__all__ = ["sql_page"]

FUNCTIONS = """
    select n.nspname || '.' || p.proname as name, pg_get_function_arguments(p.oid) as arguments,
           pg_get_function_result(p.oid) as result, obj_description(p.oid, 'pg_proc') as words
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where n.nspname = 'public' and p.prosrc like '%passbell.%'
        or n.nspname = 'passbell' and p.proname in ('check_conservation', 'after_restore')
     order by n.nspname desc, p.proname
"""
COLUMNS = """
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
           col_description(a.attrelid, a.attnum) as words
      from pg_attribute a
     where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
     order by a.attnum
"""
RELATIONS = """
    select n.nspname || '.' || c.relname as name, obj_description(c.oid, 'pg_class') as words
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'v')
       and (n.nspname = 'passbell' or c.relname in ('push_deliveries', 'push_list_problems', 'member_import_rows'))
     order by n.nspname desc, c.relname
"""
ADAPTERS = {
    "passbell.recipients": "One row per pass as campaigns see it, the only place that knows the platform's columns. "
    "Yours may replace it.",
    "passbell.programs": "One row per program, read from the platform's columns. Yours may replace it.",
    "passbell.visits": "One row per visit: what a member earned or redeemed, a coupon redeemed, a ticket checked in; "
    "never a gift of passbell's own. Yours may replace it; migrate again afterwards.",
    "passbell.joins": "Since when a person is a member, for ANNIVERSARY. Yours may replace it.",
    "passbell.events": "When the event of a ticket is, for EVENT. Yours may replace it.",
}
INTRODUCTION = """\
For Supabase Studio, psql and RPC. Who may call and read what: [security](../security.md). What they raise:
[SQLSTATEs](outcomes.md#sqlstates)."""
AWARD = """\
`passbell.award_points(pass_id uuid, points integer, note text)` gives birthday points through the platform's own
function; `migrate` makes it around the one that works, and leaves one of your own alone."""
AUDIENCES = """\
What `target_query` and `target` take: a name, `NAME:parameter`, several with `&`. They are the rows of
`passbell.segments`; the owner of the database may add more."""
SEGMENTS = """
    select name, description, parameter_kind as kind, default_parameter as parameter
      from passbell.segments where builtin order by name <> 'ALL', name
"""
ORDERS = (
    "public.push_campaigns",
    "public.member_imports",
    "public.push_automations",
    "public.push_suppressions",
)
LEDGER = "passbell.deliveries"


def sql_page(connection: psycopg.Connection[Any]) -> str:
    """Functions for people, the tables they read and write, audiences."""
    parts = [
        "# SQL",
        WRITTEN.format("the comments in the database's catalogue"),
        INTRODUCTION,
        "## Functions",
    ]
    for row in fetch(connection, FUNCTIONS):
        parts += [f"### {row['name']}", block(signature(row), "sql"), words(row)]
    parts += [
        AWARD,
        "## Audiences",
        AUDIENCES,
        table(
            ("name", "parameter", "without one", "who"),
            (
                (
                    f"`{row['name']}`",
                    "" if row["kind"] == "none" else row["kind"],
                    row["parameter"] or "",
                    row["description"],
                )
                for row in fetch(connection, SEGMENTS)
            ),
        ),
    ]
    for relation in (*ORDERS, LEDGER):
        rows = fetch(connection, COLUMNS, [relation])
        parts += [
            f"## {relation}",
            table(("column", "type", "meaning"), ((f"`{r['name']}`", r["type"], words(r)) for r in rows)),
        ]
    parts += [
        "## Other tables and views",
        "All of schema `passbell` is passbell's own; reading is harmless, writing is not.",
        table(
            ("relation", "what it is"),
            (
                (f"`{row['name']}`", ADAPTERS.get(row["name"]) or words(row))
                for row in fetch(connection, RELATIONS)
                if row["name"] not in {*ORDERS, LEDGER}
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def signature(row: dict[str, Any]) -> str:
    """Write a function's head, one argument or column per line where it is long."""
    arguments = re.sub(r"::[a-z ]+", "", row["arguments"]).replace("DEFAULT", "default")
    result = row["result"].replace("timestamp with time zone", "timestamptz").replace("TABLE(", "table (")
    head = f"{row['name']}({arguments.replace('timestamp with time zone', 'timestamptz')})"
    return "\n".join(
        [
            *textwrap.wrap(head, WIDTH, subsequent_indent="    "),
            *textwrap.wrap(f"returns {result}", WIDTH, initial_indent="  ", subsequent_indent="    "),
        ]
    )


def words(row: dict[str, Any]) -> str:
    """Return the comment; there must be one."""
    if not row["words"]:
        raise ValueError(f"{row['name']} has no comment: sql/functions/97_comments.sql")
    return str(row["words"])
