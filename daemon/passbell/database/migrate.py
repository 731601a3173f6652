"""Install or upgrade passbell on a database, and tell whether that is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg
from psycopg import sql

from passbell import __version__
from passbell.database.bundle import Bundle, read_bundle
from passbell.errors import DatabaseRefused, PassbellError, SchemaBehind, SchemaTooNew, from_database

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CheckReport", "MigrationReport", "check", "migrate"]

# One installation at a time, whatever the number of daemons that start at the same moment.
_LOCK = 7_365_522_001

_NO_RIGHT: Final = "42501"
"""SQLSTATE of a missing right. The sentence for it names the role, which has to be changed."""

LARGE_BYTES: Final = 32 * 2**20
"""From this size on passes_master gets its index beside the platform's writes; below, building it takes a moment."""
BUILD_SECONDS: Final = 1800.0

# Indexes on the platform's own tables: name, table, the columns they need, and what creates them. The same statements
# are in the migrations, for small tables; a test compares the two.
INDEXES: Final[tuple[tuple[str, str, list[str], LiteralString], ...]] = (
    (
        "passes_master_external_id_folded",
        "passes_master",
        ["external_id"],
        """
        create index concurrently if not exists passes_master_external_id_folded on public.passes_master
               (lower(btrim(nullif(btrim(external_id::text), ''))))
        """,
    ),
    (
        "passes_master_user",
        "passes_master",
        ["user_id"],
        "create index concurrently if not exists passes_master_user on public.passes_master (user_id)",
    ),
    (
        "passes_master_program",
        "passes_master",
        ["program_id"],
        "create index concurrently if not exists passes_master_program on public.passes_master (program_id)",
    ),
    (
        "transactions_pass_created",
        "transactions",
        ["pass_id", "created_at", "action_type"],
        """
        create index concurrently if not exists transactions_pass_created on public.transactions
               (pass_id, created_at) include (action_type)
        """,
    ),
)
# Of an index: is it valid, is another session building it. No row where the table is small, lacks a column, or has
# another index that begins with the same single column.
_STATE: Final = """
    select i.indisvalid,
           exists (select from pg_catalog.pg_locks l
                    where l.relation = t.oid and l.mode = 'ShareUpdateExclusiveLock' and l.pid <> pg_backend_pid())
      from pg_catalog.pg_class t
      left join pg_catalog.pg_index i on i.indexrelid = to_regclass('public.' || %(name)s)
     where t.oid = to_regclass('public.' || %(relation)s) and t.relkind = 'r' and pg_relation_size(t.oid) >= %(bytes)s
       and (select count(*) from pg_catalog.pg_attribute a
             where a.attrelid = t.oid and a.attname = any (%(columns)s) and a.attnum > 0 and not a.attisdropped)
           = cardinality(%(columns)s)
       and not (%(name)s in ('passes_master_user', 'passes_master_program')
                and exists (select from pg_catalog.pg_index o
                              join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attname = (%(columns)s)[1]
                             where o.indrelid = t.oid and o.indkey[0] = a.attnum and o.indpred is null
                               and o.indexrelid is distinct from i.indexrelid))
"""
# How long migrate goes on trying to get its locks on the platform's tables, and how long one try waits. A session
# that queues behind a waiting migrate waits as long.
PATIENCE_SECONDS: Final = 60.0
TRY_MILLISECONDS: Final = 300


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


def _connect(url: str, *, autocommit: bool = True) -> psycopg.Connection:
    """Connect. A server that stores bytes (SQL_ASCII) would answer in bytes; here they are UTF-8."""
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        connection.execute("set client_encoding to 'UTF8'")
    connection.autocommit = autocommit
    return connection


def check(url: str) -> CheckReport:
    """Compare without changing anything.

    Raises:
        SchemaTooNew: the database was migrated by a newer passbell.
        DatabaseUnavailable: no connection.
    """
    try:
        with _connect(url) as connection:
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

    Only indexes on large tables of the platform's are built before that, in a way that lets the platform write. Locks
    are waited for in short tries.

    Raises:
        SchemaTooNew: the database was migrated by a newer passbell.
        DatabaseUnavailable: no connection.
        PassbellError: the database refused; the message says what.
    """
    bundle = read_bundle()
    ends = time.monotonic() + PATIENCE_SECONDS
    try:
        _build_ahead(url, bundle)
        while True:
            try:
                report = _install(url, bundle)
                _validate(url)
                _build_late(url)
                report = _warned(url, report)
            except psycopg.errors.LockNotAvailable as error:
                if time.monotonic() > ends:
                    message = (
                        "Another session holds a lock on the platform's tables for more than a minute: end that "
                        "transaction (pg_stat_activity tells which), or try again when it is quiet."
                    )
                    raise PassbellError(message) from error
                time.sleep(0.5)
            else:
                return report
    except psycopg.Error as error:
        raise _explained(error) from error


def _explained(error: psycopg.Error) -> PassbellError:
    """Say what stopped the installation; "run `passbell migrate`" would be no answer to `passbell migrate`."""
    translated = from_database(error)
    words = str(error).partition("\n")[0]
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return PassbellError(
            f"This connection may only read ({words}): give migrate the address of the primary, and a role without "
            "default_transaction_read_only."
        )
    if isinstance(translated, SchemaBehind) or (
        isinstance(translated, DatabaseRefused) and error.sqlstate != _NO_RIGHT
    ):
        return PassbellError(f"The platform's tables or rules do not fit ({words}). Nothing was changed.")
    return translated


def _install(url: str, bundle: Bundle) -> MigrationReport:
    warnings: list[str] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING" and notice.message_primary:
            warnings.append(notice.message_primary)

    with _connect(url, autocommit=False) as connection:
        connection.add_notice_handler(keep)
        connection.execute(
            "select set_config('lock_timeout', %(limit)s, true)",
            {"limit": str(round(PATIENCE_SECONDS * 1000))},
        )
        try:
            connection.execute("select pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
        except psycopg.errors.LockNotAvailable as error:
            message = (
                "Another `passbell migrate` is under way for more than a minute, or another session holds its lock: "
                "try again when it has ended (pg_locks tells which session, locktype advisory)."
            )
            raise PassbellError(message) from error
        connection.execute(
            "select set_config('lock_timeout', %(limit)s, true)", {"limit": str(TRY_MILLISECONDS)}
        )
        # The text is one string: it is read before a SET of its own runs.
        connection.execute("set local standard_conforming_strings = on")
        connection.execute(
            "select set_config('passbell.build_beside', %(bytes)s, true)", {"bytes": str(LARGE_BYTES)}
        )
        before = compare(connection, bundle)
        connection.execute(bundle.text.encode())  # several statements, no parameters
        return MigrationReport(before.installed, bundle.version, not before.current, tuple(warnings))


def _warned(url: str, report: MigrationReport) -> MigrationReport:
    """Add what needs a person's eye once everything is built."""
    with _connect(url, autocommit=False) as connection:
        connection.execute("set local statement_timeout = '20s'")  # a trigger of the platform's may hang
        rows = connection.execute("select warning from passbell.migration_warnings()").fetchall()
    return dataclasses.replace(report, warnings=(*report.warnings, *(warning for (warning,) in rows)))


_UNVALIDATED: Final = """
    select n.nspname::text as schema, r.relname::text as relation, c.conname::text as name
      from pg_catalog.pg_constraint c
      join pg_catalog.pg_class r on r.oid = c.conrelid
      join pg_catalog.pg_namespace n on n.oid = r.relnamespace
     where c.contype = 'c' and not c.convalidated
       and (c.connamespace = 'passbell'::regnamespace
            or c.conrelid in (to_regclass('public.push_campaigns'), to_regclass('public.member_imports'))
            or c.conrelid = to_regclass('public.programs')
               and (c.conname like 'programs\\_push\\_%' or c.conname = 'programs_birthday_leap_day_known'))
     order by 1, 2, 3
"""


def _validate(url: str) -> None:
    """Look at the old rows of constraints that were added without: beside writes, one after the other.

    Rows from before passbell that break one (a status of the owner's own) leave it as it is: it holds for new ones.
    """
    with _connect(url) as connection:
        for schema, relation, name in connection.execute(_UNVALIDATED).fetchall():
            with contextlib.suppress(psycopg.errors.CheckViolation):
                connection.execute(
                    sql.SQL("alter table {} validate constraint {}").format(
                        sql.Identifier(schema, relation), sql.Identifier(name)
                    )
                )


def _build_ahead(url: str, bundle: Bundle) -> None:
    """Build the indexes that a large table of the platform's lacks; wait for a session that is building one.

    No timeout could be set without a session, so the clock is ours. An index that was left half built (invalid) costs
    writes and serves no query: it is dropped and built again.
    """
    with _building(url) as (connection, ends):
        compare(connection, bundle)  # nothing is built for a newer schema
        for index in INDEXES:
            _build(connection, index, ends)


_MISSING: Final = """
    select name, relation, col,
           format('create %s index concurrently if not exists %I %s',
                  case when is_unique then 'unique' else '' end, name, definition)
      from passbell.missing_indexes()
"""


def _build_late(url: str) -> None:
    """Build the indexes on large tables that need columns or functions of ours, in the same way.

    Until birthday_logs has its own, no gift is given; a duplicate that comes in meanwhile forbids it, and is warned of.
    """
    with _building(url) as (connection, ends):
        for name, relation, column, statement in connection.execute(_MISSING).fetchall():
            try:
                _build(connection, (name, relation, [column], statement.encode()), ends)
            except psycopg.errors.UniqueViolation:
                connection.execute(
                    sql.SQL("drop index concurrently if exists public.{}").format(sql.Identifier(name))
                )


@contextlib.contextmanager
def _building(url: str) -> Iterator[tuple[psycopg.Connection, float]]:
    """Give a connection that builds indexes for at most half an hour, and when that ends."""
    with _connect(url) as connection:
        ends = time.monotonic() + BUILD_SECONDS
        clock = threading.Timer(BUILD_SECONDS, connection.cancel)
        clock.daemon = True
        clock.start()
        try:
            yield connection, ends
        except psycopg.errors.QueryCanceled as error:
            message = (
                "The indexes on the platform's tables could not be built within half an hour beside the "
                "platform's work: an old transaction holds it up. End that (pg_stat_activity tells which), and "
                "migrate again."
            )
            raise PassbellError(message) from error
        finally:
            clock.cancel()


def _build(
    connection: psycopg.Connection, index: tuple[str, str, list[str], LiteralString | bytes], ends: float
) -> None:
    name, relation, columns, statement = index
    asked = {"name": name, "relation": relation, "columns": columns, "bytes": LARGE_BYTES}
    while (state := connection.execute(_STATE, asked).fetchone()) is not None:
        valid, busy = state
        if valid or (busy and time.monotonic() > ends):
            return
        if valid is None:
            connection.execute(statement)
            connection.execute(sql.SQL("analyze public.{}").format(sql.Identifier(relation)))
        elif busy:
            time.sleep(0.5)
        else:
            connection.execute(sql.SQL("drop index concurrently public.{}").format(sql.Identifier(name)))


def _installed(connection: psycopg.Connection) -> tuple[int, str | None]:
    there = connection.execute(
        "select exists (select from pg_catalog.pg_attribute a where a.attrelid = to_regclass('passbell.settings')"
        " and a.attname = 'schema_version' and not a.attisdropped)"
    ).fetchone()
    if there is None or not there[0]:
        return 0, None
    row = connection.execute("select schema_version, bundle from passbell.settings").fetchone()
    return (row[0], row[1]) if row else (0, None)
