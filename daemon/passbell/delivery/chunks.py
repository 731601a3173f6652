"""The chunk loop: claims work while there is room, and owns every chunk in this daemon's hands until it is reported."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from passbell.delivery.held import HeldChunk, lease_clock
from passbell.delivery.loops import Backoff
from passbell.delivery.pacing import Pacer
from passbell.delivery.slowhosts import SlowHosts
from passbell.errors import DatabaseRefused, DatabaseUnavailable, LeaseLost, PassbellError
from passbell.ops.metrics import CHUNKS_HELD, CLAIM, LEASES_LOST, count_outcomes
from passbell.outcomes import Stop

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.database.calls import Queue
    from passbell.database.rows import ClaimedChunk
    from passbell.delivery.accounts import Account, Accounts
    from passbell.delivery.loops import Wakeup
    from passbell.settings import Settings

__all__ = ["ChunkLoop"]

log = structlog.get_logger()

CONTROL_SECONDS: Final = 0.4
"""Seconds between checks whether chunks in hand may go on, so that pause and cancel take effect within a second."""
FLUSH_SECONDS: Final = 1.0
"""A decided outcome is reported at the latest after this, also in the middle of a slow chunk."""
MAX_HELD: Final = 64
"""Chunks in hand of one account, so that a slow one takes no place of the others."""
TESTS_HELD: Final = 8
"""Test sends of one program in hand."""
TROUBLE_LIMIT: Final = 300.0
"""The longest rest of a chunk whose sending ended with an unexpected error."""


class _InHand(HeldChunk):
    """A held chunk and the account under which it was claimed; None if that is not served any more."""

    def __init__(
        self, chunk: ClaimedChunk, lease_seconds: float, begun: float, account: Account | None
    ) -> None:
        super().__init__(chunk, lease_seconds, begun)
        self.account = account


class ChunkLoop:
    """Claims, starts and finishes chunks."""

    def __init__(self, settings: Settings, queue: Queue, accounts: Accounts, wakeup: Wakeup) -> None:
        self._settings = settings
        self._queue = queue
        self._accounts = accounts
        self._wakeup = wakeup
        self._held: dict[UUID, _InHand] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._own_rates: dict[UUID, Pacer] = {}
        self._troubled: dict[UUID, Backoff] = {}
        """The growing rest of each campaign whose chunks end with unexpected errors."""
        self._slow_hosts = SlowHosts()
        self._stopping = False
        self.sent = 0
        """Pushes that PassKit took since the start."""

    @property
    def doing(self) -> str:
        """What it does, in a few words, for the workers table and systemd."""
        if not self._held:
            return "waiting for work"
        campaigns = {held.chunk.campaign_id for held in self._held.values()}
        what = f"campaign {next(iter(campaigns))}" if len(campaigns) == 1 else f"{len(campaigns)} campaigns"
        return f"sending {what}, {len(self._held)} chunks in hand"

    def stop_all(self, why: Stop) -> None:
        """Send nothing more from the chunks in hand; what is in flight ends, the rest is handed back."""
        for held in self._held.values():
            held.stop(why)

    def stop_account(self, account: Account, why: Stop) -> None:
        """The same for the chunks of one account."""
        for held in self._held.values():
            if held.account is account:
                held.stop(why)

    def accounts_in_hand(self) -> set[Account]:
        """The accounts under which something is in hand."""
        return {held.account for held in self._held.values() if held.account is not None}

    async def run(self) -> None:
        """Claim while there is room. Ends after `stop()`, when the last chunk is reported."""
        backoff = Backoff()
        while not self._stopping:
            self._wakeup.beat = time.monotonic()
            try:
                claimed = await self._claim()
                backoff.reset()
            except DatabaseUnavailable as error:
                # The claim may have been entered although its answer was lost: the next one asks for it again.
                log.warning("database_unavailable", where="claim_chunk", reason=str(error))
                await self._wakeup.wait(backoff.next())
                continue
            except DatabaseRefused as error:
                log.warning("claim_refused", where="claim_chunk", reason=str(error))
                await asyncio.sleep(backoff.next())
                continue
            if not claimed:
                await self._wakeup.wait_for_work(self._settings.poll_seconds)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Claim no more and hand back what is unsent."""
        self._stopping = True
        self.stop_all(Stop.STOPPING)
        self._wakeup.set()

    async def _claim(self) -> bool:
        settings = self._settings
        places = Counter(held.chunk.account for held in self._held.values())
        some: dict[str, list[str]] = {}
        if full := {name for name, count in places.items() if count >= MAX_HELD}:
            some["accounts"] = [name for name in self._queue.accounts if name not in full]
            if not some["accounts"]:
                return False
        # More in hand than can be sent soon would only wait here instead of in the database. A program that has
        # none in hand yet may always add one, so a small campaign starts beside a huge one.
        slow = [held for held in self._held.values() if held.chunk.rate_per_second]
        crowded, tested = self._crowded()
        begun = lease_clock()
        chunk = await self._queue.claim_chunk(
            settings.lease_seconds,
            settings.daily_cap,
            settings.same_text,
            list(crowded | self._busy()),
            [*tested, *(held.chunk.campaign_id for held in slow)],
            **some,
        )
        CLAIM.observe(lease_clock() - begun)
        if chunk is None:
            return False
        held = _InHand(chunk, settings.lease_seconds, begun, self._accounts.get(chunk.account))
        # The next chunk is claimed before this one ends. Else the rate would be unused while PassKit answers the last
        # requests: 7 % of it at 100 ms.
        enough = held.account.enough if held.account else 1
        held.low_mark, held.when_low = max(1, held.size - enough + 1), self._wakeup.set
        if self._stopping:
            held.stop(Stop.STOPPING)
        self._held[chunk.claim_token] = held
        task = asyncio.create_task(self._work(held), name=f"chunk {chunk.campaign_id}/{chunk.chunk_no}")
        CHUNKS_HELD.set(len(self._held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _busy(self) -> set[UUID]:
        """Programs with passes in hand whose account has enough passes in hand."""
        waiting: Counter[Account] = Counter()
        programs: dict[Account, set[UUID]] = {}
        for held in self._held.values():
            if held.account is not None and not held.chunk.rate_per_second:
                waiting[held.account] += held.undecided
                programs.setdefault(held.account, set()).add(held.chunk.program_id)
        return {
            program
            for account, some in programs.items()
            if waiting[account] >= account.enough
            for program in some
        }

    def _crowded(self) -> tuple[set[UUID], set[UUID]]:
        """Programs that hold their share of their account's places, and those that hold their share of test sends.

        A share leaves room for one program more than there are, so that no number of slow or small chunks of one keeps
        another waiting.
        """
        full: set[UUID] = set()
        tested: set[UUID] = set()
        for account in {held.chunk.account for held in self._held.values()}:
            chunks = [held.chunk for held in self._held.values() if held.chunk.account == account]
            places = Counter(chunk.program_id for chunk in chunks if chunk.kind != "TEST")
            tests = Counter(chunk.program_id for chunk in chunks if chunk.kind == "TEST")
            share = MAX_HELD // (len(places.keys() | tests.keys()) + 1)
            full |= {program for program, count in places.items() if count >= share}
            tested |= {program for program, count in tests.items() if count >= min(TESTS_HELD, share)}
        return full, tested

    async def _work(self, held: _InHand) -> None:
        chunk = held.chunk
        try:
            if held.account is None:
                held.stop(Stop.ACCOUNT)
            else:
                await held.account.sender.send(held, self._own_rate(held))
        except Exception:
            log.exception("chunk_failed", campaign=str(chunk.campaign_id), chunk=chunk.chunk_no)
            held.stop(Stop.ERROR)
        finally:
            await self._finish(held)
            self._held.pop(chunk.claim_token, None)
            CHUNKS_HELD.set(len(self._held))
            if not any(other.chunk.campaign_id == chunk.campaign_id for other in self._held.values()):
                self._own_rates.pop(chunk.campaign_id, None)
            self._wakeup.set()

    def _own_rate(self, held: HeldChunk) -> Pacer | None:
        """The pacer of a campaign that has a rate of its own, shared with all daemons as well."""
        chunk = held.chunk
        rate = chunk.rate_per_second
        if not rate:
            return None
        if chunk.campaign_id not in self._own_rates:
            limit = self._queue.limit_of_campaign(chunk.campaign_id)
            self._own_rates[chunk.campaign_id] = Pacer(partial(limit.take_slots, rate), rate, patient=True)
        return self._own_rates[chunk.campaign_id]

    # ── reporting ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _finish(self, held: HeldChunk) -> None:
        """Report until the database takes it or the lease is lost.

        If a report was stored and its answer did not arrive, the repeat is refused like one with a lost lease.
        """
        backoff = Backoff()
        while not held.lost:
            try:
                await self._report(held, release=True)
            except LeaseLost:
                held.stop(Stop.LOST)
            except DatabaseUnavailable as error:
                # A rule of the host's may hang: after the second time-out the report leaves the host's tables out.
                held.ask_host = held.ask_host and not (error.timed_out and backoff.failures)
                log.warning("database_unavailable", where="finish_chunk", reason=str(error))
                await asyncio.sleep(backoff.next())
            except PassbellError as error:
                # The database's encoding may lack a letter of PassKit's sentence. The outcome is reported without it.
                held.plain_words()
                log.warning("report_refused", campaign=str(held.chunk.campaign_id), reason=str(error))
                await asyncio.sleep(backoff.next())
            else:
                return
        LEASES_LOST.inc()
        log.warning(
            "lease_lost",
            campaign=str(held.chunk.campaign_id),
            chunk=held.chunk.chunk_no,
            unreported=len(held.decisions),
        )

    async def _report(self, held: HeldChunk, *, release: bool) -> None:
        async with held.reporting, self._slow_hosts.report(held.chunk.program_id) as asks:
            taken = len(held.decisions)
            if not taken and not release:
                return
            decisions = held.report(release=release)
            finished = await self._queue.finish_chunk(
                held.chunk,
                decisions,
                release=release,
                max_attempts=self._settings.max_attempts,
                wait_seconds=self._trouble_pause(held) if release else 0.0,
                ask_host=held.ask_host and asks,
            )
            del held.decisions[:taken]
            held.first_unreported = time.monotonic()
        self.sent += finished.sent
        count_outcomes(finished)
        if release:
            log.info(
                "chunk_finished",
                campaign=str(held.chunk.campaign_id),
                chunk=held.chunk.chunk_no,
                sent=finished.sent,
                others=len(decisions) - finished.sent,
                remaining=finished.remaining,
                stopped=held.stopped,
                status=finished.status,
            )
            if finished.status == "COMPLETED":
                log.info("campaign_completed", campaign=str(held.chunk.campaign_id))

    def _trouble_pause(self, held: HeldChunk) -> float:
        """Seconds for which a chunk rests whose sending ended with an unexpected error: longer with each in a row."""
        campaign = held.chunk.campaign_id
        if held.stopped is not Stop.ERROR:
            self._troubled.pop(campaign, None)
            return 0.0
        return self._troubled.setdefault(campaign, Backoff(limit=TROUBLE_LIMIT, first=1.0)).next()

    # ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def keep_leases(self, wakeup: Wakeup) -> None:
        """Renew leases, notice pauses and lost leases, report outcomes of slow chunks in between."""
        backoff = Backoff()
        while True:
            await wakeup.wait(CONTROL_SECONDS if self._held else self._settings.poll_seconds)
            if not self._held:
                continue
            try:
                await self._look()
                await self._flush()
                backoff.reset()
            except PassbellError as error:
                log.warning("database_unavailable", where="renew_leases", reason=str(error))
                await asyncio.sleep(backoff.next())

    async def _look(self) -> None:
        begun = lease_clock()
        held_now = dict(self._held)
        lease = self._settings.lease_seconds
        extend = any(begun - held.renewed_at > lease / 3 for held in held_now.values())
        # The passes of a chunk that was claimed a moment ago were checked with the claim.
        look = [token for token, held in held_now.items() if begun - held.claimed_at > CONTROL_SECONDS / 2]
        answer = await self._queue.renew_leases(list(held_now), lease, extend=extend, look=look)
        for token, held in held_now.items():
            if token not in self._held:
                continue  # reported meanwhile
            if token not in answer:
                held.stop(Stop.LOST)
            else:
                go_on, withdrawn = answer[token]
                held.withdraw(withdrawn)
                if not go_on:
                    held.stop(Stop.PAUSED)
            if extend and token in answer and begun < held.lease_ends:
                held.renewed_at = begun
                held.lease_ends = begun + lease

    async def _flush(self) -> None:
        for held in list(self._held.values()):
            if held.decisions and not held.lost and time.monotonic() - held.first_unreported > FLUSH_SECONDS:
                try:
                    await self._report(held, release=False)
                except PassbellError as error:
                    # The report at the end of the claim meets the same error, and handles it.
                    held.first_unreported = time.monotonic()
                    log.debug("part_not_reported", campaign=str(held.chunk.campaign_id), reason=str(error))
