"""Install or upgrade passbell on a database, and tell whether that is needed."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Final

import psycopg

from passbell import __version__
from passbell.db.bundle import Bundle, read_bundle
from passbell.errors import PassbellError, SchemaTooNew, from_database

__all__ = ["CheckReport", "MigrationReport", "check", "migrate"]

# One installation at a time, whatever the number of daemons that start at the same moment.
_LOCK = 7_365_522_001

LARGE_BYTES: Final = 32 * 2**20
"""From this size on passes_master gets its index beside the platform's writes; below, building it takes a moment."""
BUILD_SECONDS: Final = 1800.0

# The index of sql/migrations/0011_external_ids.sql; a test compares the two.
_BUILD: Final = """
    create index concurrently if not exists passes_master_external_id_folded on public.passes_master
           (lower(btrim(nullif(btrim(external_id::text), ''))))
"""
_STATE: Final = """
    select i.indisvalid,
           exists (select from pg_catalog.pg_locks l
                    where l.relation = t.oid and l.mode = 'ShareUpdateExclusiveLock' and l.pid <> pg_backend_pid())
      from pg_catalog.pg_class t
      left join pg_catalog.pg_index i on i.indexrelid = to_regclass('public.passes_master_external_id_folded')
     where t.oid = to_regclass('public.passes_master') and pg_relation_size(t.oid) >= %s
       and exists (select from pg_catalog.pg_attribute a
                    where a.attrelid = t.oid and a.attname = 'external_id' and a.attnum > 0 and not a.attisdropped)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class CheckReport:
    """What is installed beside what this program brings.

    `installed` is the version of the newest migration (0: nothing there), `available` ours; `current` is true if
    migrations, functions and adapters are all as this program wants them.
    """

    installed: int
    available: int
    current: bool

    @property
    def lag(self) -> str:
        """What is missing and what to do, as a sentence; of use if it is not `current`."""
        if self.installed == 0:
            return "passbell is not installed on this database: run `passbell migrate`."
        if self.installed < self.available:
            return (
                f"The database is at schema version {self.installed}, this program brings "
                f"{self.available}: run `passbell migrate`."
            )
        return "The database has other functions than this program brings: run `passbell migrate`."


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

    Only the index on a large table of the platform's is built before that, in a way that lets the platform write.

    Raises:
        SchemaTooNew: the database was migrated by a newer passbell.
        DatabaseUnavailable: no connection.
        PassbellError: the database refused; the message says what.
    """
    bundle = read_bundle()
    try:
        _build_ahead(url, bundle)
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


def _build_ahead(url: str, bundle: Bundle) -> None:
    """Build the index on external ids if the table is large and lacks it; wait for somebody who is building it.

    No timeout could be set without a session, so the clock is ours. An index that was left half built (invalid) costs
    writes and serves nobody: it is dropped and built again.
    """
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        compare(connection, bundle)  # nothing is built for a newer schema
        ends = time.monotonic() + BUILD_SECONDS
        clock = threading.Timer(BUILD_SECONDS, connection.cancel)
        clock.daemon = True
        clock.start()
        try:
            while (state := connection.execute(_STATE, (LARGE_BYTES,)).fetchone()) is not None:
                valid, busy = state
                if valid or (busy and time.monotonic() > ends):
                    return
                if valid is None:
                    connection.execute(_BUILD)
                    connection.execute("analyze public.passes_master")
                elif busy:
                    time.sleep(0.5)
                else:
                    connection.execute("drop index concurrently public.passes_master_external_id_folded")
        except psycopg.errors.QueryCanceled as error:
            message = (
                "The index on passes_master (external ids) could not be built within half an hour beside the "
                "platform's work: an old transaction holds it up. End that (pg_stat_activity tells which), and "
                "migrate again."
            )
            raise PassbellError(message) from error
        finally:
            clock.cancel()


def _installed(connection: psycopg.Connection) -> tuple[int, str | None]:
    there = connection.execute("select to_regclass('passbell.settings') is not null").fetchone()
    if there is None or not there[0]:
        return 0, None
    row = connection.execute("select schema_version, bundle from passbell.settings").fetchone()
    return (row[0], row[1]) if row else (0, None)
