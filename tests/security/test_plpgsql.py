"""Every PL/pgSQL function of ours, looked through by plpgsql_check (Debian: postgresql-NN-plpgsql-check)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from passbell.database.migrate import migrate
from passbell.devkit.binaries import debian_binaries
from passbell.devkit.postgres import EmbeddedPostgres
from support.databases import load_host
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Generation

FINDINGS = """
    select f.signature, c.level, c.lineno, c.message, c.detail
      from passbell.own_functions() f
      join pg_proc p on p.oid = f.id
      join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
      cross join lateral plpgsql_check_function_tb(p.oid::regprocedure,
                     relid => coalesce((select t.tgrelid from pg_trigger t where t.tgfoid = p.oid limit 1), 0),
                     security_warnings => true, extra_warnings => true, performance_warnings => false) c
     order by 1, 3
"""
# What is meant, and why: part of the signature, part of the message.
MEANT = (
    # Made by the function itself, for one transaction.
    ("", 'relation "pg_temp.passbell_matches" does not exist'),
    # One trigger function for two tables, looked at with one of them.
    ("drop_import_rows", 'record "old" has no field'),
    # The text comes from the owner's segments and from our own words; parameters are bound, names go through %I.
    ("apply_import_rows_together", "is not sanitized"),
    ("grant_to", "is not sanitized"),
    ("open_to_people", "is not sanitized"),
    ("put_policy", "is not sanitized"),
    ("match_list", "is not sanitized"),
    ("admin_programs", "does not exist"),
    ("award_trial", "is not sanitized"),
    ("hear_deferred", "is not sanitized"),
    ("host_sources", "is not sanitized"),
    ("build_people_views", "is not sanitized"),
    ("build_way", "is not sanitized"),
    ("backfill_awards", "is not sanitized"),
    ("build_award_points", "is not sanitized"),
    ("due_by_day", "is not sanitized"),
    ("due_people", "is not sanitized"),
    ("due_rows", "is not sanitized"),
    ("people_inside", "is not sanitized"),
    ("push_plan", "is not sanitized"),
    ("push_preview", "is not sanitized"),
    ("replace_adapter", "is not sanitized"),
    ("sample_message", "is not sanitized"),
    ("write_log_without_generated", "is not sanitized"),
    ("write_log_without_generated", "is not SQL injection safe"),
    # A function called for what it does: an assignment costs half of a PERFORM.
    ("book_outcomes", 'never read variable "v_mark"'),
    # Returned from a dynamic query.
    ("sample_message", "is maybe unmodified"),
    ("due_by_day", "is maybe unmodified"),
    ("due_people", "is maybe unmodified"),
    ("people_inside", "is maybe unmodified"),
    # The host's function has no place for a note.
    ("award_points", 'unused parameter "p_note"'),
    # The empty array, written '{}'.
    ("apply_import_rows_together", "target type is different"),
    ("give_gifts", "target type is different"),
    ("message_warnings", "target type is different"),
    ("order_outlook", "target type is different"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that has the extension."""
    for folder in debian_binaries():
        with EmbeddedPostgres(durable=False, bin_directory=folder) as found:
            with psycopg.connect(found.url()) as conn:
                known = "select from pg_available_extensions where name = 'plpgsql_check'"
                if conn.execute(known).fetchone() is None:
                    continue
            yield found
            return
    pytest.skip("no PostgreSQL of Debian's here with the extension plpgsql_check")


@pytest.fixture(params=["1", "2", "3"])
def shop(request: pytest.FixtureRequest, server: EmbeddedPostgres) -> Iterator[Shop]:
    """A migrated database with the extension."""
    generation: Generation = request.param
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(f"generation_{generation}")))
    url = server.url(f"generation_{generation}")
    load_host(url, generation)
    migrate(url)
    shop = Shop(url, generation)
    shop.conn.execute("create extension plpgsql_check")
    yield shop
    shop.close()


def test_plpgsql_check_finds_nothing(shop: Shop) -> None:
    """No error, no unused variable, no injection, no wrong type, on any generation of the host's tables."""
    findings = [
        finding
        for finding in shop.rows(FINDINGS)
        if not any(name in finding["signature"] and words in finding["message"] for name, words in MEANT)
    ]
    assert findings == [], "\n".join(map(str, findings))
