"""What a running daemon or page calls in the database: the signatures that an upgrade must not take away.

A contract is text, one function per line, in the order of their names:

    passbell.neighbours(p_worker uuid, p_namespace text) → id uuid, process text
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import passbell

if TYPE_CHECKING:
    import psycopg

__all__ = ["broken_promises", "called_functions", "read_contract"]

LONG_RUNNING = ("database", "delivery", "ops", "web")
CALL = re.compile(r"\b(passbell|public)\.([a-z_]+)\(")
SIGNATURES = """
    select n.nspname || '.' || p.proname as name,
           coalesce((select string_agg(coalesce(p.proargnames[a.n], '$' || a.n) || ' ' || format_type(a.type, null)
                                       || case when a.n > p.pronargs - p.pronargdefaults then ' = …' else '' end,
                                       ', ' order by a.n)
                       from unnest(p.proargtypes::oid[]) with ordinality as a (type, n)), '') as arguments,
           case when p.proallargtypes is null or not p.proargmodes && '{o,t}' then format_type(p.prorettype, null)
                else (select string_agg(p.proargnames[a.n] || ' ' || format_type(a.type, null), ', ' order by a.n)
                        from unnest(p.proallargtypes) with ordinality as a (type, n)
                       where p.proargmodes[a.n] in ('o', 't'))
           end as result
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
     where n.nspname || '.' || p.proname = any (%s)
     order by 1, 2
"""


def called_functions() -> set[str]:
    """Names of the SQL functions in the sources of what runs for weeks: `passbell run` and `passbell web`."""
    root = Path(passbell.__file__).parent
    return {
        f"{schema}.{name}"
        for folder in LONG_RUNNING
        for file in (root / folder).rglob("*.py")
        for schema, name in CALL.findall(file.read_text("utf-8"))
    }


def read_contract(connection: psycopg.Connection[Any], names: set[str]) -> str:
    """The signatures of these functions as they are in a database."""
    rows = connection.execute(SIGNATURES, [sorted(names)]).fetchall()
    return "".join(f"{name}({arguments}) → {result}\n" for name, arguments, result in rows)


def _parsed(contract: str) -> dict[str, list[tuple[list[str], str]]]:
    found: dict[str, list[tuple[list[str], str]]] = {}
    for line in contract.splitlines():
        head, _, result = line.partition(" → ")
        name, _, arguments = head.removesuffix(")").partition("(")
        found.setdefault(name, []).append((arguments.split(", ") if arguments else [], result))
    return found


def broken_promises(old: str, new: str) -> list[str]:
    """Calls of `old` that would fail or be misread in `new`.

    Arguments are passed by position, and rows are read by position too: more arguments may be appended if they have
    defaults, nothing else may change.
    """
    now = _parsed(new)
    return [
        f"{name}({', '.join(arguments)}) → {result}"
        for name, versions in _parsed(old).items()
        for arguments, result in versions
        if not any(
            [one.removesuffix(" = …") for one in there[: len(arguments)]]
            == [one.removesuffix(" = …") for one in arguments]
            and all(" = …" in one for one in there[len(arguments) :])
            and all(
                "=" in new_one or "=" not in old_one
                for old_one, new_one in zip(arguments, there, strict=False)
            )
            and gives == result
            for there, gives in now.get(name, [])
        )
    ]
