"""Templates: everything escaped, numbers and times as people read them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from passbell import __version__
from passbell.report import interval_bar

if TYPE_CHECKING:
    from fastapi import Request

    from passbell.web.auth import Session

__all__ = ["is_htmx", "page", "redirect"]

_HERE: Final = Path(__file__).parent.parent
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def is_htmx(request: Request) -> bool:
    """Whether htmx asks for a part of the page."""
    return request.headers.get("hx-request") == "true"


def page(
    request: Request, template: str, session: Session | None = None, code: int = 200, **values: Any
) -> HTMLResponse:
    """Render a template."""
    text = (
        _environment()
        .get_template(template)
        .render(request=request, session=session, path=request.url.path, version=__version__, **values)
    )
    return HTMLResponse(text, status_code=code)


def redirect(request: Request, url: str) -> HTMLResponse:
    """Send the browser elsewhere; htmx is told by a header."""
    if is_htmx(request):
        return HTMLResponse("", headers={"HX-Redirect": url})
    return HTMLResponse("", status_code=303, headers={"Location": url})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "moment": _moment,
        "duration": _duration,
        "audience": _audience,
        "shorter": _shorter,
        "words": lambda value: str(value).replace("_", " "),
    }
    environment.globals |= {
        "asset": _asset,
        "plural": _plural,
        # Numbers alone go into it.
        "interval_bar": lambda *numbers: Markup(interval_bar(*numbers)),  # noqa: S704
    }
    return environment


def _number(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _audience(target: str, longest: int) -> str:
    """Name an audience as people do."""
    known = {"ALL": "All active members", "CSV": "Uploaded list", "BIRTHDAY": "Birthdays"}
    return _shorter(known.get(target.strip().upper(), target), longest)


def _shorter(text: str, longest: int) -> str:
    """Cut a text that is too long to be read on a page."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _moment(value: datetime | None) -> Markup | str:
    """Show UTC; the page's script shows the reader's own time instead."""
    if value is None:
        return "\N{EN DASH}"
    at = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), at.strftime("%d %b %Y, %H:%M UTC"))


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < _MINUTE:
        return _plural(max(1, seconds), "second", "seconds")
    if seconds < _HOUR:
        return _plural(round(seconds / _MINUTE), "minute", "minutes")
    if seconds < _DAY:
        hours, rest = divmod(round(seconds / _MINUTE), 60)
        return f"{hours} h {rest} min"
    return _plural(round(seconds / _DAY), "day", "days")


@cache
def _asset(name: str) -> str:
    """Address of a static file that changes with its content, so that browsers may keep it."""
    content = (_HERE / "static" / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:10]}"
