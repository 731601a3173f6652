"""Bad weather on the way to the database, for as long as a block lasts, at random and repeatable moments."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING, Self

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Storm", "terminate_all"]

_TERMINATE = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where datname = current_database() and application_name = 'passbell'
"""


def terminate_all(url: str) -> int:
    """End every connection that a daemon has; how many there were."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(_TERMINATE).fetchone()
    return row[0] if row else 0


class Storm:
    """Calls `strike` again and again, `calm` seconds apart on average, until the block is left."""

    def __init__(self, strike: Callable[[], object], calm: float, seed: int = 0) -> None:
        self._strike = strike
        self._calm = calm
        self._dice = random.Random(seed)  # noqa: S311 - a storm that can be made again
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, name="storm", daemon=True)
        self.strikes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Let the sun shine; may be called twice."""
        self._over.set()
        self._thread.join()

    def _rage(self) -> None:
        while not self._over.wait(self._calm * (0.5 + self._dice.random())):
            with contextlib.suppress(psycopg.OperationalError):
                self._strike()
                self.strikes += 1
