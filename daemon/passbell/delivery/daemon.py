"""`passbell run`: puts the loops together, starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import uuid
from typing import TYPE_CHECKING, Final

import structlog

from passbell import __version__
from passbell.database.calls import Queue
from passbell.database.migrate import check
from passbell.database.pool import Database
from passbell.delivery import systemd
from passbell.delivery.accounts import Accounts
from passbell.delivery.automations import COUNT_SECONDS, LOOK_SECONDS, Automations
from passbell.delivery.birthdays import TICK_SECONDS, Birthdays
from passbell.delivery.campaigns import CampaignLoops
from passbell.delivery.chunks import ChunkLoop
from passbell.delivery.imports import run_imports
from passbell.delivery.listener import run_listener
from passbell.delivery.lists import ListLoader
from passbell.delivery.loops import Backoff, Loops, Wakeup, ends_the_process, run_poll
from passbell.delivery.schedule import Duty, Schedule
from passbell.delivery.worker import register, run_heartbeat
from passbell.errors import DatabaseUnavailable, PassbellError, SchemaBehind
from passbell.ops import retention
from passbell.ops.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from passbell.database.rows import WorkWaiting
    from passbell.settings import Settings

__all__ = ["Daemon", "main"]

log = structlog.get_logger()

STATUS_SECONDS: Final = 5.0
POOL: Final = 8
"""Connections at most. Half of them are enough for what the host's rules may keep waiting: audiences that are frozen
(delivery/campaigns.py) and the upkeep of campaigns."""


class Daemon:
    """One daemon: `run()` returns its exit code after `stop()`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker = uuid.uuid4()
        self._stop = asyncio.Event()
        self.campaign_wakeup = Wakeup()
        self.chunk_wakeup = Wakeup()
        self.lease_wakeup = Wakeup()
        self.health_wakeup = Wakeup()
        self.heartbeat_wakeup = Wakeup()
        self.import_wakeup = Wakeup()
        self._liveness = Liveness(
            settings,
            self.chunk_wakeup,
            {
                "campaigns": self.campaign_wakeup,
                "heartbeat": self.heartbeat_wakeup,
            },
        )

    def stop(self) -> None:
        """Begin the graceful stop: claim nothing more, end what is in flight, hand back the rest."""
        self._stop.set()

    def heard(self, payload: str) -> None:
        """A notification arrived (or the listener just connected): look now instead of at the next poll."""
        if payload in {"paused", "cancelled", ""}:
            self.lease_wakeup.set()
        if payload in {"pending", "cancelled", ""}:
            self.campaign_wakeup.set()
        if payload in {"processing", ""}:
            self.chunk_wakeup.set()
        if payload in {"imports", ""}:
            self.import_wakeup.set()

    def found(self, work: WorkWaiting) -> None:
        """The poll's answer: wake the loops that may have something to do."""
        self.campaign_wakeup.told(waiting=work.campaigns)
        self.chunk_wakeup.told(waiting=work.chunks)
        self.import_wakeup.told(waiting=work.imports)
        self.health_wakeup.told(waiting=work.breaker)

    async def run(self) -> int:
        """Run until stopped; returns the exit code, not 0 if a loop ended unasked.

        Raises:
            SchemaBehind, SchemaTooNew: the database is not the one this program needs.
        """
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._liveness.served())
            if not await self._ready():
                return 0
            database = await stack.enter_async_context(Database(settings.database_dsn, size=POOL))
            queue = Queue(database, self._worker, settings.account)
            if not await self._entered(queue):
                return 0

            accounts = await stack.enter_async_context(Accounts(settings, queue))
            chunks = ChunkLoop(settings, queue, accounts, self.chunk_wakeup)
            accounts.attach(stop=chunks.stop_account, resume=self._resume, in_use=chunks.accounts_in_hand)
            with contextlib.suppress(PassbellError):  # its loop looks again, and says what is wrong
                await accounts.look()
            lists = await stack.enter_async_context(ListLoader(settings, queue, self.campaign_wakeup.set))
            log.info(
                "daemon_started",
                version=__version__,
                worker=str(self._worker),
                account=settings.account,
                rate=settings.rate_per_second,
                dry_run=settings.dry_run,
            )
            campaigns = CampaignLoops(settings, queue, self.campaign_wakeup, self.chunk_wakeup.set, lists)
            sending: asyncio.Task[None] | None = None

            async def send() -> None:
                nonlocal sending
                sending = asyncio.create_task(chunks.run(), name="sending")
                await asyncio.shield(sending)  # watched here, and not cancelled along with the watching

            loops = Loops(
                {
                    "chunks": send,
                    **campaigns.loops(),
                    **self._loops(database, queue, accounts, chunks),
                },
                fatal=self._is_fatal,
            )
            try:
                # What is loaded by now stays, and need not be looked through at every collection.
                gc.collect()
                gc.freeze()
                self._liveness.running(database)
                systemd.notify("READY=1")
                code = await loops.run_until(self._stop)
                log.info("daemon_stopping", held=chunks.doing)
                self._liveness.phase = "stopping"
                systemd.notify("STOPPING=1\nSTATUS=ending what is in flight")
                chunks.stop()
                with contextlib.suppress(Exception):  # if it failed, that was logged
                    if sending is not None:
                        await sending
            finally:
                await loops.end()
            with contextlib.suppress(DatabaseUnavailable):
                await queue.unregister()
        log.info("daemon_stopped", sent=chunks.sent)
        return code or 0

    def _loops(
        self, database: Database, queue: Queue, accounts: Accounts, chunks: ChunkLoop
    ) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """The loops beside those of chunks and campaigns, by name."""
        settings = self._settings
        schedule = self._schedule(database)

        def found(work: WorkWaiting) -> None:
            self.found(work)
            accounts.found(work.accounts)

        return {
            "poll": lambda: run_poll(queue, found, settings.poll_seconds),
            "imports": lambda: run_imports(settings, database, self._worker, self.import_wakeup),
            "watch": lambda: chunks.keep_leases(self.lease_wakeup),
            "health": lambda: accounts.probe_broken(self.health_wakeup, settings.poll_seconds),
            "accounts": accounts.run,
            "heartbeat": lambda: run_heartbeat(
                settings, queue, self.heartbeat_wakeup, lambda: chunks.doing, buried=schedule.now
            ),
            "listener": lambda: run_listener(settings.listen_dsn, database, self.heard),
            "schedule": schedule.run,
            "systemd": lambda: self._feed_systemd(chunks),
        }

    def _schedule(self, database: Database) -> Schedule:
        """The timed duties."""
        dsn = self._settings.database_dsn
        birthdays = Birthdays(database, dsn, self._worker, self._resume)
        automations = Automations(database, dsn, self._worker, self._resume)
        gifts = Duty("birthdays", TICK_SECONDS, birthdays.give, birthdays.end)
        self._liveness.also(gifts.name, gifts)
        return Schedule(
            [
                gifts,
                Duty("automations", LOOK_SECONDS, automations.fire, automations.end),
                Duty("wallets", LOOK_SECONDS, automations.watch_wallets),
                Duty("results", COUNT_SECONDS, automations.count_results),
                Duty("retention", retention.LOOK_SECONDS, lambda: retention.prune_when_due(database)),
            ],
            fatal=self._is_fatal,
        )

    async def _is_fatal(self, error: Exception) -> bool:
        return await ends_the_process(error, self._settings.database_dsn)

    async def _ready(self) -> bool:
        """Wait for the database and look at its schema; false if we were stopped meanwhile."""
        backoff = Backoff(limit=5)
        while not self._stop.is_set():
            try:
                report = await asyncio.to_thread(check, self._settings.database_dsn)
            except DatabaseUnavailable as error:
                await self._wait_for_database(error, backoff)
                continue
            if not report.current:
                raise SchemaBehind(report.lag)
            return True
        return False

    async def _entered(self, queue: Queue) -> bool:
        """Enter this daemon before anything is claimed; false if we were stopped meanwhile."""
        backoff = Backoff(limit=5)
        while not self._stop.is_set():
            try:
                await register(self._settings, queue)
            except DatabaseUnavailable as error:
                await self._wait_for_database(error, backoff)
            else:
                return True
        return False

    async def _wait_for_database(self, error: DatabaseUnavailable, backoff: Backoff) -> None:
        log.warning("database_unavailable", where="start", reason=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), backoff.next())

    def _resume(self) -> None:
        """PassKit works again: claim."""
        self.chunk_wakeup.set()
        self.campaign_wakeup.set()

    async def _feed_systemd(self, chunks: ChunkLoop) -> None:
        """Feed the watchdog as long as the chunk loop goes round, and say what the daemon does."""
        every = min(systemd.watchdog_seconds() or STATUS_SECONDS, STATUS_SECONDS)
        line = systemd.StatusLine()
        while True:
            if self._liveness.chunk_loop_turns:
                systemd.notify(f"WATCHDOG=1\nSTATUS={line.text(chunks.doing, chunks.sent)}")
            await asyncio.sleep(every)


async def _serve(settings: Settings) -> int:
    daemon = Daemon(settings)
    loop = asyncio.get_running_loop()
    signals = 0

    def on_signal(name: str) -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            log.info("signal_received", signal=name, action="graceful stop; a second one cuts")
            daemon.stop()
        else:
            log.warning("signal_received", signal=name, action="cut")
            os._exit(1)  # as safe as kill -9: the database knows everything

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    return await daemon.run()


def main(settings: Settings) -> int:
    """Run the daemon until SIGTERM or SIGINT; the exit code: 0 after a clean stop, 1 when cut or failed."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(_serve(settings))
    return uvloop.run(_serve(settings))
