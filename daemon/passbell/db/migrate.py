"""Install or upgrade passbell on a database, and tell whether that is needed."""

from __future__ import annotations

import dataclasses

import psycopg

from passbell import __version__
from passbell.db.bundle import Bundle, read_bundle
from passbell.errors import PassbellError, SchemaTooNew, from_database

__all__ = ["CheckReport", "MigrationReport", "check", "migrate"]

# One installation at a time, whatever the number of daemons that start at the same moment.
_LOCK = 7_365_522_001


@dataclasses.dataclass(frozen=True, slots=True)
class CheckReport:
    """What is installed beside what this program brings.

    `installed` is the version of the newest migration (0: nothing there), `available` ours; `current` is true if
    migrations, functions and adapters are all as this program wants them.
    """

    installed: int
    available: int
    current: bool


@dataclasses.dataclass(frozen=True, slots=True)
class MigrationReport:
    """What `migrate` did: the version before and after, whether anything changed, and what needs a person's eye."""

    before: int
    after: int
    changed: bool
    warnings: tuple[str, ...] = ()


def check(url: str) -> CheckReport:
    """Compare without changing anything.

    Raises:
        SchemaTooNew: the database was migrated by a newer passbell.
        DatabaseUnavailable: no connection.
    """
    try:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            return compare(connection, read_bundle())
    except psycopg.Error as error:
        raise from_database(error) from error


def compare(connection: psycopg.Connection, bundle: Bundle) -> CheckReport:
    """Compare over a connection that is there already."""
    installed, digest = _installed(connection)
    if installed > bundle.version:
        message = (
            f"The database is at schema version {installed}, this passbell {__version__} knows {bundle.version}: "
            "install the newer passbell."
        )
        raise SchemaTooNew(message)
    return CheckReport(installed, bundle.version, installed == bundle.version and digest == bundle.digest)


def migrate(url: str) -> MigrationReport:
    """Install or upgrade, in one transaction: all of it or nothing. Running it again changes nothing.

    Raises:
        SchemaTooNew: the database was migrated by a newer passbell.
        DatabaseUnavailable: no connection.
        PassbellError: the database refused; the message says what.
    """
    bundle = read_bundle()
    try:
        with psycopg.connect(url, prepare_threshold=None) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute("set local lock_timeout = '30s'")
            before = compare(connection, bundle)
            connection.execute(bundle.text.encode())  # several statements, no parameters
            warnings = connection.execute("select warning from passbell.migration_warnings()").fetchall()
            return MigrationReport(
                before.installed, bundle.version, not before.current, tuple(w for (w,) in warnings)
            )
    except psycopg.errors.LockNotAvailable as error:
        message = "Somebody holds a lock on the platform's tables for more than 30 seconds: try again when it is quiet."
        raise PassbellError(message) from error
    except psycopg.Error as error:
        raise from_database(error) from error


def _installed(connection: psycopg.Connection) -> tuple[int, str | None]:
    there = connection.execute("select to_regclass('passbell.settings') is not null").fetchone()
    if there is None or not there[0]:
        return 0, None
    row = connection.execute("select schema_version, bundle from passbell.settings").fetchone()
    return (row[0], row[1]) if row else (0, None)
