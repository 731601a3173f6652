"""/openapi.json says of every answer what is in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from passbell.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPED = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document; made without a database."""
    from passbell.web.app import create_app  # noqa: PLC0415 - half a second, which each worker would spend

    settings = Settings(database_url="postgresql://nowhere/none", api_keys=["k" * 32])  # type: ignore[call-arg, arg-type]
    return asyncio.run(_read(create_app(settings)))


async def _read(app: Any) -> dict[str, Any]:
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def untyped(schema: Any, place: str) -> Iterator[str]:
    """Schemas that allow anything."""
    if isinstance(schema, dict):
        if "properties" in schema:
            for name, field in schema["properties"].items():
                if not TYPED & field.keys():
                    yield f"{place}.{name}"
        for key, value in schema.items():
            yield from untyped(value, f"{place}.{key}" if key not in {"properties", "schemas"} else place)


def test_every_answer_has_a_type(document: dict[str, Any]) -> None:
    """Each successful JSON answer of the API names its model."""
    bare = [
        f"{method.upper()} {path} {status}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        for content in answer.get("content", {}).values()
        if not TYPED & content.get("schema", {}).keys()
    ]
    assert not bare


def test_no_field_is_anything(document: dict[str, Any]) -> None:
    """A field of a body or of an answer has a type; a client generated from the document needs no guesses."""
    assert list(untyped(document["components"], "components")) == []
