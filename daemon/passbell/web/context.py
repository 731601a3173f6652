"""What every handler needs: the SQL functions and the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

if TYPE_CHECKING:
    from passbell.database.pool import Database
    from passbell.settings import Settings
    from passbell.web.auth import ApiKeys, Sessions, Throttle
    from passbell.web.calls.page import PageCalls

__all__ = ["Caller", "Context", "Web"]


@dataclass(slots=True)
class Context:
    """One per process."""

    settings: Settings
    database: Database
    calls: PageCalls
    keys: ApiKeys
    sessions: Sessions
    failures: Throttle


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _caller(request: Request) -> str:
    """Name of the API key that the gate has let through."""
    name: str = request.state.key_name
    return name


Web = Annotated[Context, Depends(_context)]
Caller = Annotated[str, Depends(_caller)]
