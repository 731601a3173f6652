"""What commands need of the database: one short connection, and programs by any of their names."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from passbell.errors import CampaignError, from_database
from passbell.settings import Need, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Row", "connect", "one", "parse_campaign", "resolve_program"]

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

CONNECT_SECONDS = 10
STATEMENT_MILLISECONDS = 60_000
MAX_NAMED = 10  # programs listed in an error


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


def one(connection: Connection, sql: LiteralString, parameters: tuple[Any, ...] = ()) -> Row:
    """Run a statement with a time limit and return its only row.

    The limit is SET LOCAL, inside the same transaction: session settings leak through transaction poolers.
    """
    with connection.transaction():
        connection.execute("select set_config('statement_timeout', %s, true)", (str(STATEMENT_MILLISECONDS),))
        row = connection.execute(sql, parameters).fetchone()
    if row is None:
        raise CampaignError("The database gave no answer.", "PB404")
    return row


def resolve_program(connection: Connection, name: str) -> UUID:
    """Return the id of the program with this uuid, PassKit program id or exact name.

    Raises:
        CampaignError: PB404 with the known names; PB409 if a name stands for several programs.
    """
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
            "select coalesce(name, program_id::text) as name from passbell.programs order by 1 limit %s",
            (MAX_NAMED,),
        )
    ]
    listed = ", ".join(known) if known else "none yet"
    raise CampaignError(f"There is no program {name!r}; known programs: {listed}.", "PB404")


def parse_campaign(value: str) -> UUID:
    """Read a campaign id; a CampaignError, PB404, for what cannot be one."""
    try:
        return UUID(value.strip())
    except ValueError:
        raise CampaignError(
            f"{value!r} is not a campaign id; `passbell status` lists the campaigns.", "PB404"
        ) from None
