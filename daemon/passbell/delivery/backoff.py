"""Waiting longer after each failure in a row, with jitter, so that daemons do not return in step."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """`first`, twice, four times … as many seconds, at most `limit`, each times 0.75 to 1.25."""

    def __init__(self, limit: float = 5.0, first: float = 0.1) -> None:
        self._limit = limit
        self._first = first
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many in a row."""
        return self._failures

    def reset(self) -> None:
        """It works again."""
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        return min(self._limit, self._first * 2.0 ** min(self._failures - 1, 20)) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
