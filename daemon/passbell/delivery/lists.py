"""Hit lists by URL: download, read, stage. The database matches the ids and freezes the audience afterwards.

Each list loads in a task of its own, at most MAX_LOADS at a time in this daemon, so a slow file host does not hold up
other campaigns. Its lease is renewed while it loads. If the daemon is killed, nothing is half done: the pages and
the note that they are complete are one transaction, and the next daemon starts again from the link.

What reads files and links (httpx and its like: 10 MB) is imported when the first list comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

import structlog

from passbell.database.filequeue import ListLoad, ListQueue
from passbell.delivery.loops import Backoff
from passbell.delivery.work import download_policy, stage_file, work_on
from passbell.errors import DatabaseUnavailable, PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.database.calls import Queue
    from passbell.database.rows import ClaimedCampaign
    from passbell.settings import Settings

__all__ = ["ListLoader"]

log = structlog.get_logger()

MAX_LOADS: Final = 3
LEASE_SECONDS: Final = 60.0


class ListLoader:
    """Loads lists beside the campaign loop. Use as an async context manager: leaving it ends what is loading."""

    def __init__(self, settings: Settings, queue: Queue, ready: Callable[[], None] = lambda: None) -> None:
        """`ready()` is called when a load ended: a campaign may be claimed now."""
        self._settings = settings
        if settings.csv_hosts:
            download_policy(
                settings
            )  # an entry that is no host name is reported at the start, not at the first list
        self._lease = max(LEASE_SECONDS, settings.lease_seconds)
        self._lists = ListQueue(queue.database, self._lease)
        self.renew_every: float | None = self._lease / 3
        self._ready = ready
        self._tasks: set[asyncio.Task[None]] = set()

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
        token, url = campaign.claim_token, campaign.csv_url
        assert token is not None and url is not None  # noqa: S101, PT018 - the claim said download
        load = ListLoad(campaign.campaign_id, token, url)
        task = asyncio.create_task(self._run(load), name=f"list {load.campaign}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ready()

    async def _run(self, load: ListLoad) -> None:
        try:
            await work_on(self, load)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="list", reason=str(error))
            await self._release_soon(load)
        except Exception:
            log.exception("list_failed", campaign=str(load.campaign))

    async def _release_soon(self, load: ListLoad) -> None:
        """Hand the list back when the database answers again; after its lease it is free anyway."""
        backoff = Backoff()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lease):
                while True:
                    await asyncio.sleep(backoff.next())
                    with contextlib.suppress(PassbellError):
                        await self.release(load)
                        return

    # ── the work, see delivery/work.py ────────────────────────────────────────────────────────────────────────────

    def names(self, load: ListLoad) -> dict[str, str]:
        """The campaign whose list it is."""
        return {"campaign": str(load.campaign), "where": "list"}

    async def work(self, load: ListLoad) -> None:
        """Fetch and stage the campaign's list, or record why that is impossible."""
        from passbell.database.lists import load_list  # noqa: PLC0415 - see the module's docstring
        from passbell.files.csv import CsvError  # noqa: PLC0415
        from passbell.files.download import FetchError  # noqa: PLC0415

        try:
            rows = await stage_file(self._settings, load.url, load_list, load)
        except (FetchError, CsvError) as error:
            log.warning("list_unusable", campaign=str(load.campaign), reason=str(error))
            again = isinstance(error, FetchError) and error.temporary
            await self._lists.failed(load, str(error), again=again)
        else:
            log.info("list_loaded", campaign=str(load.campaign), rows=rows)

    async def renew(self, load: ListLoad) -> bool:
        """Extend the lease."""
        return await self._lists.renew(load)

    async def release(self, load: ListLoad) -> None:
        """A graceful stop, not a failed try: the next daemon need not wait for the lease."""
        await self._lists.release(load)
