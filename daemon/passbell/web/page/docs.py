# ruff: noqa: TC002 - FastAPI reads the signatures at run time
"""/docs: the OpenAPI document as a page of our own, because the usual ones load scripts from elsewhere."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from passbell.web.page.render import page
from passbell.web.page.signin import session_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

NO_BODY: Final[dict[str, dict[str, Any]]] = {"content": {}}


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Show every call with its parameters and an example."""
    document: dict[str, Any] = request.app.openapi()
    calls = [
        _call(document, path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    groups = [(tag, list(found)) for tag, found in groupby(calls, key=lambda call: call["tag"])]
    session = session_of(request)
    return page(request, "docs.html", session, document=document, groups=groups)


def _call(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", NO_BODY)["content"]
    kinds: list[tuple[str | None, dict[str, Any]]] = [*content.items(), (None, {})]
    kind, body = kinds[0]
    schema = _resolve(document, body.get("schema", {}))
    fields = [
        (name, _words(_resolve(document, field)), name in schema.get("required", []))
        for name, field in schema.get("properties", {}).items()
    ]
    example = schema.get("example")
    return {
        "id": operation["operationId"],
        "tag": operation["tags"][0],
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": operation.get("parameters", []),
        "kind": kind,
        "fields": fields,
        "example": orjson.dumps(example, option=orjson.OPT_INDENT_2).decode() if example else None,
        "statuses": [(code, answer["description"]) for code, answer in operation["responses"].items()],
        "open": not operation.get("security"),
    }


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and the part of `anyOf` that is not null."""
    for option in schema.get("anyOf", []):
        if option.get("type") != "null":
            rest = {name: value for name, value in schema.items() if name != "anyOf"}
            return _resolve(document, option) | rest
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _words(schema: dict[str, Any]) -> dict[str, str]:
    kind = schema.get("format") or schema.get("type") or "any"
    kind = "file" if schema.get("contentMediaType") == "application/octet-stream" else kind
    return {"kind": str(kind), "description": str(schema.get("description", ""))}
