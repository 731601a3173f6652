"""Hit lists by URL: download, read, stage. The database matches the ids and freezes the audience afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from typing import IO, TYPE_CHECKING, Final

import psycopg
import structlog

from passbell.csvfile import CsvError, read_ids
from passbell.db.database import CONNECTION_OPTIONS
from passbell.errors import DatabaseUnavailable, LeaseLost
from passbell.fetch import FetchError, FetchFailed, FetchPolicy, download

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.db.calls import ClaimedCampaign, Queue
    from passbell.settings import Settings

__all__ = ["ListLoader"]

log = structlog.get_logger()

MAX_ROWS: Final = 2_000_000


class ListLoader:
    """Loads one list at a time; a list loads in seconds and campaigns without one do not wait for it."""

    def __init__(self, settings: Settings, queue: Queue) -> None:
        self._queue = queue
        self._url = settings.database_dsn
        self._policy = FetchPolicy(hosts=settings.csv_hosts, allow_private=settings.csv_allow_private)

    async def load(self, campaign: ClaimedCampaign) -> None:
        """Fetch and stage the campaign's list, or record why that is impossible."""
        assert campaign.csv_url is not None  # noqa: S101 - the claim said download
        assert campaign.claim_token is not None  # noqa: S101
        try:
            with tempfile.TemporaryFile(prefix="passbell-list-") as file:
                await download(campaign.csv_url, file, self._policy)
                rows = await asyncio.to_thread(
                    _stage, self._url, campaign.campaign_id, campaign.claim_token, file
                )
        except (FetchError, CsvError) as error:
            again = isinstance(error, FetchFailed)
            log.warning("list_unusable", campaign=str(campaign.campaign_id), reason=str(error))
            await self._queue.list_failed(campaign.campaign_id, campaign.claim_token, str(error), again=again)
        except LeaseLost:
            log.warning("lease_lost", campaign=str(campaign.campaign_id), where="list")
        else:
            log.info("list_loaded", campaign=str(campaign.campaign_id), rows=rows)


def _stage(url: str, campaign: UUID, claim_token: UUID, file: IO[bytes]) -> int:
    """Copy the list's rows into passbell.list_entries, all of them or none; returns their number."""
    count = 0
    try:
        with psycopg.connect(url, **CONNECTION_OPTIONS) as connection, connection.transaction():
            connection.execute("delete from passbell.list_entries where campaign_id = %s", (campaign,))
            with connection.cursor().copy(
                "copy passbell.list_entries (campaign_id, row_number, value, reason) from stdin"
            ) as copy:
                for listed in read_ids(file, MAX_ROWS):
                    copy.write_row(
                        (campaign, listed.row_number, listed.value, "unusable" if listed.problem else None)
                    )
                    count += 1
            connection.execute("select passbell.list_loaded(%s, %s)", (campaign, claim_token))
    except psycopg.Error as error:
        if error.sqlstate == "PB412":
            raise LeaseLost("the lease on the list is lost") from None
        raise DatabaseUnavailable(str(error).partition("\n")[0]) from error
    return count
