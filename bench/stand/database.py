"""One PostgreSQL for all contestants, durable (fsync on), and a fresh database with the same members for each run."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, LiteralString, Self

import psycopg
from psycopg import sql

from passbell.database.bundle import sql_root
from passbell.database.migrate import migrate
from passbell.devkit.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TEXT", "Databases"]

TEXT = (
    "The autumn menu is here: pumpkin flat white, chestnut cake and a warm seat by the window. Show this pass until "
    "Sunday and the second cup is on the house. See you soon at the round bar!"
)
"""With it a PUT has 250 bytes: {"id":"<22 characters>","metaData":{"marketingMessage":"<text>"}}."""

MEMBERS: tuple[LiteralString, ...] = (
    "set session_replication_role = replica",
    """
    insert into public.programs (id, name, protocol, passkit_program_id, timezone, birthday_bot_enabled)
    select md5('g' || g)::uuid, 'Club ' || g, 'MEMBERSHIP', lpad(g::text, 22, '0'), 'UTC', false
      from generate_series(1, %(programs)s::int) as g
    """,
    """
    insert into public.users (id, email, first_name, last_name)
    select md5('u' || i)::uuid, 'member' || i || '@example.com', 'Ann' || i, 'Doe'
      from generate_series(1, %(passes)s::int) as i
    """,
    """
    insert into public.passes_master
           (id, user_id, program_id, protocol, passkit_internal_id, external_id, status, points_balance)
    select md5('p' || i)::uuid, md5('u' || i)::uuid, md5('g' || 1 + i %% %(programs)s::int)::uuid, 'MEMBERSHIP',
           lpad(i::text, 22, '0'), 'M' || i, 'INSTALLED', 100
      from generate_series(1, %(passes)s::int) as i
    """,
    "reset session_replication_role",
)


class Databases:
    """A private server with a template database: `passes` installed passes with a user each, spread over programs.

    Use as a context manager; `with databases.fresh() as url` gives a copy for one run. Further
    settings are the server's.
    """

    def __init__(self, passes: int, programs: int = 1, **settings: str) -> None:
        self.passes = passes
        self._programs = programs
        self._settings = settings
        self._stack = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(EmbeddedPostgres(settings=self._settings))
            self._admin = stack.enter_context(psycopg.connect(self.server.url(), autocommit=True))
            self._admin.execute("create database template_bench")
            url = self.server.url("template_bench")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute((sql_root() / "host" / "generation_2.sql").read_bytes())
                for statement in MEMBERS:
                    connection.execute(
                        statement,
                        {"passes": self.passes, "programs": self._programs} if "%" in statement else None,
                    )
            migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("vacuum analyze")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def fresh(self) -> Fresh:
        """A copy of the template for one run, gone when the block ends."""
        return Fresh(self._admin, self.server, f"run_{next(self._numbers)}")


class Fresh:
    """A database that lives for one `with` block; yields its URL."""

    def __init__(self, admin: psycopg.Connection[Any], server: EmbeddedPostgres, name: str) -> None:
        self._admin = admin
        self._server = server
        self._name = name

    def __enter__(self) -> str:
        self._admin.execute(
            sql.SQL("create database {} template template_bench").format(sql.Identifier(self._name))
        )
        self._admin.execute("checkpoint")  # so that no run pays for what came before it
        return self._server.url(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin.execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self._name))
        )
