"""Uploaded files: hit lists become campaigns, member lists become imports. Each is staged in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg

from passbell.database.imports import ImportOrder, apply_import, hand_over, open_import
from passbell.database.lists import stage_list
from passbell.database.pool import CONNECTION_OPTIONS
from passbell.errors import from_database
from passbell.web.calls.campaigns import CLOSE_LIST_ORDER, OPEN_LIST_ORDER

if TYPE_CHECKING:
    from fastapi import UploadFile

    from passbell.web.calls.campaigns import Order

__all__ = ["digest", "import_members", "order_list"]

_BLOCK: Final = 1 << 18
IMPORT_SECONDS: Final = 20.0
"""How long a request applies rows itself; the daemons go on with the rest."""


async def digest(upload: UploadFile) -> str:
    """SHA-256 of an uploaded file, which is left at its start."""
    return await asyncio.to_thread(_digest, upload.file)


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    found = hashlib.sha256()
    while block := file.read(_BLOCK):
        found.update(block)
    file.seek(0)
    return found.hexdigest()


async def order_list(
    dsn: str,
    upload: UploadFile,
    order: Order,
    *,
    owner: str,
    key: str | None,
    submit: bool,
    encoding: str | None = None,
) -> UUID:
    """Create a campaign whose audience is the uploaded file; a draft unless `submit`.

    Raises:
        CsvError: the file is not a list.
        CampaignError: the order is refused, or no entry of the list is a member.
    """
    said = {"owner": owner, "key": key, **order._asdict()}
    return await asyncio.to_thread(
        _order, dsn, upload.file, said, submit=submit, encoding=(encoding or "").strip() or None
    )


def _order(
    dsn: str,
    file: IO[bytes],
    order: dict[str, Any],
    *,
    submit: bool,
    encoding: str | None,
) -> UUID:
    try:
        with psycopg.connect(dsn, **CONNECTION_OPTIONS) as connection, connection.transaction():
            row = connection.execute(OPEN_LIST_ORDER, order).fetchone()
            assert row is not None  # noqa: S101 - the function has OUT parameters
            campaign, ready = row
            if not ready:
                _, content = stage_list(connection, campaign, file, encoding=encoding)
                connection.execute(
                    CLOSE_LIST_ORDER, {"campaign": campaign, "digest": content, "submit": submit}
                )
            return UUID(str(campaign))
    except psycopg.Error as error:
        raise from_database(error) from error


class _LateError(Exception):
    """The request has worked long enough."""


async def import_members(
    dsn: str,
    upload: UploadFile,
    *,
    owner: str,
    program: UUID,
    dry_run: bool,
    encoding: str | None = None,
    seconds: float = IMPORT_SECONDS,
) -> UUID:
    """Stage a member list and apply it for a while; the daemons go on with what is left.

    Raises:
        CsvError: the file is no member list.
        CampaignError: no such program.
        LeaseLost: it was cancelled.
    """
    order = ImportOrder(
        program=program,
        name=upload.filename or None,
        dry_run=dry_run,
        created_by=owner,
        encoding=(encoding or "").strip() or None,
    )
    return await asyncio.to_thread(_import, dsn, upload.file, order, seconds)


def _import(dsn: str, file: IO[bytes], order: ImportOrder, seconds: float) -> UUID:
    deadline = time.monotonic() + seconds

    def look(_rows: int) -> None:
        if time.monotonic() > deadline:
            raise _LateError

    try:
        with psycopg.connect(dsn, **CONNECTION_OPTIONS) as connection:
            held, _ = open_import(connection, order, file)
            try:
                apply_import(connection, held, look)
            except _LateError:
                hand_over(connection, held)
            return held.import_id
    except psycopg.Error as error:
        raise from_database(error) from error
