"""Hit lists by URL: download, read, stage. The database matches the ids and freezes the audience afterwards.

Each list loads in a task of its own, at most MAX_LOADS at a time in this daemon, so a slow file host holds up
nobody else's campaign. Its lease is renewed while it loads. Killed anywhere, nothing is half: the pages and the
word that they are complete come in one transaction, and the next daemon starts again from the link.

What reads files and links (httpx and its like: 10 MB) is imported when the first list comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Final, Self

import psycopg
import structlog

from passbell.db.database import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.engine.backoff import Backoff
from passbell.engine.leased import in_thread, while_leased
from passbell.errors import DatabaseUnavailable, LeaseLost, PassbellError, from_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from passbell.db.calls import ClaimedCampaign, Queue
    from passbell.fetch import FetchPolicy
    from passbell.settings import Settings

__all__ = ["ListLoader"]

log = structlog.get_logger()

MAX_LOADS: Final = 3
LEASE_SECONDS: Final = 60.0
SILENT_MILLISECONDS: Final = "60000"
"""Between two statements of the staging transaction; see SHORT_LEASH."""


class ListLoader:
    """Loads lists beside the campaign loop. Use as an async context manager: leaving it ends what is loading."""

    def __init__(self, settings: Settings, queue: Queue, ready: Callable[[], None] = lambda: None) -> None:
        """`ready()` is called when a load ended: a campaign may be claimed now."""
        self._queue = queue
        self._url = settings.database_dsn
        self._settings = settings
        if settings.csv_hosts:
            self._policy()  # a bad entry should be told at the start, not at the first list
        self._lease = max(LEASE_SECONDS, settings.lease_seconds)
        self._ready = ready
        self._tasks: dict[asyncio.Task[None], UUID | None] = {}  # each with its claim token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    @property
    def room(self) -> int:
        """How many more lists may be claimed."""
        return MAX_LOADS - len(self._tasks)

    def start(self, campaign: ClaimedCampaign) -> None:
        """Load the list of a claimed campaign in a task of its own."""
        task = asyncio.create_task(self._work(campaign), name=f"list {campaign.campaign_id}")
        self._tasks[task] = campaign.claim_token
        task.add_done_callback(self._ended)

    async def release_orphans(self) -> None:
        """Hand back loads that a claim entered under our name although its answer was lost."""
        await self._queue.database.fetch(
            "select passbell.release_list_orphans(%s, %s::uuid[])",
            (self._queue.worker, list(self._tasks.values())),
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task)
        self._ready()

    async def _work(self, campaign: ClaimedCampaign) -> None:
        try:
            await self.load(campaign)
        except asyncio.CancelledError:
            # A graceful stop, not a failed try: the next daemon need not wait for the lease.
            with contextlib.suppress(PassbellError):
                await self._release(campaign)
            raise
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="list", reason=str(error))
            await self._release_soon(campaign)
        except Exception:
            log.exception("list_failed", campaign=str(campaign.campaign_id))

    async def _release(self, campaign: ClaimedCampaign) -> None:
        await self._queue.database.fetch(
            "select passbell.release_list_load(%s, %s)",
            (campaign.campaign_id, campaign.claim_token),
            deadline=3,
        )

    async def _release_soon(self, campaign: ClaimedCampaign) -> None:
        """Hand the list back when the database answers again; after its lease it is free anyway."""
        backoff = Backoff()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lease):
                while True:
                    await asyncio.sleep(backoff.next())
                    with contextlib.suppress(PassbellError):
                        await self._release(campaign)
                        return

    async def load(self, campaign: ClaimedCampaign) -> None:
        """Fetch and stage the campaign's list, or record why that is impossible."""
        from passbell.csvfile import CsvError  # noqa: PLC0415 - see the module's docstring
        from passbell.fetch import FetchError  # noqa: PLC0415

        token = campaign.claim_token
        assert token is not None  # noqa: S101 - the claim said download
        name = str(campaign.campaign_id)
        try:
            rows = await while_leased(
                self._fetch(campaign), lambda: self._renew(campaign.campaign_id, token), self._lease / 3
            )
        except (FetchError, CsvError) as error:
            log.warning("list_unusable", campaign=name, reason=str(error))
            again = isinstance(error, FetchError) and error.temporary
            await self._queue.list_failed(campaign.campaign_id, token, str(error), again=again)
        except LeaseLost:
            log.warning("lease_lost", campaign=name, where="list")
        else:
            log.info("list_loaded", campaign=name, rows=rows)

    async def _fetch(self, campaign: ClaimedCampaign) -> int:
        from passbell.fetch import download  # noqa: PLC0415

        assert campaign.csv_url is not None  # noqa: S101 - the claim said download
        stop = threading.Event()
        with tempfile.TemporaryFile(prefix="passbell-list-") as file:
            await download(campaign.csv_url, file, self._policy())
            return await in_thread(stop, _stage, self._url, campaign, file, stop)

    def _policy(self) -> FetchPolicy:
        from passbell.fetch import FetchPolicy  # noqa: PLC0415

        settings = self._settings
        return FetchPolicy(hosts=settings.csv_hosts, allow_private=settings.csv_allow_private)

    async def _renew(self, campaign: UUID, claim_token: UUID) -> bool:
        row = await self._queue.database.row(
            "select passbell.renew_list_load(%s, %s, %s::numeric)", (campaign, claim_token, self._lease)
        )
        return bool(row and row[0])


def _stage(url: str, campaign: ClaimedCampaign, file: IO[bytes], stop: threading.Event) -> int:
    """Write the list's pages and say that they are complete, all or nothing; returns the number of ids."""
    from passbell.db.lists import stage_list  # noqa: PLC0415

    names = (campaign.campaign_id, campaign.claim_token)
    try:
        with psycopg.connect(url, **CONNECTION_OPTIONS) as connection, connection.transaction():
            connection.execute(SHORT_LEASH, (SILENT_MILLISECONDS,))
            connection.execute("select passbell.begin_list(%s, %s)", names)
            said = connection.execute("select passbell.list_encoding(%s, %s)", names).fetchone()
            encoding = said[0] if said else None
            rows, digest = stage_list(connection, campaign.campaign_id, file, encoding=encoding, stop=stop)
            connection.execute(
                "select passbell.list_loaded(%s, %s, %s, %s)", (*names, campaign.csv_url, digest)
            )
            return rows
    except psycopg.Error as error:
        raise from_database(error) from error
