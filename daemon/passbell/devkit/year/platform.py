"""What the loyalty platform and the restaurant's till write: the program, passes, visits, and who left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    import psycopg

    from passbell.devkit.year.life import Guest, Visit

__all__ = ["write_departures", "write_guests", "write_program", "write_visits"]

GUESTS: Final = """
with g as (
    select * from unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::timestamptz[])
                    as g (id, external_id, passkit_id, first_name, last_name, born, joined)
), u as (
    insert into public.users (id, email, first_name, last_name, birth_date, created_at, marketing_opt_in)
    select id, external_id || '@example.com', first_name, last_name, born, joined, true from g
)
insert into public.passes_master (id, user_id, program_id, protocol, status, external_id, passkit_internal_id,
                                  points_balance, last_updated)
select id, id, %s, 'MEMBERSHIP', 'INSTALLED', external_id, passkit_id, 0, joined from g
"""
VISITS: Final = """
with v as (
    select * from unnest(%s::uuid[], %s::timestamptz[], %s::int[], %s::int[]) as v (id, at, earned, redeemed)
), earned as (
    insert into public.transactions (pass_id, action_type, value_change, created_at)
    select id, 'MEMBER_EARN', earned, at from v
), redeemed as (
    insert into public.transactions (pass_id, action_type, value_change, created_at)
    select id, 'MEMBER_REDEEM', -redeemed, at from v where redeemed > 0
)
update public.passes_master p
   set points_balance = p.points_balance + v.earned - v.redeemed, last_updated = v.at
  from v where p.id = v.id
"""
LEFT: Final = """
update public.passes_master set status = 'UNINSTALLED' where id = any (%s) and status = 'INSTALLED'
"""
REFUSED: Final = "update public.users set marketing_opt_in = false where id = any (%s) and marketing_opt_in"


def write_program(database: psycopg.Connection[Any], columns: Mapping[str, Any]) -> None:
    """Write a program with these columns."""
    database.execute(
        sql.SQL("insert into public.programs ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        ),
        columns,
    )


def write_guests(database: psycopg.Connection[Any], program: UUID, guests: Iterable[Guest]) -> None:
    """Write people with a pass on their phone."""
    rows = [
        (
            one.id,
            f"LUNA-{one.number:06}",
            f"{one.number:022}",
            one.first_name,
            one.last_name,
            one.born,
            one.joined,
        )
        for one in guests
    ]
    if rows:
        database.execute(GUESTS, [*map(list, zip(*rows, strict=True)), program])


def write_visits(database: psycopg.Connection[Any], visits: Iterable[Visit]) -> None:
    """Write what the till knows of visits: points earned and redeemed."""
    rows = [(one.guest.id, one.at, one.earned, one.redeemed) for one in visits]
    if rows:
        database.execute(VISITS, [*map(list, zip(*rows, strict=True))])


def write_departures(database: psycopg.Connection[Any], guests: Iterable[Guest]) -> int:
    """Write removed passes and opt-outs; returns how many passes were removed."""
    guests = list(guests)
    left = database.execute(LEFT, ([one.id for one in guests if not one.carries],)).rowcount
    database.execute(REFUSED, ([one.id for one in guests if not one.opted_in],))
    return left
