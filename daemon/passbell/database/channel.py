"""The notifications of the database, over a connection of their own."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import psycopg

from passbell.database.pool import CONNECTION_OPTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passbell.database.pool import Database

__all__ = ["Channel", "listening"]

CHANNEL: Final = "passbell"
ECHO_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 60.0
ECHO: Final = "echo:"


class Channel:
    """A connection that listens."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def hears(self, database: Database) -> bool:
        """Whether a note sent over another connection arrives here: behind a transaction pooler it does not."""
        note = f"{ECHO}{uuid.uuid4()}"
        await database.fetch("select pg_notify(%(channel)s, %(note)s)", {"channel": CHANNEL, "note": note})
        ends = time.monotonic() + ECHO_SECONDS
        while (left := ends - time.monotonic()) > 0:
            async for message in self._connection.notifies(timeout=left, stop_after=1):
                if message.payload == note:
                    return True
        return False

    async def notes(self) -> AsyncIterator[str]:
        """The payloads as they come, until the wire is gone.

        Raises:
            psycopg.Error, OSError: it is gone.
        """
        while True:
            async for message in self._connection.notifies(timeout=IDLE_SECONDS):
                if not message.payload.startswith(ECHO):
                    yield message.payload
            # Nothing for a while: is the wire still there?
            async with asyncio.timeout(ECHO_SECONDS):
                await self._connection.execute("select 1")


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[Channel]:
    """A channel that listens while the block runs.

    Raises:
        psycopg.Error, OSError: no connection.
    """
    async with await psycopg.AsyncConnection.connect(url, **CONNECTION_OPTIONS) as connection:
        await connection.execute("listen passbell")
        yield Channel(connection)
