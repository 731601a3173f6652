"""The oracle: the members that each segment of the contract must reach, read from the host's own tables.

Nothing here goes through passbell: one query per generation and segment, written from the contract's words.

* on a phone: is_active, status INSTALLED, and a PassKit id;
* opted in: `users.marketing_opt_in` is not false; no user, or NULL, means yes;
* points: `passes_master.points_balance` from generation 2 on, before that protocol_membership's;
* days are counted in the program's own zone (New York where there is none).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from typing import LiteralString
    from uuid import UUID

    import psycopg

__all__ = ["expected", "in_segment", "reachable"]

# Per generation: the passes of a program that may be buzzed.
REACHABLE: Final[dict[str, LiteralString]] = {
    "1_bare": """
        select p.id from passes_master p
         where p.program_id = %(program)s and p.is_active and p.status = 'INSTALLED'
    """,
    "1": """
        select p.id from passes_master p
         where p.program_id = %(program)s and p.is_active and p.status = 'INSTALLED'
        except
        select p.id from passes_master p join users u on u.id = p.user_id where u.marketing_opt_in = false
    """,
    "2": """
        select p.id from passes_master p
         where p.program_id = %(program)s and p.is_active and p.status = 'INSTALLED'
        except
        select p.id from passes_master p join users u on u.id = p.user_id where u.marketing_opt_in = false
    """,
    "3": """
        select p.id from passes_master p
         where p.program_id = %(program)s and p.is_active and p.status = 'INSTALLED'
           and p.passkit_internal_id is not null
        except
        select p.id from passes_master p join users u on u.id = p.user_id where u.marketing_opt_in = false
    """,
    "4": """
        select p.id from passes_master p
         where p.program_id = %(program)s and p.is_active and p.status = 'INSTALLED'
           and p.passkit_internal_id is not null
        except
        select p.id from passes_master p join users u on u.id = p.user_id where u.marketing_opt_in = false
    """,
}

# Who belongs to a segment, reachable or not. `value` is the parameter as text, `list` the entries of a list.
EVERYWHERE: Final[dict[str, LiteralString]] = {
    "ALL": "select id from passes_master",
    "SLUMBER": """
        select id from passes_master where last_updated < now() - %(value)s::int * interval '24 hours'
    """,
    "LOCAL": """
        select p.id from passes_master p join users u on u.id = p.user_id
          join unnest(%(list)s::text[]) as wanted on
            case when wanted like '%%*' then starts_with(lower(u.zip), lower(rtrim(wanted, '*')))
                 else lower(u.zip) = lower(wanted) end
    """,
    "CITY": """
        select p.id from passes_master p join users u on u.id = p.user_id
          join unnest(%(list)s::text[]) as wanted on
            case when wanted like '%%*' then starts_with(lower(u.city), lower(rtrim(wanted, '*')))
                 else lower(u.city) = lower(wanted) end
    """,
    "UNREDEEMED": """
        select p.id from passes_master p left join protocol_coupon c on c.pass_id = p.id
         where p.protocol = 'COUPON' and c.redeemed_at is null
    """,
    "CHECKED_IN": "select pass_id from protocol_event_ticket where checked_in_at is not null",
    "NOT_CHECKED_IN": """
        select p.id from passes_master p left join protocol_event_ticket t on t.pass_id = p.id
         where p.protocol = 'EVENT_TICKET' and t.checked_in_at is null
    """,
    "IDS": """
        select id from passes_master
         where lower(external_id) in (select lower(i) from unnest(%(list)s::text[]) i)
            or id::text in (select lower(i) from unnest(%(list)s::text[]) i)
    """,
}
VIP: Final[dict[str, LiteralString]] = {
    "1": "select pass_id from protocol_membership where tier_points > %(value)s::int",
    "2": """
        select p.id from passes_master p left join protocol_membership m on m.pass_id = p.id
         where case when m.pass_id is null then p.points_balance else m.tier_points end > %(value)s::int
    """,
}
WHALE: Final[dict[str, LiteralString]] = {
    "1": "select pass_id from protocol_membership where points_balance > %(value)s::int",
    "2": "select id from passes_master where points_balance > %(value)s::int",
}
EXPIRING: Final[LiteralString] = """
    select c.pass_id from protocol_coupon c
     where c.redeemed_at is null
       and c.expiry_date - (now() at time zone {zone})::date between 0 and %(value)s::int
"""
# A member without a row in protocol_membership has the tier of the balance; without either, the first tier.
TIER: Final[LiteralString] = """
    select p.id
      from passes_master p
      left join protocol_membership m on m.pass_id = p.id
      join programs g on g.id = p.program_id
      cross join lateral (
           select coalesce(case when m.pass_id is null then {balance} else m.tier_points end, 0) as points) t
     where 1 + (t.points > {bronze})::int + (t.points > {silver})::int + (t.points > {gold})::int = %(value)s::int
"""
DEFAULTS: Final = {"VIP": "1000", "WHALE": "500", "SLUMBER": "30", "EXPIRING": "7"}


def reachable(conn: psycopg.Connection[Any], generation: str, program: UUID) -> set[UUID]:
    """Return the passes of a program that are on a phone and whose owner did not opt out."""
    if generation == "1_bare" and _has_column(conn, "users", "marketing_opt_in"):
        generation = "1"
    return {row[0] for row in conn.execute(REACHABLE[generation], {"program": program})}


def in_segment(conn: psycopg.Connection[Any], generation: str, segment: str) -> set[UUID]:
    """Return the passes, of any program and in any state, that one segment such as `VIP:500` names."""
    name, _, value = segment.partition(":")
    name, value = name.strip().upper(), value.strip()
    parameters = {
        "value": value or DEFAULTS.get(name),
        "list": [i.strip() for i in value.split(",") if i.strip()],
    }
    return {row[0] for row in conn.execute(_query(conn, generation, name), parameters)}


def expected(conn: psycopg.Connection[Any], generation: str, program: UUID, target: str = "ALL") -> set[UUID]:
    """Return exactly the passes that a campaign of `program` with this target must buzz."""
    found = reachable(conn, generation, program)
    for segment in re.split(r"\s*&\s*", target):
        found &= in_segment(conn, generation, segment)
    return found


def _query(conn: psycopg.Connection[Any], generation: str, name: str) -> sql.Composed:
    if name == "VIP":
        return sql.SQL(VIP["1" if generation.startswith("1") else "2"]).format()
    if name == "WHALE":
        return sql.SQL(WHALE["1" if generation.startswith("1") else "2"]).format()
    if name == "EXPIRING":
        zone = sql.SQL("'America/New_York'")
        if _has_column(conn, "programs", "timezone"):
            zone = sql.SQL(
                "(select g.timezone from passes_master p join programs g on g.id = p.program_id"
                " where p.id = c.pass_id)"
            )
        return sql.SQL(EXPIRING).format(zone=zone)
    if name == "TIER":
        limits = {"bronze": 999, "silver": 4999, "gold": 14999}
        balance = sql.SQL("null" if generation.startswith("1") else "p.points_balance")
        return sql.SQL(TIER).format(
            balance=balance,
            **{
                metal: sql.SQL("g.") + sql.Identifier(f"tier_{metal}_max")
                if generation in {"3", "4"}
                else sql.Literal(limit)
                for metal, limit in limits.items()
            },
        )
    return sql.Composed([sql.SQL(EVERYWHERE[name])])


def _has_column(conn: psycopg.Connection[Any], table: str, column: str) -> bool:
    """Whether the host has a column that passbell adds where it is missing."""
    found = conn.execute(
        "select true from information_schema.columns"
        " where table_schema = 'public' and table_name = %s and column_name = %s",
        [table, column],
    ).fetchone()
    return found is not None
