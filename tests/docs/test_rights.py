"""What docs/security.md grants a signed-in person is what the database grants, no more and no less."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import psycopg

from support.markdown import ROOT

if TYPE_CHECKING:
    from conftest import MakeDatabase

NOT_OF_PEOPLE: Final = {"passbell.admin_programs", "passbell.is_admin_of"}
"""What the policies call in the caller's name; it only answers which programs are the caller's."""


def test_what_a_signed_in_person_may_do(database: MakeDatabase) -> None:
    """The page's table names each table, view and function of ours that `authenticated` may use, and the verbs."""
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    section = page.partition("### What a signed-in person may do")[2].partition("###")[0]
    written = {
        verbs: set(re.findall(r"`(\w+)`", names))
        for verbs, names in re.findall(r"^\| ([a-z, ]+) \| (`.*`) \|$", section, re.MULTILINE)
    }
    called = written.pop("call")
    # Of the stand-in's own tables only those are ours that passbell made.
    with psycopg.connect(database("4", supabase=True)) as connection:
        granted: dict[str, set[str]] = {}
        for name, verbs in connection.execute(
            """
            select c.relname, string_agg(lower(p.privilege_type), ', ' order by array_position(
                       array['SELECT', 'INSERT', 'UPDATE', 'DELETE'], p.privilege_type::text))
              from pg_class c cross join lateral aclexplode(c.relacl) p
             where p.grantee = 'authenticated'::regrole
               and (c.relnamespace = 'passbell'::regnamespace or c.relnamespace = 'public'::regnamespace and
                    (c.relname like 'push\\_%' or c.relname like 'member\\_import%'))
             group by 1
            """
        ):
            granted.setdefault(verbs, set()).add(name)
        functions = {
            name
            for (name,) in connection.execute(
                "select case when nspname = 'public' then '' else nspname || '.' end || proname from pg_proc p"
                " join pg_namespace n on n.oid = pronamespace cross join lateral aclexplode(proacl) a"
                " where a.grantee = 'authenticated'::regrole and a.privilege_type = 'EXECUTE'"
                " and (nspname = 'passbell' or p.oid in (select id from passbell.own_functions()))"
            )
        }
    assert written == granted
    assert called == functions - NOT_OF_PEOPLE
