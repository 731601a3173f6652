"""One way to do claimed work: the caller's token → work → renew → end, or hand back.

    claim     under a token that the caller chose (database/claims.py). It stays the same until the work is over, so a
              claim whose answer was lost, or whose work lost the database, is asked for again and goes on
    work      ends the work in the database: done, or failed with a sentence
    renew     meanwhile, so that a lease can be short: for so long the work of a dead daemon is left undone
    release   at a graceful stop, so that the next daemon need not wait for the lease

A piece of work may hang where the host has built something. So a few pieces are worked on side by side, and the pieces
of different programs never wait long for each other.

Lists, imports, birthdays and automations are a `Kind` each; birthdays and automations are `DailyRuns`. Chunks are not a
`Kind`: many are in hand at once, one call renews them all, and they are reported in parts (delivery/chunks.py). Their
claims carry tokens all the same.

Lists and imports come as files: `stage_file` downloads one and has it read and staged in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import psycopg
import structlog

from passbell.database.claims import Claims
from passbell.database.runs import AutomationRuns, BirthdayRuns
from passbell.delivery.loops import cancel_until_gone
from passbell.errors import DatabaseRefused, DatabaseUnavailable, LeaseLost, PassbellError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from passbell.database.claims import Claim
    from passbell.database.runs import Run
    from passbell.files.download import FetchPolicy
    from passbell.settings import Settings

__all__ = [
    "AT_ONCE",
    "SLICE_SECONDS",
    "DailyRuns",
    "Kind",
    "Work",
    "download_policy",
    "stage_file",
    "took_too_long",
    "work_off",
    "work_on",
]


log = structlog.get_logger()

AT_ONCE: Final = 3
"""Pieces of work of one kind that one daemon works on at the same time."""
SLICE_SECONDS: Final = 10.0
"""After which a run of birthdays or automations lets those of others go first."""
REST_SECONDS: Final = 2.0
"""For which it lets them."""

T = TypeVar("T")
Held = TypeVar("Held")
Runs = TypeVar("Runs", AutomationRuns, BirthdayRuns)
Taken_contra = TypeVar("Taken_contra", contravariant=True)


class Work(Protocol[Taken_contra]):
    """Work on something that is held already."""

    renew_every: float | None
    """Seconds between renewals; None: the work renews its lease with every step."""

    def names(self, held: Taken_contra) -> dict[str, str]:
        """How the log calls it."""

    async def work(self, held: Taken_contra) -> None:
        """Do it, and end it in the database.

        Raises:
            LeaseLost: it is another daemon's by now.
            DatabaseUnavailable: it is neither done nor failed.
        """

    async def renew(self, held: Taken_contra) -> bool:
        """Extend the lease; false if it is lost."""

    async def release(self, held: Taken_contra) -> None:
        """Hand it back."""


class Kind(Work[Held], Protocol[Held]):
    """A kind of work that is claimed one after the other."""

    async def claim(self, claim: Claim) -> Held | None:
        """Take the piece held under the token, else the next one that is due; None if nothing is due."""


async def work_off(kind: Kind[Held], claims: Claims, at_once: int = AT_ONCE) -> int:
    """Claim and work until nothing is due, on some pieces side by side; returns how many there were.

    The next piece is asked for when one was found, so that no work costs one question.

    Raises:
        DatabaseUnavailable: the next call goes on with the same claims.
    """
    count = 0
    hands: set[asyncio.Task[None]] = set()
    trouble: list[BaseException] = []

    async def hand() -> None:
        nonlocal count
        while not trouble:
            with claims.next() as claim:
                held = await kind.claim(claim)
                if held is None:
                    return
                if len(hands) < at_once:
                    hands.add(asyncio.create_task(hand()))
                await work_on(kind, held)
            count += 1

    hands.add(asyncio.create_task(hand()))
    try:
        while hands:
            done, _ = await asyncio.wait(hands, return_when=asyncio.FIRST_COMPLETED)
            hands -= done
            trouble += [error for task in done if (error := task.exception()) is not None]
    finally:
        await cancel_until_gone(hands)
    if trouble:
        raise trouble[0]
    return count


async def work_on(kind: Work[Held], held: Held) -> None:
    """Work on what is held, under a lease that is renewed meanwhile.

    A lost lease ends the work; a cancellation hands it back.
    """
    try:
        if kind.renew_every is None:
            await kind.work(held)
        else:
            await _while_leased(kind.work(held), lambda: kind.renew(held), kind.renew_every)
    except LeaseLost:
        log.warning("lease_lost", **kind.names(held))
    except asyncio.CancelledError:
        with contextlib.suppress(PassbellError):
            await kind.release(held)
        raise


async def _while_leased(
    work: Coroutine[Any, Any, T], renew: Callable[[], Awaitable[bool]], every: float
) -> T:
    """Run `work` to its end, calling `renew` every so many seconds.

    A database that does not answer leaves the lease to its time; the last write proves it anyway.

    Raises:
        LeaseLost: `renew` said no. The work was cancelled, and has ended.
    """
    task = asyncio.create_task(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=every)
            if done:
                return task.result()
            with contextlib.suppress(DatabaseUnavailable, DatabaseRefused):
                if not await renew():
                    raise LeaseLost("the lease is lost")
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: asyncio need not complain about it


def took_too_long(error: PassbellError) -> bool:
    """Whether something of the host's hung until it was cut: the trouble of one piece of work alone."""
    return isinstance(error.__cause__, psycopg.errors.QueryCanceled) or (
        isinstance(error, DatabaseUnavailable) and error.timed_out
    )


def download_policy(settings: Settings) -> FetchPolicy:
    """What may be downloaded.

    Raises:
        ValueError: an entry of PASSBELL_CSV_HOSTS is no host name.
    """
    from passbell.files.download import FetchPolicy  # noqa: PLC0415 - 10 MB that a daemon without files does not need

    return FetchPolicy(hosts=settings.csv_hosts, allow_private=settings.csv_allow_private)


async def stage_file(settings: Settings, url: str, stage: Callable[..., T], held: object, *more: object) -> T:
    """Download a list or an import, and call `stage(dsn, held, file, stop, *more)` in a thread.

    If it is cancelled, it sets `stop` and waits until the thread has ended.

    Raises:
        FetchError: no file came.
        Exception: what `stage` raises.
    """
    from passbell.files.download import download  # noqa: PLC0415 - as above

    stop = threading.Event()
    with tempfile.TemporaryFile(prefix="passbell-") as file:
        await download(url, file, download_policy(settings))
        return await _in_thread(stop, stage, settings.database_dsn, held, file, stop, *more)


async def _in_thread(stop: threading.Event, work: Callable[..., T], *args: Any) -> T:
    future = asyncio.get_running_loop().run_in_executor(None, work, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise


class DailyRuns(ABC, Generic[Runs]):
    """Runs of birthdays or of automations: a run is worked off in batches, and each batch extends its lease.

    Awards and rules are the host's, and may hang or wait for locks. So a run works for a slice of time and then rests
    for a moment, in which the runs of other programs are claimed before it.
    """

    renew_every: float | None = None

    def __init__(self, runs: Runs, queued: Callable[[], None]) -> None:
        """`queued()` is called when messages of the runs may be waiting in the queue."""
        self._runs: Runs = runs
        self._queued = queued
        self._claims = Claims()
        self._resting = 0

    @abstractmethod
    def names(self, held: Run) -> dict[str, str]:
        """How the log calls it."""

    @abstractmethod
    async def claim(self, claim: Claim) -> Run | None:
        """Take the next run."""

    @abstractmethod
    async def work(self, held: Run) -> None:
        """Work off a run, or a slice of it."""

    async def off(self) -> int:
        """Work off every run that is due, also those that rest meanwhile; returns how many there were."""
        count = 0
        while True:
            self._resting = 0
            count += await work_off(self, self._claims)
            if not self._resting:
                return count
            await asyncio.sleep(REST_SECONDS)

    async def rest(self, run: Run) -> None:
        """Hand a run back for a moment."""
        self._resting += 1
        await self._runs.rest(run, REST_SECONDS)

    async def renew(self, held: Run) -> bool:  # noqa: ARG002 - see renew_every
        """Batches do it."""
        return True

    async def release(self, held: Run) -> None:
        """`end()` hands it back: a cancellation ends the schedule, too."""

    async def end(self) -> None:
        """Hand back the run with which this worker was interrupted, if there is one."""
        if self._claims.unsettled:
            await self._runs.release()
