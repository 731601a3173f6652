"""The campaign loop: claims due campaigns and freezes their audiences, one after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from passbell.engine.backoff import Backoff
from passbell.engine.wakeups import SELDOM
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.db.calls import Queue
    from passbell.engine.lists import ListLoader
    from passbell.engine.wakeups import Bell
    from passbell.settings import Settings

__all__ = ["run_campaigns"]

log = structlog.get_logger()

_EVENTS = {
    "expanded": "campaign_expanded",
    "failed": "campaign_failed",
    "held": "campaign_held",
    "download": "list_download_started",
}


async def run_campaigns(
    settings: Settings,
    queue: Queue,
    bell: Bell,
    expanded: Callable[[], None],
    lists: ListLoader,
) -> None:
    """Claim until nothing is due, then wait to be rung.

    `expanded()` is called when chunks are there. A list that must be fetched first is given to `lists`, which works
    on its own: the loop goes on with the next campaign.
    """
    backoff = Backoff()
    interrupted = False
    while True:
        try:
            if interrupted:
                await lists.release_orphans()
                interrupted = False
            while (
                campaign := await queue.claim_campaign(
                    settings.chunk_size, settings.lease_seconds, downloads=lists.has_room
                )
            ) is not None:
                log.info(
                    _EVENTS[campaign.action],
                    campaign=str(campaign.campaign_id),
                    recipients=campaign.recipients,
                    detail=campaign.detail,
                )
                if campaign.action == "expanded":
                    expanded()
                elif campaign.action == "download":
                    lists.start(campaign)
            await queue.tick()  # after the claims: somebody who has just ordered is waiting for those
            backoff.reset()
        except DatabaseUnavailable as error:
            interrupted = True
            log.warning("database_unavailable", where="claim_campaign", reason=str(error))
            await asyncio.sleep(backoff.next())
            continue
        await bell.wait(max(settings.poll_seconds, SELDOM))
