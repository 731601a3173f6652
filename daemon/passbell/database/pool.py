"""The daemon's connections to PostgreSQL: a small pool for its calls, and one that listens to notifications.

A call is one function in one transaction, with a deadline. Nothing depends on a session: autocommit, no prepared
statements, no session locks, so a transaction pooler (PgBouncer, Supavisor) may stand between. Only LISTEN needs a
session. Driver errors of calls leave as `passbell.errors` in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, LiteralString, Self

import psycopg
import psycopg_pool
import structlog

from passbell.errors import DatabaseUnavailable, from_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType

__all__ = ["CONNECTION_OPTIONS", "SHORT_LEASH", "Channel", "Database", "listening"]


log = structlog.get_logger()

CONNECTION_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": None,
    "application_name": "passbell",
    # Whatever PGCLIENTENCODING says: texts are UTF-8 on this side, and the server translates.
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    # A dead wire (NAT, failover) is noticed within half a minute instead of hours.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

SHORT_LEASH: LiteralString = """
    select set_config('idle_in_transaction_session_timeout', %(silent)s, true),
           set_config('tcp_keepalives_idle', '10', true),
           set_config('tcp_keepalives_interval', '5', true),
           set_config('tcp_keepalives_count', '3', true)
"""
"""First statement of a transaction of several, with the milliseconds that its client may be silent in between.

A daemon that freezes, or a machine that vanishes, would otherwise keep its locks for as long as TCP takes to
notice: two hours by default.
"""

CHANNEL: Final = "passbell"
ECHO: Final = "echo:"
ECHO_SECONDS: Final = 5.0
"""For which a notification to ourselves is waited for, and an answer after a long silence."""
IDLE_SECONDS: Final = 60.0
"""Silence after which the listening connection is asked whether it is still there."""

_CLOSE_SECONDS = 2.0
# A rule of the host's may catch the cancellation and go on. Then the server must notice that its client has left.
_CUT: LiteralString = """
    select set_config('statement_timeout', %(cut_milliseconds)s, true),
           case when version() ~* 'linux' then set_config('client_connection_check_interval', '5s', true) end;
"""
# A trigger of the host's may have set it to 'replica'. Later calls in the session would run without any trigger.
_AFTERWARDS: LiteralString = """;
    select set_config('session_replication_role', 'origin', false)
     where current_setting('session_replication_role') <> 'origin'
"""


class Database:
    """A pool of connections. Use as an async context manager; opening does not wait for the server."""

    def __init__(self, url: str, *, size: int = 4) -> None:
        """`size`: connections at most."""
        self._pool = psycopg_pool.AsyncConnectionPool(
            url,
            kwargs=CONNECTION_OPTIONS,
            min_size=1,
            max_size=size,
            max_idle=300,
            reconnect_timeout=5,
            open=False,
            name="passbell",
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close(timeout=_CLOSE_SECONDS)

    async def fetch(
        self,
        query: LiteralString,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        deadline: float = 10.0,
        cut_after: float | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run one statement in its own transaction and return its rows.

        Args:
            query: SQL with %(name)s or %s placeholders.
            params: one value per placeholder.
            deadline: seconds for everything, waiting for a connection included.
            cut_after: seconds after which the server cancels what the statement is just doing. Our SQL functions answer
                that like any error of the host's; a deadline would undo the whole call. Also instead of a
                statement_timeout of the role's, which may be too short.

        Raises:
            DatabaseUnavailable: no connection, it was cut, or the deadline passed. Whether a writing call took
                effect is then unknown; our SQL functions may all be called again.
            LeaseLost: SQLSTATE PB412.
            CampaignError: another PB4xx.
            DatabaseRefused: the server refused for another reason.
        """
        try:
            async with asyncio.timeout(deadline), self._connection(deadline) as connection:
                if cut_after is None:
                    cursor = await connection.execute(query, params)
                    return await cursor.fetchall() if cursor.description else []
                # All statements in one message, which the server commits together. A pipeline would be three messages:
                # a daemon that freezes between them leaves its locks behind.
                client = psycopg.AsyncClientCursor(connection)
                limit = {"cut_milliseconds": str(round(cut_after * 1000))}
                await client.execute(_CUT + query + _AFTERWARDS, {**dict(params), **limit})
                client.nextset()
                return await client.fetchall() if client.description else []
        except TimeoutError:
            raise DatabaseUnavailable(
                f"The database did not answer within {deadline:g} seconds.", timed_out=True
            ) from None
        except psycopg_pool.PoolTimeout:
            raise DatabaseUnavailable("The database cannot be reached; `passbell check` says why.") from None
        except (psycopg.Error, UnicodeError) as error:
            raise from_database(error) from error

    async def row(
        self,
        query: LiteralString,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        deadline: float = 10.0,
        cut_after: float | None = None,
    ) -> tuple[Any, ...] | None:
        """Like `fetch`, for statements that return one row or none."""
        rows = await self.fetch(query, params, deadline=deadline, cut_after=cut_after)
        return rows[0] if rows else None

    async def value(
        self, query: LiteralString, params: Mapping[str, Any] | None = None, *, deadline: float = 10.0
    ) -> Any:
        """Like `fetch`, for statements that return one value; None if there is no row."""
        rows = await self.fetch(query, params or {}, deadline=deadline)
        return rows[0][0] if rows else None

    @contextlib.asynccontextmanager
    async def _connection(self, deadline: float) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection from the pool; one whose call was interrupted is thrown away, its state is unknown.

        So is one whose call was refused, unless by a rule of ours: a trigger of the host's may have left a setting
        behind (a time-out, read-only, a role) with which every further call would fail.
        """
        connection = await self._pool.getconn(timeout=deadline)
        try:
            yield connection
        except BaseException as error:
            ours = isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("PB4")
            if not ours or connection.broken:
                # Closing the socket at once: a cancel request would need the same dead wire.
                connection.pgconn.finish()
            raise
        finally:
            await self._pool.putconn(connection)


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
