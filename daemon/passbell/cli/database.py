"""What commands need of the database: a short connection; programs by any name, campaigns by a part of their id."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from passbell.blank import is_blank
from passbell.errors import CampaignError, from_database
from passbell.settings import Need, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LOOK_MILLISECONDS",
    "Row",
    "connect",
    "fetch",
    "limited",
    "one",
    "resolve_campaign",
    "resolve_program",
]

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

CONNECT_SECONDS = 10
STATEMENT_MILLISECONDS = 60_000
LOOK_MILLISECONDS = 10_000
"""For which one statement of `passbell check` may take."""
MAX_NAMED = 10  # programs or campaigns listed in an error
_ID_BEGINS = re.compile("[0-9a-f]{1,32}")


@contextmanager
def connect(settings: Settings | None = None) -> Iterator[Connection]:
    """Yield an autocommit connection with rows as dicts; driver errors become ours.

    No prepared statements and no session state, so it works through a transaction pooler.
    """
    settings = settings or Settings.for_command(Need.DATABASE)
    try:
        with psycopg.connect(
            settings.database_dsn,
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=None,
            connect_timeout=CONNECT_SECONDS,
            application_name="passbell command",
        ) as connection:
            yield connection
    except psycopg.Error as error:
        raise from_database(error) from error


@contextmanager
def limited(connection: Connection, milliseconds: int) -> Iterator[None]:
    """A transaction in which no statement takes longer: a rule of the platform's may hang.

    The limit is SET LOCAL: session settings leak through transaction poolers.
    """
    with connection.transaction():
        connection.execute(
            "select set_config('statement_timeout', %(limit)s, true)", {"limit": str(milliseconds)}
        )
        yield


def fetch(connection: Connection, sql: LiteralString, **parameters: object) -> list[Row]:
    """Run a statement with a time limit and return its rows; parameters go by name."""
    with limited(connection, STATEMENT_MILLISECONDS):
        return connection.execute(sql, parameters).fetchall()


def one(connection: Connection, sql: LiteralString, **parameters: object) -> Row:
    """Like `fetch`, for a statement that returns one row."""
    rows = fetch(connection, sql, **parameters)
    if not rows:
        raise CampaignError("The database gave no answer.", "PB404")
    return rows[0]


def resolve_program(connection: Connection, name: str) -> UUID:
    """Return the id of the program with this uuid, PassKit program id or exact name.

    Raises:
        CampaignError: PB404 with the known names; PB409 if several programs have that name.
    """
    if is_blank(name):  # some program may have a blank name
        raise CampaignError("Which program? Its name is empty.", "PB404")
    rows = connection.execute(
        """
        select program_id
          from passbell.programs
         where program_id::text = lower(%(name)s) or passkit_program_id = %(name)s or name = %(name)s
        """,
        {"name": name.strip()},
    ).fetchall()
    if len(rows) == 1:
        return UUID(str(rows[0]["program_id"]))
    if rows:
        raise CampaignError(f"Several programs are called {name!r}: use the program's id.", "PB409")
    known = [
        row["name"]
        for row in connection.execute(
            "select coalesce(name, program_id::text) as name from passbell.programs order by 1 limit %(most)s",
            {"most": MAX_NAMED},
        )
    ]
    listed = ", ".join(known) if known else "none yet"
    raise CampaignError(f"There is no program {name!r}; known programs: {listed}.", "PB404")


def resolve_campaign(connection: Connection, value: str) -> UUID:
    """Return the id of the campaign whose id begins like this.

    Raises:
        CampaignError: PB404 if there is none, or the text cannot begin an id; PB409 with the candidates if
            there are several.
    """
    digits = value.strip().lower().replace("-", "")
    if not _ID_BEGINS.fullmatch(digits):
        raise CampaignError(
            f"{value!r} is not a campaign id, nor the beginning of one; `passbell status` lists the campaigns.",
            "PB404",
        )
    # A range of the primary key: no campaign is read but those meant.
    found = connection.execute(
        """
        select id, name, status
          from public.push_campaigns
         where id between %(first)s and %(last)s
         order by id
         limit %(most)s
        """,
        {
            "first": UUID(digits.ljust(32, "0")),
            "last": UUID(digits.ljust(32, "f")),
            "most": MAX_NAMED + 1,
        },
    ).fetchall()
    if not found:
        raise CampaignError(
            f"There is no campaign {value.strip()}; `passbell status` lists the campaigns.", "PB404"
        )
    if len(found) > 1:
        named = [f"{row['id']} ({row['name'] or row['status']})" for row in found[:MAX_NAMED]]
        more = ", …" if len(found) > MAX_NAMED else ""
        raise CampaignError(
            f"Several campaigns begin with {value.strip()}: {', '.join(named)}{more}. Write more of the id.",
            "PB409",
        )
    return UUID(str(found[0]["id"]))
