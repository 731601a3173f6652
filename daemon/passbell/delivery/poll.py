"""The poll: one question every `PASSBELL_POLL_SECONDS` whether there may be anything to do, and for which loop.

The loops ask for work themselves, but only when they are woken: by a notification, by each other, or from here. Without
this each of them would put its own question to an empty queue at every poll. Should this loop ever miss something, they
still come round by themselves (`SELDOM`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from passbell.delivery.backoff import Backoff
from passbell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.database.calls import WorkWaiting

__all__ = ["run_poll"]

log = structlog.get_logger()


class Asks(Protocol):
    """What the poll needs of the queue: `passbell.database.calls.Queue` is one."""

    async def work_waiting(self) -> WorkWaiting:
        """Ask once."""


async def run_poll(queue: Asks, found: Callable[[WorkWaiting], None], poll_seconds: float) -> None:
    """Ask, tell `found`, wait; until cancelled."""
    backoff = Backoff()
    while True:
        await asyncio.sleep(poll_seconds)
        try:
            found(await queue.work_waiting())
            backoff.reset()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="poll", reason=str(error))
            await asyncio.sleep(backoff.next())
