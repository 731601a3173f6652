"""Uploaded hit lists: the rows are staged beside the campaign in one transaction, all of them or none."""

from __future__ import annotations

import asyncio
import hashlib
from typing import IO, TYPE_CHECKING, Final
from uuid import UUID

import psycopg

from passbell.csvfile import read_ids
from passbell.db.database import CONNECTION_OPTIONS
from passbell.errors import from_database

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import UploadFile

__all__ = ["digest", "order_list"]

_BLOCK: Final = 1 << 18
MAX_ROWS: Final = 2_000_000


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
    *,
    owner: str,
    key: str | None,
    program: UUID,
    message: str,
    name: str | None,
    scheduled_at: datetime | None,
    submit: bool,
) -> UUID:
    """Create a campaign whose audience is the uploaded file; a draft unless `submit`.

    Raises:
        CsvError: the file is not a list.
        CampaignError: the order is refused, or nobody on the list is a member.
    """
    content = await digest(upload)
    return await asyncio.to_thread(
        _order, dsn, upload.file, content, (owner, key, program, message, name, scheduled_at), submit
    )


def _order(
    dsn: str,
    file: IO[bytes],
    content: str,
    order: tuple[str, str | None, UUID, str, str | None, datetime | None],
    submit: bool,  # noqa: FBT001 - through to_thread
) -> UUID:
    try:
        with psycopg.connect(dsn, **CONNECTION_OPTIONS) as connection, connection.transaction():
            row = connection.execute(
                "select campaign, ready from passbell.open_list_order(%s, %s, %s, %s, %s, %s, %s)",
                (*order, content),
            ).fetchone()
            assert row is not None  # noqa: S101 - the function has OUT parameters
            campaign, ready = row
            if not ready:
                with connection.cursor().copy(
                    "copy passbell.list_entries (campaign_id, row_number, value, reason) from stdin"
                ) as copy:
                    for listed in read_ids(file, MAX_ROWS):
                        copy.write_row(
                            (
                                campaign,
                                listed.row_number,
                                listed.value,
                                "unusable" if listed.problem else None,
                            )
                        )
                connection.execute("select passbell.close_list_order(%s, %s)", (campaign, submit))
            return UUID(str(campaign))
    except psycopg.Error as error:
        raise from_database(error) from error
