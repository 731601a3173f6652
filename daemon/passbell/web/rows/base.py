"""The root of what the SQL functions return: snake_case in SQL, camelCase in JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

__all__ = ["Shape"]


class Shape(BaseModel):
    """The root of all shapes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)
