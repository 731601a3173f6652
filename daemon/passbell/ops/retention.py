"""The retention loop: once a day, over all daemons, old rows go; in small batches, with a pause between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from passbell.errors import DatabaseUnavailable
from passbell.ops.metrics import PRUNED

if TYPE_CHECKING:
    from passbell.db.database import Database

__all__ = ["run_retention"]

log = structlog.get_logger()

LOOK_SECONDS: Final = 3600.0
PAUSE_SECONDS: Final = 0.2
"""Between batches: retention is never in a hurry, and never in the way of a campaign."""


async def run_retention(database: Database) -> None:
    """Look every hour whether it is time, and prune when it is; until cancelled.

    The database decides whose turn it is (`passbell.claim_prune`) and remembers how far it came, so a daemon that is
    stopped in the middle loses nothing: tomorrow's goes on.
    """
    while True:
        try:
            row = await database.row("select passbell.claim_prune()")
            if row and row[0]:
                await _prune(database)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="retention", reason=str(error))
        await asyncio.sleep(LOOK_SECONDS)


async def _prune(database: Database) -> None:
    total: dict[str, int] = {}
    while True:
        rows = await database.fetch("select relation, removed, done from passbell.prune()", deadline=60)
        for relation, removed, _ in rows:
            PRUNED.labels(relation).inc(removed)
            total[relation] = total.get(relation, 0) + removed
        if all(done for _, _, done in rows):
            break
        await asyncio.sleep(PAUSE_SECONDS)
    if any(total.values()):
        log.info("history_pruned", **total)
