"""Member lists on their way into the database: checked rows copied as a whole, then applied batch by batch.

    stage_members(connection, held, file)     read, check, COPY, resolve; in the caller's transaction
    open_import(connection, order, file)      the order and its rows in one transaction
    apply_import(connection, held)            whole batches until nothing is left

The rules are in sql/functions/71_import_claims.sql to 73_import_batches.sql.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast
from uuid import UUID  # noqa: TC003 - shown by the dataclasses' repr, and used by callers

import psycopg
from psycopg.rows import dict_row, tuple_row

from passbell.csvfile import MemberFile, read_members
from passbell.errors import CampaignError, LeaseLost, from_database

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable
    from datetime import date

    from passbell.csvfile import Decision, MemberRow

__all__ = ["BATCH", "HeldImport", "ImportOrder", "apply_import", "open_import", "read_file", "stage_members"]

BATCH: Final = 1_000
"""Rows per transaction: what a crash can lose at most, and what other writers of these members may wait for."""
LEASE_SECONDS: Final = 60
LOOK_EVERY: Final = 1_000
"""Rows between looks whether staging is to be stopped."""

_COPY: Final = """
    copy passbell.import_staged (import_id, row_number, external_id, email, first_name, last_name, phone, birth_date,
                                 zip, city, marketing_opt_in, problems, rejected, unsure) from stdin
"""
_OPEN: Final = "select * from passbell.open_import(%s, %s, %s, %s, %s, %s, %s, p_encoding => %s)"
_STAGED: Final = "select passbell.import_staged(%s, %s, %s, %s::numeric)"
_BATCH: Final = "select processed, remaining from passbell.import_batch(%s, %s, %s, %s)"

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


def open_import(
    connection: psycopg.Connection[Any], order: ImportOrder, file: str | os.PathLike[str] | IO[bytes]
) -> tuple[HeldImport, MemberFile]:
    """Create an import of a file at hand and stage its rows, in one transaction; `apply_import` does the rest.

    Nobody else works on it while its lease runs; if this process dies, a daemon goes on with it. To leave it to
    the daemons at once, call `passbell.release_import`.

    Raises:
        CsvError: the file is no member list.
        CampaignError: no such program, or no such region.
        DatabaseUnavailable: no connection.
    """
    try:
        with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(
                _OPEN,
                (
                    order.program,
                    order.name,
                    order.dry_run,
                    order.region,
                    order.date_order,
                    order.created_by,
                    LEASE_SECONDS,
                    order.encoding,
                ),
            ).fetchone()
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
        CampaignError: the region is none.
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
    """Copy all rows and find out whom they mean; returns their number. Stands in a transaction of the caller.

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
        row = cursor.execute(_STAGED, (held.import_id, held.claim_token, notes, lease_seconds)).fetchone()
    return int(row[0]) if row else 0


def apply_import(
    connection: psycopg.Connection[Any], held: HeldImport, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Apply batch after batch; returns the finished row of member_imports.

    Args:
        connection: in autocommit mode: each batch is a transaction.
        held: what `open_import` returned.
        progress: called after each batch with its number of rows.

    Raises:
        LeaseLost: somebody cancelled it, or another process took it over.
        DatabaseUnavailable: no connection; what was applied stays, and a daemon goes on with the rest.
    """
    remaining = 1
    try:
        while remaining > 0:
            with connection.cursor(row_factory=tuple_row) as cursor:
                row = cursor.execute(
                    _BATCH, (held.import_id, held.claim_token, BATCH, LEASE_SECONDS)
                ).fetchone()
            processed, remaining = row or (0, 0)
            progress(processed)
        with connection.cursor(row_factory=dict_row) as rows:
            done = rows.execute("select * from passbell.member_import(%s)", (held.import_id,)).fetchone()
    except psycopg.Error as error:
        raise from_database(error) from error
    assert done is not None  # noqa: S101 - it was there a moment ago
    return done


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
