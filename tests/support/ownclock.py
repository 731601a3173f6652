"""A clock of a test's own: time stands while code runs, and jumps to the next timer when every task waits.

What is decided by milliseconds is then decided alike on every machine, however busy, and takes no time.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OwnClock", "own_clock"]

LATE: Final = 1e-6
"""Seconds by which a timer is met too late, as a real one is: a task that waits for a moment finds it over."""


class OwnClock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self._now = 1_000.0

    def monotonic(self) -> float:
        """The present."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """The process freezes: time passes and no task runs."""
        self._now += seconds


@contextlib.contextmanager
def own_clock(*modules: str) -> Iterator[OwnClock]:
    """Give the running event loop and these modules a clock of their own."""
    clock, loop = OwnClock(), asyncio.get_running_loop()
    selector: Any = vars(loop)["_selector"]  # there is no public way to it
    look = selector.select

    def select(timeout: float | None = None) -> Any:
        happened = look(0)
        if not happened:
            assert timeout is not None, "every task waits for something that never comes"
            if timeout > 0:
                clock.sleep(timeout + LATE)
        return happened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", clock.monotonic)
        patch.setattr(selector, "select", select)
        for module in modules:
            patch.setattr(f"{module}.time", clock)
        yield clock
