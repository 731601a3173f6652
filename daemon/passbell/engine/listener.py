"""LISTEN on a direct connection: only an accelerator. Whatever happens here, polling decides.

Behind a transaction pooler LISTEN is accepted and never heard of again. So after each connect a note is sent to
ourselves; if it does not come back, one line says so and the daemon polls.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog

from passbell.db.database import CONNECTION_OPTIONS
from passbell.engine.backoff import Backoff
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.db.database import Database

__all__ = ["run_listener"]

log = structlog.get_logger()

CHANNEL: Final = "passbell"
ECHO_SECONDS: Final = 5.0
DEAF_SECONDS: Final = 600.0
IDLE_SECONDS: Final = 60.0


async def run_listener(url: str, database: Database, heard: Callable[[str], None]) -> None:
    """Call `heard(payload)` for each notification, and `heard("")` after each (re)connect: something may be missed."""
    backoff = Backoff(limit=30)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(url, **CONNECTION_OPTIONS) as connection:
                await connection.execute("listen passbell")
                if not await _hears(connection, database):
                    log.warning(
                        "listen_unavailable",
                        reason="notifications do not arrive, as behind a transaction pooler; polling instead",
                        advice="set PASSBELL_LISTEN_URL to a direct connection",
                    )
                    await connection.close()
                    await asyncio.sleep(DEAF_SECONDS)
                    continue
                log.info("listening")
                backoff.reset()
                heard("")
                await _listen(connection, heard)
        except (psycopg.Error, OSError, DatabaseUnavailable) as error:
            log.info("listener_reconnects", reason=str(error).partition("\n")[0])
            await asyncio.sleep(backoff.next())


async def _hears(connection: psycopg.AsyncConnection[Any], database: Database) -> bool:
    """Whether a note sent over another connection arrives here."""
    note = f"echo:{uuid.uuid4()}"
    await database.fetch("select pg_notify(%s, %s)", (CHANNEL, note))
    ends = time.monotonic() + ECHO_SECONDS
    while (left := ends - time.monotonic()) > 0:
        async for message in connection.notifies(timeout=left, stop_after=1):
            if message.payload == note:
                return True
    return False


async def _listen(connection: psycopg.AsyncConnection[Any], heard: Callable[[str], None]) -> None:
    while True:
        async for message in connection.notifies(timeout=IDLE_SECONDS):
            if not message.payload.startswith("echo:"):
                heard(message.payload)
        # Nothing for a while: is the wire still there?
        async with asyncio.timeout(ECHO_SECONDS):
            await connection.execute("select 1")
