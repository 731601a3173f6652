"""What a request may say: every JSON field, query parameter and form part is one that the call knows, said once.

A slip never widens an order. A name that is only nearly right would otherwise be dropped, and what it was to narrow
would go to everybody. Routes made by `router` refuse it, with the nearest name that is known. They know the names from
the handler's own signature, so a call that takes one more says so in one place.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fastapi import APIRouter, Request, params
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import PydanticCustomError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile

from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from fastapi.responses import Response
    from starlette.datastructures import FormData
    from starlette.types import Message

__all__ = [
    "PageRoute",
    "StrictRoute",
    "check_json",
    "model_names",
    "nearest",
    "parts_of",
    "router",
    "unknown_field",
]

_FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")


def router(prefix: str, tag: str) -> APIRouter:
    """Return a router whose calls refuse what they do not know."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one."""
    folded = {one.replace("_", "").lower(): one for one in sorted(known)}
    found = difflib.get_close_matches(name.replace("_", "").lower(), folded, n=1, cutoff=0.0)
    return folded[found[0]] if found else None


def _sentence(kind: str, name: str, known: Iterable[str]) -> tuple[str, dict[str, Any]]:
    names = sorted(known)
    near = nearest(name, names)
    shown = name if len(name) <= 60 else name[:60] + "…"  # noqa: PLR2004
    said = f'Unknown {kind} "{shown}".' + (
        f' The nearest known is "{near}". Known: {", ".join(names)}.'
        if near
        else f" This call takes no {kind}."
    )
    return said, {"field": shown, "nearest": near, "known": names}


def unknown_field(kind: str, name: str, known: Iterable[str]) -> NoReturn:
    """Refuse a name."""
    said, details = _sentence(kind, name, known)
    raise ApiError(422, "UNKNOWN_FIELD", said, details=[{**details, "problem": "is not known"}])


def _twice(name: str) -> NoReturn:
    raise ApiError(
        422,
        "CONFLICTING_FIELDS",
        f'"{name[:60]}" is given more than once.',
        details=[{"field": name[:60], "problem": "is given more than once"}],
    )


def model_names(model: type[BaseModel]) -> dict[str, str]:
    """Every spelling of a model's fields, with the field's own name."""
    names = {}
    for name, field in model.model_fields.items():
        names[field.alias or name] = name
    return names


def refuse_unknown(model: type[BaseModel], data: Mapping[Any, Any]) -> None:
    """Refuse what a model does not know, from inside its validation.

    Raises:
        PydanticCustomError: `unknown_field`; its context becomes `details`.
    """
    names = model_names(model)
    seen = set()
    for key in data:
        field = names.get(key) or (key if key in model.model_fields else None)
        if field is None:
            said, details = _sentence("field", str(key), names)
            raise PydanticCustomError("unknown_field", "{said}", {"said": said, "details": details})
        if field in seen:
            raise PydanticCustomError("conflict", "{said}", {"said": f'"{key}" is given in two spellings'})
        seen.add(field)


class StrictRoute(APIRoute):
    """A route that looks at the whole request before the handler is asked."""

    page_parts: frozenset[str] | None = None
    """On the page: parts that every form may carry beside its own. The handler judges the values."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler behind the checks."""
        handle = super().get_route_handler()
        query = _names(_parameters(self.dependant, "query_params"))
        body = _parameters(self.dependant, "body_params")
        takes_form = any(isinstance(field.field_info, params.Form) for field in body)
        form = _names(body) if takes_form else {}
        takes_body = bool(body)

        page = self.page_parts

        async def strict(request: Request) -> Response:
            kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
            if takes_form and kind == _FORMS[0]:
                request = await _whole_form(request)
            if page is not None:
                if request.method == "POST":
                    _check_query(request, query)
                    await _check_page(request, kind, form, page)
                return await handle(request)
            _check_query(request, query)
            if takes_form and kind in _FORMS:
                await _check_form(request, form)
            elif takes_body and not takes_form:
                await check_json(request, kind)
            elif not takes_body:
                await _check_nothing(request)
            return await handle(request)

        return strict


class PageRoute(StrictRoute):
    """A form of the page: what its call does not know is refused, as the API refuses it."""

    page_parts = frozenset({"csrf"})


async def parts_of(request: Request) -> frozenset[str]:
    """Return the names of the parts that a form has; to the framework an empty part and a missing one are the same."""
    return frozenset(await request.form())


def _parameters(dependant: Any, kind: str) -> list[Any]:
    """Of a handler and of what it depends on."""
    found = list(getattr(dependant, kind))
    for inner in dependant.dependencies:
        found += _parameters(inner, kind)
    return found


def _is_model(field: Any) -> bool:
    annotation = field.field_info.annotation
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _names(fields: Iterable[Any]) -> dict[str, Any]:
    """The names that parameters go by; a model's are those of its fields."""
    names: dict[str, Any] = {}
    for field in fields:
        if _is_model(field):
            model = field.field_info.annotation
            names |= {alias: model.model_fields[name] for alias, name in model_names(model).items()}
        else:
            names[field.alias] = field
    return names


def _annotation(field: Any) -> str:
    info = getattr(field, "field_info", field)
    return str(getattr(info, "annotation", None))


def _check_query(request: Request, known: Mapping[str, Any]) -> None:
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            unknown_field("query parameter", name, known)
        if name in seen and "list[" not in _annotation(known[name]):
            _twice(name)
        seen.add(name)


def _check_names(form: FormData, known: Iterable[str]) -> Iterator[tuple[str, UploadFile | str]]:
    """Give the parts in their order, each after its name was looked at."""
    seen: set[str] = set()
    for name, value in form.multi_items():
        if name not in known:
            unknown_field("form part", name, known)
        if name in seen:
            _twice(name)
        seen.add(name)
        yield name, value


async def _whole_form(request: Request) -> Request:
    """Read a form of parts, and refuse one that ends before its last boundary.

    The parser of the framework drops what was cut off. Where that is the list, its message would go to everybody.
    """
    _, options = parse_options_header(request.headers["content-type"])
    end = b"--" + options.get(b"boundary", b"") + b"--"
    receive = request.receive
    tail = b""
    begun = whole = False

    async def look() -> Message:
        nonlocal tail, begun, whole
        message = await receive()
        seen = tail + message.get("body", b"")
        begun = begun or bool(seen)
        whole = whole or end in seen
        tail = seen[-len(end) :]
        return message

    looked = Request(request.scope, look)
    await looked.form()
    if begun and not whole:  # an empty body: the gate reads no form of an unknown caller
        raise ApiError(400, "BAD_REQUEST", "The form ends too early: a part of it was lost on its way.")
    return looked


async def _check_page(request: Request, kind: str, form: Mapping[str, Any], page: frozenset[str]) -> None:
    """Check a form of the page. A body of another kind is refused: it would be read as a form of empty fields."""
    if kind not in _FORMS:
        if await request.body():
            raise ApiError(422, "INVALID_REQUEST", "The body must be a form.")
        return
    for name, value in _check_names(await request.form(), {*form, *page}):
        if (
            isinstance(value, UploadFile)
            and value.filename
            and "UploadFile" not in _annotation(form.get(name))
        ):
            _invalid(name, "must be text, not a file")


async def _check_form(request: Request, known: Mapping[str, Any]) -> None:
    for name, value in _check_names(await request.form(), known):
        wanted = _annotation(known[name])
        if isinstance(value, UploadFile):
            if "UploadFile" in wanted and not value.size:
                raise ApiError(400, "UNUSABLE_CSV", f"The file ({name}) is empty.")
            if "UploadFile" not in wanted:
                _invalid(name, "must be text, not a file")
        elif "UploadFile" in wanted:
            _invalid(name, "must be a file")
        elif not value and "str" not in wanted:
            _invalid(name, "is empty")


def _invalid(name: str, problem: str) -> NoReturn:
    raise ApiError(
        422, "INVALID_REQUEST", f"{name}: {problem}.", details=[{"field": name, "problem": problem}]
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            _twice(name)
        found[name] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


async def check_json(request: Request, kind: str) -> None:
    """Read a JSON body with a stricter reader than the framework's, and leave it what was read."""
    body = await request.body()
    if not body:
        return
    if kind != "application/json" and not kind.endswith("+json"):
        raise ApiError(422, "INVALID_REQUEST", "The body must be JSON: Content-Type: application/json.")
    try:
        found = json.loads(body, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ApiError(
            422,
            "INVALID_REQUEST",
            "The body is not valid JSON.",
            details=[{"field": "", "problem": "not valid JSON"}],
        ) from None
    if not isinstance(found, dict):
        raise ApiError(422, "INVALID_REQUEST", "The body must be a JSON object.")
    request._json = found  # noqa: SLF001 - where Request.json() keeps what it has read


async def _check_nothing(request: Request) -> None:
    """Refuse a body where the call takes none, because nothing would be done about it."""
    body = (await request.body()).strip()
    if body in {b"", b"{}"}:
        return
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        unknown_field("field", next(iter(found)), ())
    raise ApiError(422, "UNKNOWN_FIELD", "This call takes no body.")
