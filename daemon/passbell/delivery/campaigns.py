"""The campaign loops: claim due campaigns and freeze their audiences.

Freezing a million members takes seconds, so there are a few of these loops, and a small order placed meanwhile does not
wait for it. They share one event: only the loop that holds the lock waits for it, and frees the lock before it works.
So an event wakes one loop, an idle daemon asks one question, and at most AT_ONCE of the pool's connections are taken
by freezing. In the database the loops are like several daemons that claim beside each other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from passbell.delivery.backoff import Backoff
from passbell.delivery.wakeups import SELDOM
from passbell.errors import DatabaseRefused, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from passbell.database.calls import ClaimedCampaign, Queue
    from passbell.delivery.lists import ListLoader
    from passbell.delivery.wakeups import Wakeup
    from passbell.settings import Settings

__all__ = ["CampaignLoops"]

log = structlog.get_logger()

AT_ONCE: Final = 3
"""Audiences that are frozen at the same moment: half of the pool's connections (delivery/daemon.py)."""

_EVENTS = {
    "expanded": "campaign_expanded",
    "failed": "campaign_failed",
    "held": "campaign_held",
    "set_aside": "campaign_set_aside",
    "download": "list_download_started",
}


class CampaignLoops:
    """Claim until nothing is due, then wait for the event."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        wakeup: Wakeup,
        expanded: Callable[[], None],
        lists: ListLoader,
    ) -> None:
        """`expanded()` is called when chunks are there.

        A list that must be fetched first is given to `lists`, which works on its own: the loop goes on with the next
        campaign.
        """
        self._settings = settings
        self._queue = queue
        self._wakeup = wakeup
        self._expanded = expanded
        self._lists = lists
        self._waiting = asyncio.Lock()
        self._claiming = 0
        wakeup.set()  # at the start one loop looks at once

    def loops(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """The loops by name; none of them ends by itself."""
        return {f"campaigns {number}": self._run for number in range(1, AT_ONCE + 1)}

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            async with self._waiting:
                await self._wakeup.wait(max(self._settings.poll_seconds, SELDOM))
            while True:
                try:
                    while await self._claim():
                        pass
                    # After the claims: an order that was just placed is waiting for those.
                    await self._queue.tick()
                except DatabaseUnavailable as error:
                    log.warning("database_unavailable", where="claim_campaign", reason=str(error))
                    await asyncio.sleep(backoff.next())
                except DatabaseRefused as error:
                    # What concerns one campaign was answered in SQL. This is none of theirs: it is asked again later.
                    log.warning("claim_refused", where="claim_campaign", reason=str(error))
                    await asyncio.sleep(backoff.next())
                    break
                else:
                    backoff.reset()
                    break

    async def _claim(self) -> bool:
        """Claim one campaign; false when none is due. A claim whose answer was lost is asked for again."""
        self._claiming += 1
        try:
            campaign = await self._queue.claim_campaign(
                self._settings.chunk_size,
                self._settings.lease_seconds,
                downloads=self._lists.room >= self._claiming,
            )
            if campaign is not None:
                self._claimed(campaign)
        finally:
            self._claiming -= 1
        return campaign is not None

    def _claimed(self, campaign: ClaimedCampaign) -> None:
        log.info(
            _EVENTS[campaign.action],
            campaign=str(campaign.campaign_id),
            recipients=campaign.recipients,
            detail=campaign.detail,
        )
        if campaign.action == "expanded":
            self._expanded()
        elif campaign.action == "download":
            self._lists.start(campaign)
