"""Liveness and readiness of one daemon, and its numbers: the answers that `server.py` gives.

Live means that the loops go round: a chunk loop that has not turned for a minute is stuck, and a restart may help.
Ready means that work could be done now: the daemon has started, is not stopping, its database answers and its schema
fits. A daemon that waits for its database is live and not ready; a restart would not help.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, Protocol

from passbell.database.bundle import read_bundle
from passbell.database.upkeep import Upkeep
from passbell.errors import PassbellError
from passbell.ops.metrics import LOOP_AGE, TASKS
from passbell.ops.queue_state import DEADLINE, QueueState
from passbell.ops.server import Condition, serve_operator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from passbell.database.pool import Database
    from passbell.settings import Settings

__all__ = ["Liveness"]

STUCK_SECONDS: Final = 60.0


class Beats(Protocol):
    """A loop or a duty that says when it last went round (time.monotonic)."""

    beat: float


class Liveness:
    """What one daemon answers at /live, /ready and /metrics."""

    def __init__(self, settings: Settings, chunk_loop: Beats, others: Mapping[str, Beats]) -> None:
        """`chunk_loop` decides liveness; `others` by name are shown beside it."""
        self._settings = settings
        self._chunk_loop = chunk_loop
        self._others = dict(others)
        self._wanted = read_bundle().version
        self._queue_state: QueueState | None = None
        self._database: Database | None = None
        self.phase = "starting"
        """starting (waiting for the database), running, stopping."""

    def also(self, name: str, beats: Beats) -> None:
        """Show one more beside the others."""
        self._others[name] = beats

    @property
    def limit(self) -> float:
        """Seconds without a turn of the chunk loop after which it is stuck."""
        return max(STUCK_SECONDS, 2 * self._settings.poll_seconds)

    @property
    def chunk_loop_turns(self) -> bool:
        """Whether the chunk loop goes round; true before it has started and while the daemon stops."""
        return self.phase != "running" or time.monotonic() - self._chunk_loop.beat < self.limit

    def running(self, database: Database) -> None:
        """The database was found, the loops start."""
        self._database = database
        self._queue_state = QueueState(database, self._settings.account)
        self.phase = "running"

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[int | None]:
        """Answer /metrics, /live and /ready while the block runs; gives the port."""
        settings = self._settings
        async with serve_operator(
            settings.metrics_host,
            settings.metrics_port,
            live=self._live,
            ready=self._ready,
            before_scrape=self._before_scrape,
        ) as port:
            yield port

    def _ages(self) -> dict[str, float]:
        now = time.monotonic()
        return {
            name: round(now - loop.beat, 3)
            for name, loop in {"chunks": self._chunk_loop, **self._others}.items()
        }

    def _live(self) -> Condition:
        return Condition(self.chunk_loop_turns, {"phase": self.phase, "loop_age_seconds": self._ages()})

    async def _ready(self) -> Condition:
        if self._database is None or self.phase != "running":
            return Condition(good=False, facts={"phase": self.phase, "schema_wanted": self._wanted})
        try:
            schema = await Upkeep(self._database).schema_version(DEADLINE)
        except PassbellError as error:
            return Condition(good=False, facts={"phase": self.phase, "database": str(error)})
        return Condition(
            schema == self._wanted and self.chunk_loop_turns,
            {"phase": self.phase, "database": "ok", "schema": schema, "schema_wanted": self._wanted},
        )

    async def _before_scrape(self) -> None:
        for name, age in self._ages().items():
            LOOP_AGE.labels(name).set(age)
        TASKS.set(len(asyncio.all_tasks()))
        if self._queue_state is not None:
            await self._queue_state.refresh()
