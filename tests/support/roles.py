"""A database role as an operator makes it: `create role … login`, then `passbell migrate` gives it its rights.

On a database that is migrated already only the last file of the migration, the grants, has anything to do for the
role. So by default that file alone is run, at a fifth of the cost; tests/security/test_grants.py migrates whole.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from passbell.database.bundle import sql_root
from passbell.database.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["role_url"]


@contextlib.contextmanager
def role_url(url: str, role: str, *, whole: bool = False) -> Iterator[str]:
    """Make the role for this database; the URL with which it connects. Afterwards it is gone."""
    password = secrets.token_hex(8)
    name = sql.Identifier(role)
    parts = urlsplit(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("create role {} login password {}").format(name, password))
        try:
            if whole:
                migrate(url)
            else:
                conn.execute((sql_root() / "functions" / "99_grants.sql").read_bytes())
            yield urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))
        finally:
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [role])
            conn.execute(sql.SQL("drop owned by {}").format(name))
            conn.execute(sql.SQL("drop role {}").format(name))
