"""A fresh database per test, copied from a template that is built once per session.

`CREATE DATABASE … TEMPLATE` copies files, so a test pays tens of milliseconds whatever the template holds. By default
PostgreSQL 15 and later copies through its buffers and its log instead, which took two to four times the processor
time: 60 ms in place of 15 ms, and the first connection then builds the cache of catalogs that a copied file brings.
"""

from __future__ import annotations

import itertools
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg
from psycopg import sql

from passbell.database.bundle import sql_root

if TYPE_CHECKING:
    from .servers import Server, ServerChoice

__all__ = ["Databases", "Generation", "Supabase"]

Generation = Literal["1", "1_bare", "2", "3", "4", "empty"]
Supabase = Literal[False, True, "legacy"]

STRATEGIES_SINCE: Final = 15_00_00


class Databases:
    """Templates and databases of one test session.

    Roles belong to a whole server, and Supabase's four must be absent in a test of plain PostgreSQL. So the
    databases with Supabase around them live on a server of their own, unless the server was given to us.
    """

    def __init__(self, choice: ServerChoice) -> None:
        self._choice = choice
        self._token = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._stack = ExitStack()
        self._servers: dict[bool, tuple[Server, psycopg.Connection[Any]]] = {}
        self._templates: dict[tuple[Generation, Supabase, bool], str] = {}
        self._made: dict[str, bool] = {}

    def create(self, generation: Generation, *, supabase: Supabase = False, migrated: bool = True) -> str:
        """Return the URL of a new database with the host's tables of `generation`."""
        template = self._template(generation, supabase, migrated)
        return self._create(bool(supabase), f"passbell_{self._token}_{next(self._numbers)}", template)

    def names(self) -> set[str]:
        """The databases that exist now and are not templates."""
        return set(self._made) - set(self._templates.values())

    def drop(self, name: str) -> None:
        """Drop a database, with its connections."""
        _, admin = self._server(self._made.pop(name))
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Drop everything and stop the servers that we started."""
        for name in list(self._made):
            self.drop(name)
        self._stack.close()

    def _template(self, generation: Generation, supabase: Supabase, migrated: bool) -> str:  # noqa: FBT001
        key = (generation, supabase, migrated)
        if key not in self._templates:
            name = f"passbell_{self._token}_template_{len(self._templates)}"
            url = self._create(bool(supabase), name, "template1" if self._choice.shared else "template0")
            load_host(url, generation, supabase=supabase)
            if migrated:
                from passbell.database.migrate import migrate  # noqa: PLC0415 - only sessions that need a database

                migrate(url)
            self._templates[key] = name
        return self._templates[key]

    def _create(self, supabase: bool, name: str, template: str) -> str:  # noqa: FBT001
        server, admin = self._server(supabase)
        admin.execute(
            sql.SQL("create database {} template {} {}").format(
                sql.Identifier(name), sql.Identifier(template), sql.SQL(self._strategy(admin))
            )
        )
        self._made[name] = supabase
        return server.url(name)

    def _strategy(self, admin: psycopg.Connection[Any]) -> str:
        # A server that was given to us may be durable: copying files would then wait for its disk.
        return (
            ""
            if self._choice.shared or admin.info.server_version < STRATEGIES_SINCE
            else "strategy file_copy"
        )

    def _server(self, supabase: bool) -> tuple[Server, psycopg.Connection[Any]]:  # noqa: FBT001
        key = supabase and not self._choice.shared
        if key not in self._servers:
            server = self._stack.enter_context(self._choice.start())
            admin = psycopg.connect(server.url(), autocommit=True)
            self._stack.callback(admin.close)
            self._servers[key] = (server, admin)
        return self._servers[key]


def load_host(url: str, generation: Generation, *, supabase: Supabase = False) -> None:
    """Load the stand-in of the host's tables, and what Supabase puts around them, into an empty database."""
    files = [] if generation == "empty" else [f"generation_{generation}.sql"]
    if supabase:
        files.append("supabase.sql")
    if supabase == "legacy":
        files.append("supabase_legacy_grants.sql")
    with psycopg.connect(url, autocommit=True) as conn:
        for file in files:
            conn.execute((sql_root() / "host" / file).read_bytes())
