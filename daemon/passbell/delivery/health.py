"""Is it PassKit or is it this pass? And what is done when it is PassKit: the breaker.

A failure that passes with time burns one of a pass's attempts only while PassKit is known to be up. After a few
failures in a row a probe decides, a request that touches no member. If the probe fails too, the breaker in the
database opens for all daemons, and waiting passes are handed back untouched: an outage uses up no attempts. Refused
credentials (401, 403) open it at once, unless PassKit took another push a moment ago and takes the probe now: then one
node, or one record, is at fault, and stopping the whole account for it would cost more than asking again.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final

import structlog

from passbell.errors import PassbellError
from passbell.ops.metrics import BREAKER_OPENED, THROTTLED
from passbell.outcomes import Stop
from passbell.passkit import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.database.limits import RateLimit
    from passbell.passkit import Answer, PassKit
    from passbell.passkit.wire import Caller

__all__ = ["Health"]

log = structlog.get_logger()

SUSPICIOUS_FAILURES: Final = 3
TRUSTED_SECONDS: Final = 60.0
"""For so long a push that PassKit took speaks for the credentials: longer than a pass's own five attempts take."""
PROBES: Final = 3
PROBE_PAUSE: Final = 0.25
_ADVICE: Final = {
    "credentials": "correct key and secret (PassKit, Settings > Developer Tools); `passbell check` tries them",
    "outage": "wait: sending goes on by itself; if it lasts, look at the network and at the account's PassKit URL",
}


class Health:
    """What this daemon knows about PassKit's state."""

    def __init__(self, limit: RateLimit, passkit: PassKit, account: str = "") -> None:
        """`account` is its name in the log. `attach` says what to stop and to wake."""
        self._log = log.bind(account=account) if account else log
        self._limit = limit
        self._passkit = passkit
        self._stop_all: Callable[[Stop], None] = lambda _why: None
        self._resume: Callable[[], None] = lambda: None
        self._failures = 0
        self._refused: set[str] = set()
        self._taken_at = -math.inf
        self._verdict: asyncio.Task[bool] | None = None
        self.broken = False
        """Whether the breaker is open, as far as we know."""

    def attach(self, *, stop_all: Callable[[Stop], None], resume: Callable[[], None]) -> None:
        """`stop_all(why)` is called when the breaker opens, `resume()` when it closes."""
        self._stop_all = stop_all
        self._resume = resume

    def succeeded(self, answer: Answer) -> None:
        """PassKit answered and was not in trouble."""
        self._failures = 0
        if answer.verdict is Verdict.SENT:
            self._refused.clear()
            self._taken_at = time.monotonic()

    async def is_down(self, answer: Answer, caller: Caller) -> bool:
        """After a failure that may pass: whether it is PassKit as a whole. Opens the breaker if so.

        The probe is made for `caller`, whose request failed: what is stopped asks nothing more either.
        """
        self._failures += 1
        if self.broken:
            return True
        if self._failures < SUSPICIOUS_FAILURES:
            return False
        if self._verdict is None:
            self._verdict = asyncio.create_task(self._judge(answer, caller), name="probe")
        task = self._verdict
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._verdict = None

    async def is_refused(self, answer: Answer, who: str, caller: Caller) -> bool:
        """After a 401 or 403 for `who`: whether it is the account. Opens the breaker if so: no pass is failed."""
        self._refused.add(who)
        if self.broken:
            return True
        if (
            time.monotonic() - self._taken_at < TRUSTED_SECONDS
            and len(self._refused) < SUSPICIOUS_FAILURES
            and (await self._passkit.probe(caller=caller)).verdict is not Verdict.REFUSED
        ):
            return False
        await self._open("credentials", answer.detail)
        return True

    async def _judge(self, answer: Answer, caller: Caller) -> bool:
        probe = answer
        for nth in range(PROBES):
            if nth:
                await asyncio.sleep(PROBE_PAUSE)
            probe = await self._passkit.probe(caller=caller)
            if probe.verdict not in {Verdict.RETRY, Verdict.SERVER_ERROR, Verdict.REFUSED}:
                self._failures = 0
                return False
        await self._open(
            "credentials" if probe.verdict is Verdict.REFUSED else "outage", probe.detail or answer.detail
        )
        return True

    async def _open(self, kind: str, reason: str) -> None:
        if self.broken:
            return
        self.broken = True
        self._stop_all(Stop.BREAKER)
        try:
            if await self._limit.open_breaker(kind, reason):
                BREAKER_OPENED.labels(kind).inc()
                self._log.warning("breaker_opened", kind=kind, reason=reason, advice=_ADVICE.get(kind))
        except PassbellError as error:
            # Without the database no daemon claims a chunk. The next failure opens the breaker.
            self.broken = False
            self._log.warning("breaker_not_recorded", reason=str(error))

    async def check(self) -> None:
        """Look at an open breaker: probe if the database chose this daemon, go on if another one has closed it.

        Raises:
            DatabaseUnavailable: the database could not be asked.
        """
        if await self._limit.claim_probe():
            if not self.broken:
                self.broken = True
                self._stop_all(Stop.BREAKER)
            await self._probe()
        elif self.broken and await self._limit.is_closed():
            self._recover()

    async def _probe(self) -> None:
        answer = await self._passkit.probe()
        if answer.verdict in {Verdict.SENT, Verdict.NOT_FOUND, Verdict.REJECTED}:
            if await self._limit.close_breaker():
                self._log.info("breaker_closed")
            self._recover()
        else:
            self._log.info("breaker_still_open", reason=answer.detail)

    def _recover(self) -> None:
        self.broken = False
        self._failures = 0
        self._refused.clear()
        self._resume()

    async def throttled(self, seconds: float | None) -> None:
        """429: slow down all daemons of the account."""
        THROTTLED.inc()
        self._log.warning("throttled", retry_after=seconds)
        try:
            await self._limit.throttle(seconds)
        except PassbellError as error:
            # The next 429 is reported likewise.
            self._log.warning("throttle_not_recorded", reason=str(error))
