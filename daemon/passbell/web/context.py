"""What every handler needs: the SQL functions and the settings."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request

from passbell.database.migrate import check
from passbell.errors import PassbellError

if TYPE_CHECKING:
    from passbell.database.pool import Database
    from passbell.settings import Settings
    from passbell.web.auth import ApiKeys, Throttle
    from passbell.web.calls.page import PageCalls
    from passbell.web.page.session import Sessions

__all__ = ["Caller", "Context", "Readiness", "Web"]

_LOOK_SECONDS: Final = 1.0


class Readiness:
    """Whether the database and its schema are ready; looked up for all who ask within a second together."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._problem: str | None = None

    async def problem(self, dsn: str) -> str | None:
        """Return what is missing, None if it is ready."""
        async with self._lock:
            if time.monotonic() - self._looked_at > _LOOK_SECONDS:
                self._problem = await asyncio.to_thread(_look, dsn)
                self._looked_at = time.monotonic()
            return self._problem


def _look(dsn: str) -> str | None:
    try:
        report = check(dsn)
    except PassbellError:
        return "The database or its schema is not ready."
    behind = report.installed < report.available
    return "The database is not ready: run `passbell migrate`." if behind else None


@dataclass(slots=True)
class Context:
    """One per process."""

    settings: Settings
    database: Database
    calls: PageCalls
    keys: ApiKeys
    sessions: Sessions
    failures: Throttle
    readiness: Readiness = field(default_factory=Readiness)


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _caller(request: Request) -> str:
    """Name of the API key that the gate has let through."""
    name: str = request.state.key_name
    return name


Web = Annotated[Context, Depends(_context)]
Caller = Annotated[str, Depends(_caller)]
