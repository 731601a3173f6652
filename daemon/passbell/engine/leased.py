"""Work under a lease that is renewed meanwhile, and blocking work in a thread that ends when it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from passbell.errors import DatabaseRefused, DatabaseUnavailable, LeaseLost

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["in_thread", "while_leased"]

T = TypeVar("T")


async def while_leased(work: Coroutine[Any, Any, T], renew: Callable[[], Awaitable[bool]], every: float) -> T:
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


async def in_thread(stop: threading.Event, work: Callable[..., T], *args: Any) -> T:
    """Call `work(*args)` in a thread. Cancelled, it sets `stop` and waits until the thread has ended."""
    future = asyncio.get_running_loop().run_in_executor(None, work, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise
