"""How the functions are asked: rows come as JSON, so that columns have names, and are read as models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passbell.database.pool import Database

__all__ = ["AUDIENCE_SECONDS", "Asked"]

AUDIENCE_SECONDS: Final = 60.0
"""Deadline of calls that look at a whole audience."""

Row = TypeVar("Row", bound=BaseModel)
NOTHING: Final[Mapping[str, Any]] = {}


class Asked:
    """The database of the API and the page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _rows(
        self,
        kind: type[Row],
        query: LiteralString,
        params: Mapping[str, Any] = NOTHING,
        deadline: float = 15.0,
    ) -> list[Row]:
        shaped: LiteralString = "select to_jsonb(x) from (" + query + ") x"  # noqa: S608 - literals alone
        found = await self._database.fetch(shaped, params, deadline=deadline)
        return [kind.model_validate(row) for (row,) in found]

    async def _value(
        self, query: LiteralString, params: Mapping[str, Any] = NOTHING, deadline: float = 15.0
    ) -> Any:
        return await self._database.value(query, params, deadline=deadline)
