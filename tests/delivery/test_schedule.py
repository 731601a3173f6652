"""The timed duties: each comes at once, then every so often; an error of one is not the others'."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from passbell.delivery.schedule import Duty, Schedule
from passbell.errors import ConfigurationError, DatabaseRefused, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HOUR = 3600.0


async def ends_nothing(_error: Exception) -> bool:
    """No error is fatal."""
    return False


class Counted:
    """Something to do; how often it was done can be waited for."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times = 0
        self._changed = asyncio.Condition()

    async def __call__(self) -> None:
        """Do it, or raise the next error."""
        async with self._changed:
            self.times += 1
            self._changed.notify_all()
        if self.errors:
            raise self.errors.pop(0)

    async def done(self, times: int) -> None:
        """Wait until it was done so often."""
        async with self._changed, asyncio.timeout(20):
            await self._changed.wait_for(lambda: self.times >= times)


@contextlib.asynccontextmanager
async def running(
    *duties: Duty, fatal: Callable[[Exception], Awaitable[bool]] = ends_nothing
) -> AsyncIterator[Schedule]:
    """A schedule that runs while the block does."""
    schedule = Schedule(duties, fatal)
    task = asyncio.create_task(schedule.run())
    try:
        yield schedule
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_every_duty_comes_at_once_and_again() -> None:
    """At the start of a daemon all are looked at, and then each at its own pace."""
    often, seldom = Counted(), Counted()
    async with running(Duty("often", 0.05, often), Duty("seldom", HOUR, seldom)):
        await seldom.done(1)
        await often.done(3)
    assert seldom.times == 1


async def test_what_is_asked_for_comes_now() -> None:
    """A duty that is asked for runs at once, also while it is already running."""
    under_way, go_on, times = asyncio.Event(), asyncio.Event(), 0

    async def give() -> None:
        nonlocal times
        times += 1
        under_way.set()
        await go_on.wait()

    async with running(Duty("birthdays", HOUR, give)) as schedule:
        async with asyncio.timeout(20):
            await under_way.wait()
            schedule.now("birthdays")
            under_way.clear()
            go_on.set()
            await under_way.wait()
    assert times == 2


async def test_an_error_ends_one_run_of_one_duty() -> None:
    """If a timed duty fails, it is logged and repeated after a pause; the other duties go on."""
    bad, good = Counted(DatabaseRefused("no"), DatabaseUnavailable("away"), KeyError("x")), Counted()
    with capture_logs() as logs:
        async with running(Duty("bad", 60.0, bad), Duty("good", 0.05, good)):
            await bad.done(4)
            await good.done(3)
    said = [(log["event"], log.get("loop") or log.get("where")) for log in logs]
    assert said == [
        ("loop_interrupted", "bad"),
        ("database_unavailable", "bad"),
        ("loop_interrupted", "bad"),
    ]


async def test_an_error_of_the_whole_daemon_ends_the_schedule() -> None:
    """A wrong configuration is not tried again: the daemon ends with its sentence."""

    async def is_fatal(error: Exception) -> bool:
        return isinstance(error, ConfigurationError)

    schedule = Schedule([Duty("bad", HOUR, Counted(ConfigurationError("no key")))], is_fatal)
    with pytest.raises(ConfigurationError, match="no key"):
        await asyncio.wait_for(schedule.run(), 20)


async def test_a_stop_waits_until_everything_is_handed_back() -> None:
    """What runs is cancelled, and the end of each duty has run when the schedule is gone."""
    begun, ended, cancelled = asyncio.Event(), Counted(), False

    async def long() -> None:
        nonlocal cancelled
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # handing back takes a moment
            cancelled = True
            raise

    with capture_logs() as logs:
        async with running(Duty("long", HOUR, long, ended)):
            await begun.wait()
    assert (cancelled, ended.times) == (True, 1)
    assert logs == []
