"""Whether settings that the URL's role or the database brings to each session harm what passbell does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from passbell.cli.checks import Finding, good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passbell.cli.database import Connection

__all__ = ["look_at_session"]

MINIMAL_MILLISECONDS: Final = 10_000
"""Below this time a call that does much at once is cut off."""
FREEZE_MILLISECONDS: Final = 600_000
"""The daemon's own deadline for freezing an audience."""


class _Rule(NamedTuple):
    harmful: Callable[[str], bool]
    ok: bool | None
    detail: str


def _on(value: str) -> bool:
    return value == "on"


def _off(value: str) -> bool:
    return value == "off"


def _below(limit: int) -> Callable[[str], bool]:
    return lambda milliseconds: 0 < int(milliseconds) < limit


# Settings that the daemon does not overrule, and what each does to it. Formats of dates, zones and encodings are not
# here: no text of passbell's depends on them.
_RULES: Final = {
    "default_transaction_read_only": _Rule(
        _on, ok=False, detail="nothing can be written, so nothing is sent"
    ),
    "session_replication_role": _Rule(
        lambda value: value != "origin",
        ok=False,
        detail="triggers do not run, and passbell's rules are triggers",
    ),
    "row_security": _Rule(
        _off,
        ok=None,
        detail="statements fail where row security would hide rows, instead of leaving them out",
    ),
    "default_transaction_isolation": _Rule(
        lambda value: value != "read committed",
        ok=None,
        detail="it works, but whatever meets another session is done again: read committed is faster",
    ),
    "statement_timeout": _Rule(
        _below(MINIMAL_MILLISECONDS),
        ok=None,
        detail="long calls are cut off and tried again: leave it at ten seconds or more",
    ),
    "transaction_timeout": _Rule(
        _below(FREEZE_MILLISECONDS),
        ok=None,
        detail="large audiences and imports are cut off: leave it at 0 or at ten minutes",
    ),
    "synchronous_commit": _Rule(
        _off,
        ok=None,
        detail="if the database's machine crashes, the last outcomes are lost, and those passes are sent again",
    ),
}
_OWN: Final = """
    select s.name, s.setting as value, quote_ident(current_user) as role
      from pg_catalog.pg_settings s where s.name = any (%(names)s)
"""
# The daemon and the page may have roles of their own, which this URL does not show.
_OTHERS: Final = """
    select split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value, r.rolname::text as role
      from pg_catalog.pg_db_role_setting s
      join pg_catalog.pg_roles r on r.oid = s.setrole
     cross join lateral unnest(s.setconfig) as c
     where r.rolname in ('passbell_daemon', 'passbell_web') and r.rolname <> current_user
       and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
       and split_part(c, '=', 1) = any (%(names)s)
"""
_UNITS: Final = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def look_at_session(connection: Connection) -> Iterator[Finding]:
    """Whether a setting of the role or of the database harms what passbell does in its sessions."""
    wanted = {"names": list(_RULES)}
    rows = [*connection.execute(_OWN, wanted).fetchall(), *connection.execute(_OTHERS, wanted).fetchall()]
    calm = True
    for row in rows:
        rule = _RULES[row["name"]]
        if rule.harmful(_plain(row["name"], row["value"])):
            calm = False
            yield Finding(
                "session settings",
                ok=rule.ok,
                detail=f"{row['name']} is {row['value']} for the role {row['role']}: {rule.detail}. Reset it with "
                f"alter role {row['role']} reset {row['name']}, or the same of the database",
            )
    if calm:
        yield good("session settings", "none of the role's or the database's is in the way")


def _plain(name: str, value: str) -> str:
    """Write a setting as pg_settings shows it: pg_db_role_setting has it as it was typed."""
    value = value.strip().strip("'").lower()
    if name.endswith("timeout"):
        digits = value.rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = _UNITS.get(value.removeprefix(digits).strip(), 1)
        try:
            return str(round(float(digits) * unit))
        except ValueError:
            return "0"
    return {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}.get(value, value)
