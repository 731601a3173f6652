"""LISTEN on a direct connection makes the daemon quicker. Work is found by polling, whatever happens here.

A transaction pooler accepts LISTEN, but passes no notification on. So after each connect the daemon sends a
notification to itself. If it does not come back, the log says so once, and the daemon polls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg
import structlog

from passbell.database.pool import listening
from passbell.delivery.loops import Backoff
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.database.pool import Database

__all__ = ["run_listener"]

log = structlog.get_logger()

DEAF_SECONDS: Final = 600.0


async def run_listener(url: str, database: Database, heard: Callable[[str], None]) -> None:
    """Call `heard(payload)` for each notification, and `heard("")` after each connect: one may have been missed."""
    backoff = Backoff(limit=30)
    while True:
        try:
            async with listening(url) as channel:
                if not await channel.hears(database):
                    log.warning(
                        "listen_unavailable",
                        reason="notifications do not arrive, as behind a transaction pooler; polling instead",
                        advice="set PASSBELL_LISTEN_URL to a direct connection",
                    )
                else:
                    log.info("listening")
                    backoff.reset()
                    heard("")
                    async for payload in channel.notes():
                        heard(payload)
            await asyncio.sleep(DEAF_SECONDS)
        except (psycopg.Error, OSError, DatabaseUnavailable) as error:
            log.info("listener_reconnects", reason=str(error).partition("\n")[0])
            await asyncio.sleep(backoff.next())
