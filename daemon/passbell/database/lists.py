"""Hit lists on their way into the database: ids copied in pages, and campaigns made from a file at hand.

    load_list(dsn, load, file)                     COPY and "loaded" in one transaction, over a connection of its own
    stage_list(connection, campaign, file)         COPY into passbell.list_pages, in the caller's transaction
    create_list_campaign(connection, order, file)  draft, pages and submission in one transaction
    create_list_campaign_async(dsn, order, file)   the same from an event loop, in a thread of its own

The rules are in sql/functions/23_lists.sql and 24_list_loads.sql.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import UUID  # noqa: TC003 - a dataclass's annotation, for readers at run time

import psycopg
from psycopg.rows import tuple_row

from passbell.database.pool import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.errors import LeaseLost, from_database
from passbell.files.csv import read_ids, sniff
from passbell.files.csv.source import Source

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from passbell.database.filequeue import ListLoad
    from passbell.files.csv import Layout, ListedId

__all__ = [
    "MAX_ROWS",
    "ListCampaign",
    "ListOrder",
    "ListProblem",
    "create_list_campaign",
    "create_list_campaign_async",
    "load_list",
    "stage_list",
]

MAX_ROWS: Final = 2_000_000
PAGE: Final = 1_000
"""Ids per row of passbell.list_pages: what is held in memory, and what a row costs is shared by."""

_COPY: Final = "copy passbell.list_pages (campaign_id, page_no, row_numbers, ids, problems) from stdin"
_DRAFT: Final = """
    select passbell.draft_list_campaign(
           p_program => %(program)s, p_message => %(message)s, p_target => %(target)s, p_name => %(name)s,
           p_scheduled_at => %(scheduled_at)s, p_created_by => %(created_by)s)
"""
_SUBMIT: Final = """
    select rows, matched, targeted, unmatched, reasons, summary, status
      from passbell.submit_list_campaign(p_campaign => %(campaign)s, p_digest => %(digest)s)
"""
MAX_PROBLEMS: Final = 20
_PROBLEMS: Final = """
    select row_number, value, reason, detail
      from passbell.list_entries
     where campaign_id = %(campaign)s and reason in ('unusable', 'unknown_member', 'other_program')
     order by row_number
     limit %(limit)s
"""
_BEGIN: Final = "select passbell.begin_list(p_campaign => %(campaign)s, p_claim_token => %(token)s)"
_ENCODING: Final = "select passbell.list_encoding(p_campaign => %(campaign)s, p_claim_token => %(token)s)"
_LOADED: Final = """
    select passbell.list_loaded(
           p_campaign => %(campaign)s, p_claim_token => %(token)s, p_url => %(url)s, p_digest => %(digest)s)
"""
SILENT_MILLISECONDS: Final = "60000"
"""Between two statements of the staging transaction; see SHORT_LEASH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrder:
    """A campaign to the members of a list. A `target` other than ALL narrows it, `encoding` overrules the guess."""

    program: UUID
    message: str
    target: str | None = None
    name: str | None = None
    scheduled_at: datetime | None = None
    created_by: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class ListCampaign:
    """What became of the order, counted in rows of the list. The id is None after a dry run.

    `targeted` members would get the message now, `unmatched` rows name no new member of the program
    (rows - matched), `reasons` counts the rows that reach no member: `{"unknown_member": 12}`. `notes` tell how the
    file was read, `problems` the first rows that reach no member, with what is probably wrong with an unknown id.
    """

    campaign_id: UUID | None
    rows: int
    matched: int
    targeted: int
    unmatched: int
    reasons: dict[str, int]
    summary: str
    status: str
    notes: list[str] = field(default_factory=list)
    problems: list[ListProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ListProblem:
    """A row of the list that reaches no member. `detail` is the advice, where there is some."""

    row_number: int
    value: str
    reason: str
    detail: str | None


def load_list(dsn: str, load: ListLoad, file: IO[bytes], stop: threading.Event) -> int:
    """Write the list's pages and say that they are complete, all or nothing; returns the number of ids.

    Raises:
        CsvError: the file is no hit list.
        LeaseLost: another daemon has the load by now, or `stop` was set.
        DatabaseUnavailable: no connection.
    """
    names = {"campaign": load.campaign, "token": load.token}
    try:
        with psycopg.connect(dsn, **CONNECTION_OPTIONS) as connection, connection.transaction():
            connection.execute(SHORT_LEASH, {"silent": SILENT_MILLISECONDS})
            connection.execute(_BEGIN, names)
            said = connection.execute(_ENCODING, names).fetchone()
            encoding = said[0] if said else None
            rows, digest = stage_list(connection, load.campaign, file, encoding=encoding, stop=stop)
            connection.execute(_LOADED, {**names, "url": load.url, "digest": digest})
            return rows
    except psycopg.Error as error:
        raise from_database(error) from error


class _Rehearsed(Exception):
    pass


def create_list_campaign(
    connection: psycopg.Connection[Any],
    order: ListOrder,
    file: str | os.PathLike[str] | IO[bytes],
    *,
    dry_run: bool = False,
) -> ListCampaign:
    """Make a campaign to the ids in a CSV, matched at once. All of it or nothing, in one transaction.

    Raises:
        CsvError: the file is no hit list.
        CampaignError: no such program, a broken message or target, or no entry of the list is a member.
        DatabaseUnavailable: no connection.
    """
    made: ListCampaign | None = None
    try:
        with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            campaign = _row(cursor.execute(_DRAFT, asdict(order)))[0]
            source = Source(file)
            layout = sniff(source, encoding=order.encoding)
            _, digest = stage_list(connection, campaign, source, layout=layout)
            made = ListCampaign(
                None if dry_run else campaign,
                *_row(cursor.execute(_SUBMIT, {"campaign": campaign, "digest": digest})),
            )
            found = cursor.execute(_PROBLEMS, {"campaign": campaign, "limit": MAX_PROBLEMS}).fetchall()
            made = replace(made, notes=layout.notes, problems=[ListProblem(*row) for row in found])
            if dry_run:
                raise _Rehearsed  # noqa: TRY301 - leaving the block with an exception is what rolls back
    except _Rehearsed:
        pass
    except psycopg.Error as error:
        raise from_database(error) from error
    assert made is not None  # noqa: S101 - the block above ended well
    return made


async def create_list_campaign_async(
    dsn: str, order: ListOrder, file: str | os.PathLike[str] | IO[bytes], *, dry_run: bool = False
) -> ListCampaign:
    """Do the same over a connection of its own, without holding up the event loop."""

    def create() -> ListCampaign:
        try:
            with psycopg.connect(dsn, **CONNECTION_OPTIONS) as connection:
                return create_list_campaign(connection, order, file, dry_run=dry_run)
        except psycopg.Error as error:
            raise from_database(error) from error

    return await asyncio.to_thread(create)


def stage_list(
    connection: psycopg.Connection[Any],
    campaign: UUID,
    file: str | os.PathLike[str] | IO[bytes] | Source,
    *,
    max_rows: int = MAX_ROWS,
    encoding: str | None = None,
    layout: Layout | None = None,
    stop: threading.Event | None = None,
) -> tuple[int, str]:
    """Copy the ids of a CSV into the campaign's pages; return their number and the digest of the list.

    Must be called in a transaction of the caller, which commits the pages together with the word that they are
    complete. `stop` ends it with LeaseLost between two pages.

    Raises:
        CsvError: the file is no hit list.
        psycopg.Error: as the driver says it.
    """
    count, digest = 0, hashlib.sha256()
    ids = read_ids(file, max_rows, encoding=encoding, layout=layout)
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for number, page in enumerate(_pages(ids)):
            if stop is not None and stop.is_set():
                raise LeaseLost("the loading of the list was stopped")
            values = [listed.value for listed in page]
            problems = [listed.problem for listed in page]
            digest.update("\n".join([*values, ""]).encode())
            copy.write_row(
                (
                    campaign,
                    number,
                    "{" + ",".join([str(listed.row_number) for listed in page]) + "}",
                    _array(values),
                    _array(problems) if any(problems) else None,
                )
            )
            count += len(page)
    return count, digest.hexdigest()


def _pages(ids: Iterable[ListedId]) -> Iterator[list[ListedId]]:
    page: list[ListedId] = []
    for listed in ids:
        page.append(listed)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _array(values: Sequence[str | None]) -> str:
    """Write a PostgreSQL array literal; the driver's own way takes five times as long for a million ids.

    None is an empty text: a session may be set not to read NULL in an array (array_nulls).
    """
    if None not in values:
        whole = '","'.join(values)  # type: ignore[arg-type]
        if "\\" not in whole and whole.count('"') == 2 * (len(values) - 1):
            return f'{{"{whole}"}}'
    return "{" + ",".join(_quoted(value or "") for value in values) + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - the functions return one row
    return tuple(row)
