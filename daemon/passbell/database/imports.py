"""Member lists on their way into the database: checked rows copied as a whole, then applied batch by batch.

    load_members(dsn, held, file)             read, check, COPY, resolve, over a connection of its own
    stage_members(connection, held, file)     the same in the caller's transaction
    open_import(connection, order, file)      the order and its rows in one transaction
    apply_import(connection, held)            whole batches until nothing is left

The rules are in sql/functions/71_import_claims.sql to 73_import_batches.sql.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, cast
from uuid import UUID  # noqa: TC003 - shown by the dataclasses' repr, and used by callers

import psycopg
from psycopg.rows import dict_row, tuple_row

from passbell.database.filequeue import BATCH, IMPORT_BATCH, RELEASE_IMPORT
from passbell.database.pool import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.errors import CampaignError, LeaseLost, from_database
from passbell.files.csv import MemberFile, read_members

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable
    from datetime import date

    from passbell.database.filequeue import ClaimedImport
    from passbell.files.csv import Decision, MemberRow

__all__ = [
    "HeldImport",
    "ImportOrder",
    "apply_import",
    "hand_over",
    "load_members",
    "open_import",
    "read_file",
    "stage_members",
]

LEASE_SECONDS: Final = 60
LOOK_EVERY: Final = 1_000
"""Rows between looks whether staging is to be stopped."""

_COPY: Final = """
    copy passbell.import_staged (import_id, row_number, external_id, email, first_name, last_name, phone, birth_date,
                                 zip, city, marketing_opt_in, problems, rejected, unsure) from stdin
"""
_OPEN: Final = """
    select import_id, claim_token, region, date_order, today
      from passbell.open_import(
           p_program => %(program)s, p_name => %(name)s, p_dry_run => %(dry_run)s, p_region => %(region)s,
           p_date_order => %(date_order)s, p_created_by => %(created_by)s, p_lease_seconds => %(lease)s,
           p_encoding => %(encoding)s)
"""
_STAGED: Final = """
    select passbell.import_staged(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_notes => %(notes)s,
           p_lease_seconds => %(lease)s::numeric)
"""
_DONE: Final = "select * from passbell.member_import(p_import => %(import_id)s)"
SILENT_MILLISECONDS: Final = "60000"
"""Between two statements of the staging transaction; see SHORT_LEASH."""

DateOrder = Literal["DMY", "MDY", "YMD"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOrder:
    """A member list to import. `region` and `date_order` overrule the program's, `encoding` the guess."""

    program: UUID
    name: str | None = None
    dry_run: bool = False
    region: str | None = None
    date_order: DateOrder | None = None
    encoding: str | None = None
    created_by: str | None = None


class HeldImport(NamedTuple):
    """An import in this process's hands, and what reading its file needs to know."""

    import_id: UUID
    claim_token: UUID
    region: str
    date_order: DateOrder | None
    today: date
    encoding: str | None = None

    @classmethod
    def of(cls, claimed: ClaimedImport) -> Self:
        """What a daemon has claimed to download or to apply."""
        _, _, _, token, region, date_order, today, _, encoding = claimed
        return cls(
            claimed.import_id,
            cast("UUID", token),
            cast("str", region),
            cast("Any", date_order),
            cast("date", today),
            encoding,
        )


def open_import(
    connection: psycopg.Connection[Any], order: ImportOrder, file: str | os.PathLike[str] | IO[bytes]
) -> tuple[HeldImport, MemberFile]:
    """Create an import of a file at hand and stage its rows, in one transaction; `apply_import` does the rest.

    No daemon works on it while its lease runs. If this process dies, a daemon goes on with it. To hand it to the
    daemons at once, call `passbell.release_import`.

    Raises:
        CsvError: the file is no member list.
        CampaignError: no such program, or no such region.
        DatabaseUnavailable: no connection.
    """
    try:
        with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(_OPEN, {**asdict(order), "lease": LEASE_SECONDS}).fetchone()
            held = HeldImport(*cast("tuple[Any, Any, Any, Any, Any]", row), order.encoding)
            members = read_file(held, file)
            stage_members(connection, held, members)
            return held, members
    except psycopg.Error as error:
        raise from_database(error) from error


def read_file(held: HeldImport, file: str | os.PathLike[str] | IO[bytes]) -> MemberFile:
    """Understand the file with the settings of its program.

    Raises:
        CsvError: it is no member list.
        CampaignError: there is no such region.
    """
    try:
        return read_members(
            file,
            default_region=held.region,
            date_order=held.date_order,
            today=held.today,
            encoding=held.encoding,
        )
    except ValueError as error:
        raise CampaignError(f"{error}.") from None


def stage_members(
    connection: psycopg.Connection[Any],
    held: HeldImport,
    members: MemberFile,
    stop: threading.Event | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> int:
    """Copy all rows and resolve the members they mean; returns their number. Runs in a transaction of the caller.

    Raises:
        LeaseLost: the import is another's by now, or `stop` was set.
        psycopg.Error: as the driver says it.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        with cursor.copy(_COPY) as copy:
            for count, member in enumerate(members):
                if stop is not None and count % LOOK_EVERY == 0 and stop.is_set():
                    raise LeaseLost("the reading of the import was stopped")
                copy.write_row(_staged_row(held.import_id, member))
        notes = [
            *members.layout.notes,
            *(_sentence(decision) for decision in members.decisions),
            *members.notes,
        ]
        row = cursor.execute(
            _STAGED,
            {"import_id": held.import_id, "token": held.claim_token, "notes": notes, "lease": lease_seconds},
        ).fetchone()
    return int(row[0]) if row else 0


def load_members(
    dsn: str, held: HeldImport, file: IO[bytes], stop: threading.Event, lease_seconds: float
) -> int:
    """Read, check and stage a downloaded file, over a connection of its own; returns the number of rows.

    Raises:
        CsvError: it is no member list.
        LeaseLost: the import is another's by now, or `stop` was set.
        DatabaseUnavailable: no connection.
    """
    members = read_file(held, file)
    try:
        with psycopg.connect(dsn, **CONNECTION_OPTIONS) as connection, connection.transaction():
            connection.execute(SHORT_LEASH, {"silent": SILENT_MILLISECONDS})
            return stage_members(connection, held, members, stop, lease_seconds)
    except psycopg.Error as error:
        raise from_database(error) from error


def apply_import(
    connection: psycopg.Connection[Any], held: HeldImport, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Apply batch after batch; returns the finished row of member_imports.

    Args:
        connection: in autocommit mode: each batch is a transaction.
        held: what `open_import` returned.
        progress: called after each batch with its number of rows.

    Raises:
        LeaseLost: it was cancelled, or another process took it over.
        DatabaseUnavailable: no connection; what was applied stays, and a daemon goes on with the rest.
    """
    remaining = 1
    try:
        while remaining > 0:
            with connection.cursor(row_factory=tuple_row) as cursor:
                row = cursor.execute(
                    IMPORT_BATCH,
                    {
                        "import_id": held.import_id,
                        "token": held.claim_token,
                        "batch": BATCH,
                        "lease": LEASE_SECONDS,
                    },
                ).fetchone()
            processed, remaining = row or (0, 0)
            progress(processed)
        with connection.cursor(row_factory=dict_row) as rows:
            done = rows.execute(_DONE, {"import_id": held.import_id}).fetchone()
    except psycopg.Error as error:
        raise from_database(error) from error
    assert done is not None  # noqa: S101 - it was there a moment ago
    return done


def hand_over(connection: psycopg.Connection[Any], held: HeldImport) -> None:
    """Leave the rest to the daemons, at once."""
    connection.execute(RELEASE_IMPORT, {"import_id": held.import_id, "token": held.claim_token})
    connection.execute("select pg_notify('passbell', 'imports')")


def _staged_row(import_id: UUID, member: MemberRow) -> tuple[Any, ...]:
    problems = member.problems
    return (
        import_id,
        member.row_number,
        member.external_id,
        member.email,
        member.first_name,
        member.last_name,
        member.phone,
        member.birth_date,
        member.zip,
        member.city,
        member.marketing_opt_in,
        json.dumps([problem._asdict() for problem in problems], ensure_ascii=False) if problems else "[]",
        member.rejected,
        list(member.unsure),
    )


def _sentence(decision: Decision) -> str:
    return f"{decision.column}: {decision.choice} ({decision.reason})."
