"""Believable members and passes for the stand-in of the host's tables, in any of its generations.

Everything is drawn inside PostgreSQL, one statement per table, so a million passes take tens of seconds.
The same seed gives the same members; only dates move, because they are counted from today.

What there is, per program: about 82 % of the passes are on a phone, the rest were never installed, or
were uninstalled, voided or have expired; a few installed ones are inactive; 8 % of the people opted out
and 5 % never said (NULL, which means yes); 3 people in 1,000 have their birthday today; one in fifty
holds two passes of the same program. In generation 2 and 3 a fifth of the passes has no `users` row, the
live balance is in passes_master, and a tenth has no row in protocol_membership; in generation 3 some
passes have no PassKit id yet.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, LiteralString, NamedTuple
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from passbell.devkit.people import CREATE_PEOPLE, DRAW_PEOPLE, FIRST_NAMES, LAST_NAMES, PLACES, SHARE_PEOPLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

__all__ = ["DEMO_PROGRAMS", "DemoProgram", "PassKitRecord", "Protocol", "passkit_records", "populate"]

Protocol = Literal["MEMBERSHIP", "COUPON", "EVENT_TICKET"]


@dataclass(frozen=True, slots=True)
class DemoProgram:
    """A program to create; `share` is its part of all passes, relative to the other programs' shares."""

    name: str
    protocol: Protocol
    timezone: str
    share: float = 1.0
    reward_points: int = 0
    suspended: bool = False


DEMO_PROGRAMS: Final = (
    DemoProgram("Aurora Coffee Club", "MEMBERSHIP", "America/New_York", share=6, reward_points=50),
    DemoProgram("Harbor Street Deli", "COUPON", "America/Los_Angeles", share=2),
    DemoProgram("Northlight Festival", "EVENT_TICKET", "Pacific/Auckland", share=2),
)


class PassKitRecord(NamedTuple):
    """One record as PassKit would hold it; what the sandbox is seeded with.

    `program_id` is PassKit's (22 characters), `points` whole points (0 for coupons and tickets),
    `installed` whether a phone holds the pass now.
    """

    program_id: str
    passkit_id: str
    external_id: str
    protocol: Protocol
    meta_data: dict[str, str]
    points: int
    forename: str | None
    surname: str | None
    installed: bool


class _Insert(NamedTuple):
    """Fill `table` from people: an expression per column, used where the host has that column."""

    table: LiteralString
    columns: dict[LiteralString, LiteralString]
    source: LiteralString


_INSERTS: Final = (
    _Insert(
        "users",
        {
            "id": "user_id",
            "email": "email",
            "first_name": "first_name",
            "last_name": "last_name",
            "address_line1": "address",
            "city": "city",
            "state": "state",
            "zip": "zip",
            "birth_date": "birth_date",
            "marketing_opt_in": "opted_in",
            "phone_number": "phone",
        },
        "from (select distinct on (user_id) * from pg_temp.people where user_id is not null"
        " order by user_id, n) as person",
    ),
    _Insert(
        "passes_master",
        {
            "id": "pass_id",
            "user_id": "user_id",
            "program_id": "program_id",
            "protocol": "protocol",
            "passkit_internal_id": "passkit_id",
            "external_id": "external_id",
            "install_url": "'https://pub1.pskt.io/' || passkit_id",
            "status": "status",
            "is_active": "is_active",
            "last_updated": "last_updated",
            "enrollment_source": "(array['QR', 'WEB', 'POS'])[1 + n % 3]",
            "member_email": "email",
            "member_first_name": "first_name",
            "member_last_name": "last_name",
            "points_balance": "case protocol when 'MEMBERSHIP' then points else 0 end",
            "spend_tier_level": "case when protocol = 'MEMBERSHIP' then"
            " 1 + (tier_points > 999)::integer + (tier_points > 4999)::integer"
            " + (tier_points > 14999)::integer end",
            "member_phone": "phone",
        },
        "from pg_temp.people",
    ),
    _Insert(
        "protocol_coupon",
        {
            "pass_id": "pass_id",
            "offer_details": "(array['Free coffee', '2 for 1 on Tuesdays', '10 % off'])[1 + n % 3]",
            "expiry_date": "case when chance >= 0.1 then program_day + (place * 90)::integer - 20 end",
            "redeemed_at": "case when n % 4 = 0 then last_updated end",
        },
        "from pg_temp.people where protocol = 'COUPON'",
    ),
    _Insert(
        "protocol_event_ticket",
        {
            "pass_id": "pass_id",
            "event_name": "'Northlight ' || extract(year from program_day)",
            "venue": "(array['Main Stage', 'Harbour Hall', 'The Tent'])[1 + n % 3]",
            "checked_in_at": "case when place < 0.4 then last_updated end",
        },
        "from pg_temp.people where protocol = 'EVENT_TICKET'",
    ),
)
# Where the balance lives in protocol_membership, every member has a row there.
_MEMBERSHIPS: Final = _Insert(
    "protocol_membership",
    {
        "pass_id": "pass_id",
        "points_balance": "points",
        "tier_points": "tier_points",
        "lifetime_points": "points * 3",
    },
    "from pg_temp.people where protocol = 'MEMBERSHIP'",
)
# Where it moved to passes_master, the old column is stale or was never written.
_STALE_MEMBERSHIPS: Final = _Insert(
    "protocol_membership",
    {
        "pass_id": "pass_id",
        "points_balance": "points / 2",
        "tier_points": "tier_points",
        "lifetime_points": "points",
    },
    "from pg_temp.people where protocol = 'MEMBERSHIP' and n % 10 <> 7",
)

_DRAW_CONSTANTS: Final[dict[str, object]] = {
    "first_names": FIRST_NAMES,
    "first_name_count": len(FIRST_NAMES),
    "last_names": LAST_NAMES,
    "last_name_count": len(LAST_NAMES),
    "cities": [city for city, _, _ in PLACES],
    "states": [state for _, state, _ in PLACES],
    "zips": [zip_code for _, _, zip_code in PLACES],
    "place_count": len(PLACES),
}

# A trigger checks foreign keys row by row, which takes half of the time for a million passes. What is drawn
# here holds together by construction, so a superuser (as one is on a private server) skips them this once.
_TRUST_OURSELVES: Final = """
select set_config('session_replication_role', 'replica', true) where current_setting('is_superuser') = 'on'
"""

_RECORDS: Final = """
select g.passkit_program_id as program_id, p.passkit_internal_id as passkit_id, p.external_id,
       p.protocol::text as protocol,
       jsonb_build_object(
         'memberNumber', p.external_id,
         'favouriteStore', (array['Main', 'Harbour', 'Airport', 'Mall'])[1 + (hashtext(p.external_id) & 3)],
         'barcodeNote', 'till ' || (hashtext(p.external_id) & 15)
       ) || case when hashtext(p.external_id) & 1 = 0
                 then jsonb_build_object('marketingMessage', 'Welcome to ' || g.name)
                 else '{{}}' end as meta_data,
       {points} as points,
       coalesce({first}, u.first_name) as forename, coalesce({last}, u.last_name) as surname,
       p.status::text = 'INSTALLED' as installed
  from public.passes_master p
  join public.programs g on g.id = p.program_id
  left join public.users u on u.id = p.user_id
  left join public.protocol_membership m on m.pass_id = p.id
 where p.passkit_internal_id is not null and g.passkit_program_id is not null
"""


def populate(
    conn: psycopg.Connection[Any],
    generation: str,
    programs: Sequence[DemoProgram] = DEMO_PROGRAMS,
    passes: int = 3_000,
    seed: int = 1,
) -> dict[str, UUID]:
    """Create the programs and `passes` passes spread over them; return the programs' ids by name.

    `generation` is "1", "1_bare", "2", "3" or "4": what the host's tables that `conn` is connected to look like.
    Call it once per database. All in one transaction, each table analysed so that plans fit the volume.
    """
    with conn.transaction():
        types = _column_types(conn)
        ids = {
            program.name: _create_program(conn, types["programs"], program, f"{seed}:{number}")
            for number, program in enumerate(programs)
        }
        conn.execute(_TRUST_OURSELVES)
        conn.execute("select setseed(%s::double precision)", [seed % 1_000 / 1_000])
        conn.execute(CREATE_PEOPLE)
        passes_left, shares_left = passes, sum(program.share for program in programs)
        for number, program in enumerate(programs):
            count = round(passes_left * program.share / shares_left)
            conn.execute(
                DRAW_PEOPLE,
                _DRAW_CONSTANTS
                | {
                    "seed": str(seed),
                    "number": number,
                    "count": count,
                    "program": ids[program.name],
                    "protocol": program.protocol,
                    "prefix": "".join(word[0] for word in program.name.split()).upper() + str(number),
                    "timezone": program.timezone,
                    "without_user": 0.03 if generation.startswith("1") else 0.20,
                    "without_wallet": 0.04 if generation in {"3", "4"} else 0.0,
                },
            )
            passes_left, shares_left = passes_left - count, shares_left - program.share
        conn.execute(SHARE_PEOPLE)
        memberships = _MEMBERSHIPS if generation.startswith("1") else _STALE_MEMBERSHIPS
        inserts = (
            _INSERTS if generation == "4" else (*_INSERTS, memberships)
        )  # 4: the platform no longer writes there
        for insert in inserts:
            _fill(conn, types[insert.table], insert)
        conn.execute("drop table pg_temp.people")
    return ids


def passkit_records(conn: psycopg.Connection[Any], batch: int = 5_000) -> Iterator[PassKitRecord]:
    """Yield the record PassKit would hold for every pass that has a PassKit id, `batch` rows at a time.

    `meta_data` carries a few keys of the platform's own, so that a test sees when one is wiped.
    """
    if "points_balance" in _column_types(conn)["passes_master"]:
        query = sql.SQL(_RECORDS).format(
            points=sql.SQL("p.points_balance"),
            first=sql.SQL("p.member_first_name"),
            last=sql.SQL("p.member_last_name"),
        )
    else:
        query = sql.SQL(_RECORDS).format(
            points=sql.SQL("coalesce(m.points_balance, 0)"), first=sql.SQL("null"), last=sql.SQL("null")
        )
    with conn.transaction(), conn.cursor("passkit_records", row_factory=class_row(PassKitRecord)) as cursor:
        cursor.itersize = batch
        cursor.execute(query)
        yield from cursor


def _create_program(
    conn: psycopg.Connection[Any], types: dict[str, sql.Identifier], program: DemoProgram, key: str
) -> UUID:
    program_id = UUID(bytes=hashlib.md5(f"program {key}".encode(), usedforsecurity=False).digest())
    digest = base64.b64encode(hashlib.sha256(f"program {key}".encode()).digest(), altchars=b"xy").decode()
    row = {
        "id": program_id,
        "name": program.name,
        "protocol": program.protocol,
        "passkit_program_id": digest[:22],
        "timezone": program.timezone,
        "is_suspended": program.suspended,
        "birthday_bot_enabled": program.protocol == "MEMBERSHIP",
        "birthday_reward_points": program.reward_points,
    }
    known = {name: value for name, value in row.items() if name in types}
    conn.execute(
        sql.SQL("insert into public.programs ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, known)),
            sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Placeholder(name), types[name]) for name in known
            ),
        ),
        known,
    )
    return program_id


def _fill(conn: psycopg.Connection[Any], types: dict[str, sql.Identifier], insert: _Insert) -> None:
    known = {name: expression for name, expression in insert.columns.items() if name in types}
    conn.execute(
        sql.SQL("insert into public.{table} ({names}) select {values} {source}").format(
            table=sql.Identifier(insert.table),
            names=sql.SQL(", ").join(map(sql.Identifier, known)),
            values=sql.SQL(", ").join(
                sql.SQL("({})::{}").format(sql.SQL(expression), types[name])
                for name, expression in known.items()
            ),
            source=sql.SQL(insert.source),
        )
    )
    conn.execute(sql.SQL("analyze public.{}").format(sql.Identifier(insert.table)))


def _column_types(conn: psycopg.Connection[Any]) -> dict[str, dict[str, sql.Identifier]]:
    """Return `{table: {column: its type}}` of schema public. An enum takes text only with a cast."""
    found: dict[str, dict[str, sql.Identifier]] = {}
    for table, column, schema, kind in conn.execute(
        """
        select c.relname, a.attname, n.nspname, t.typname
          from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          join pg_type t on t.oid = a.atttypid
          join pg_namespace n on n.oid = t.typnamespace
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
        """
    ):
        found.setdefault(table, {})[column] = sql.Identifier(schema, kind)
    return found
