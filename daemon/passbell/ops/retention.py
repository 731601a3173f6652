"""The retention duty: once a day, over all daemons, old rows go; in small batches, with a pause between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from passbell.database.upkeep import Upkeep
from passbell.ops.metrics import PRUNED

if TYPE_CHECKING:
    from passbell.database.pool import Database

__all__ = ["LOOK_SECONDS", "prune_when_due"]

log = structlog.get_logger()

LOOK_SECONDS: Final = 3600.0
PAUSE_SECONDS: Final = 0.2
"""Between batches, so that campaigns go first."""


async def prune_when_due(database: Database) -> None:
    """Prune if it is this daemon's turn.

    The database decides whose turn it is (`passbell.claim_prune`) and remembers how far it came, so a daemon that is
    stopped in the middle loses nothing: tomorrow's goes on.
    """
    upkeep = Upkeep(database)
    if not await upkeep.claim_prune():
        return
    total: dict[str, int] = {}
    done = False
    while not done:
        batch = await upkeep.prune()
        for part in batch:
            PRUNED.labels(part.relation).inc(part.removed)
            total[part.relation] = total.get(part.relation, 0) + part.removed
        done = all(part.done for part in batch)
        if not done:
            await asyncio.sleep(PAUSE_SECONDS)
    if any(total.values()):
        log.info("history_pruned", **total)
