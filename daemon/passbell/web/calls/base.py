"""How the SQL functions are asked: rows come as JSON, so that columns have names, and are read as models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from passbell.errors import CampaignError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passbell.database.pool import Database

__all__ = ["AUDIENCE_SECONDS", "Asked", "Shape"]

AUDIENCE_SECONDS: Final = 60.0
"""Deadline of calls that look at a whole audience."""


class Shape(BaseModel):
    """The root of all rows and bodies: snake_case in SQL and Python, camelCase in JSON."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


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

    async def _one(
        self,
        kind: type[Row],
        query: LiteralString,
        params: Mapping[str, Any] = NOTHING,
        deadline: float = 15.0,
        *,
        missing: str = "The database gave no answer.",
    ) -> Row:
        """Return the first row; without one, say what is missing.

        Raises:
            CampaignError: PB404, there is no row.
        """
        found = await self._rows(kind, query, params, deadline)
        if not found:
            raise CampaignError(missing, "PB404")
        return found[0]

    async def _value(
        self, query: LiteralString, params: Mapping[str, Any] = NOTHING, deadline: float = 15.0
    ) -> Any:
        return await self._database.value(query, params, deadline=deadline)

    async def _id(
        self, query: LiteralString, params: Mapping[str, Any] = NOTHING, deadline: float = 15.0
    ) -> UUID:
        return UUID(str(await self._value(query, params, deadline)))
