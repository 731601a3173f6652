"""Waiting on a condition instead of sleeping: the one place where a test lets time pass."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["wait_until", "wait_until_async"]

T = TypeVar("T")

DEADLINE = 30.0
"""Seconds after which a condition that still does not hold fails the test. It costs nothing when it holds."""

PAUSE, LATER, SOON = 0.01, 0.05, 1.0
"""Seconds between looks, and between those of a wait that is longer than `SOON`: most looks ask a database."""


def wait_until(condition: Callable[[], T], what: str = "", deadline: float = DEADLINE) -> T:
    """Call `condition` until it is true and return its answer; fail with `what` after `deadline` seconds."""
    begun = time.monotonic()
    while True:
        answer = condition()
        if answer:
            return answer
        if (waited := time.monotonic() - begun) >= deadline:
            raise AssertionError(f"not within {deadline:g} s: {what or condition} (last answer: {answer!r})")
        time.sleep(PAUSE if waited < SOON else LATER)


async def wait_until_async(
    condition: Callable[[], T | Awaitable[T]], what: str = "", deadline: float = DEADLINE
) -> T:
    """Like `wait_until`, without blocking the event loop; `condition` may be a coroutine function."""
    begun = time.monotonic()
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if (waited := time.monotonic() - begun) >= deadline:
            raise AssertionError(f"not within {deadline:g} s: {what or condition} (last answer: {answer!r})")
        await asyncio.sleep(PAUSE if waited < SOON else LATER)
