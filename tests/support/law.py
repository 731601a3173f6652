"""Looking at the conservation law all the time, from a thread and a connection of its own."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Law"]


class Law:
    """`with Law(url) as law: …` fails at its end if one look found a campaign that breaks the law."""

    def __init__(self, url: str, pause: float = 0.1) -> None:
        self._url = url
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="law", daemon=True)
        self.looks = 0
        self.violations: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if error is None:
            assert not self.violations, self.violations
            assert self.looks, "nobody looked"

    def _look(self) -> None:
        while not self._over.is_set():
            # The database may be the very thing that a test has taken away: then there is nothing to see.
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(
                    self._url, autocommit=True, row_factory=dict_row, application_name="law"
                ) as conn,
            ):
                while not self._over.wait(self._pause):
                    self.violations += conn.execute("select * from passbell.check_conservation()").fetchall()
                    self.looks += 1
            self._over.wait(self._pause)
