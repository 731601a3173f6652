"""The campaign loops: claim due campaigns and freeze their audiences.

Freezing a million members takes seconds, so there are a few of these loops, and a small order placed meanwhile does not
wait for it. They share one event: only the loop that holds the lock waits for it, and frees the lock before it works.
So an event wakes one loop, an idle daemon asks one question, and at most AT_ONCE of the pool's connections are taken
by freezing. In the database the loops are like several daemons that claim beside each other.

Freezing runs what the host has built: triggers, views, functions. They may hang. So a claim is cut after a few seconds,
and its program is slow from then on. Slow programs are claimed by one loop at a time, with more and more patience,
while the other loops serve the others. What is done at every turn for campaigns that wait (`Queue.tick`) may hang
likewise, and has a loop of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from passbell.database.calls import QUICK_SECONDS
from passbell.delivery.loops import SELDOM, Backoff, Wakeup
from passbell.errors import DatabaseRefused, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from passbell.database.calls import Queue
    from passbell.database.rows import ClaimedCampaign
    from passbell.delivery.lists import ListLoader
    from passbell.settings import Settings

__all__ = ["CampaignLoops"]

log = structlog.get_logger()

AT_ONCE: Final = 3
"""Audiences that are frozen at the same moment."""
AFTER_CLAIMS: Final = 0.1
"""Seconds by which the upkeep of campaigns lets an order that was just claimed go first."""

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
        self._slow = asyncio.Lock()
        self._ticking = Wakeup()
        self._claiming = 0
        wakeup.set()  # at the start one loop looks at once

    def loops(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """The loops by name; none of them ends by itself."""
        return {
            **{f"campaigns {number}": self._run for number in range(1, AT_ONCE + 1)},
            "upkeep of campaigns": self._tick,
        }

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            async with self._waiting:
                await self._wakeup.wait_for_work(self._settings.poll_seconds)
            while True:
                try:
                    while await self._claim() or await self._claim_slow():
                        pass
                except DatabaseUnavailable as error:
                    log.warning("database_unavailable", where="claim_campaign", reason=str(error))
                    await asyncio.sleep(backoff.next())
                except DatabaseRefused as error:
                    # A refusal that concerns one campaign is handled in SQL. This one concerns none: ask again later.
                    log.warning("claim_refused", where="claim_campaign", reason=str(error))
                    await asyncio.sleep(backoff.next())
                    break
                else:
                    backoff.reset()
                    break
            # After the claims: an order that was just placed is waiting for those.
            self._ticking.set()

    async def _tick(self) -> None:
        backoff = Backoff()
        while True:
            await self._ticking.wait(max(self._settings.poll_seconds, SELDOM))
            await asyncio.sleep(AFTER_CLAIMS)
            try:
                await self._queue.tick()
                backoff.reset()
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", where="tick", reason=str(error))
                await asyncio.sleep(backoff.next())
            except DatabaseRefused as error:
                log.warning("claim_refused", where="tick", reason=str(error))
                await asyncio.sleep(backoff.next())

    async def _claim_slow(self) -> bool:
        """Claim one campaign of a slow program; false if no such campaign is due or another loop claims one."""
        if self._slow.locked():
            return False
        async with self._slow:
            patience = await self._queue.slow_claim()
            return patience is not None and await self._claim(patience)

    async def _claim(self, patience: float = QUICK_SECONDS) -> bool:
        """Claim one campaign; false when none is due. A claim whose answer was lost is asked for again."""
        self._claiming += 1
        try:
            campaign = await self._queue.claim_campaign(
                self._settings.chunk_size,
                self._settings.lease_seconds,
                downloads=self._lists.room >= self._claiming,
                patience=patience,
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
