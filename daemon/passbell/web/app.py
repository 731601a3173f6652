"""Puts the API and the page together; an error is a page for the browser, a notice for htmx, JSON for programs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from passbell import __version__
from passbell.database.pool import Database
from passbell.web import errors
from passbell.web.api import (
    automations,
    campaigns,
    health,
    members,
    notify,
    platform,
    programs,
    results,
)
from passbell.web.auth import ApiKeys, Sessions
from passbell.web.calls.page import PageCalls
from passbell.web.context import Context
from passbell.web.gate import FAILURE_LIMIT, KEY_LIMIT, Gate
from passbell.web.page import automations as automation_pages
from passbell.web.page import compose, docs, history, imports, signin, status
from passbell.web.page import programs as program_pages
from passbell.web.page.render import is_htmx, page, redirect
from passbell.web.page.signin import NotSignedIn, session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request
    from fastapi.responses import Response
    from starlette.types import ASGIApp

    from passbell.settings import Settings
    from passbell.web.auth import Limit
    from passbell.web.errors import ApiError

__all__ = ["create_app"]

POOL_SIZE: Final = 8
STATIC: Final = Path(__file__).parent / "static"
DESCRIPTION: Final = """\
Push campaigns for wallet passes. Every call but `/live` and `/ready` needs an API key, as `X-API-Key: …` or
`Authorization: Bearer …`. Every error is `{success: false, error, code, details?}`. `Idempotency-Key` on a POST that
creates gives the same answer for 24 hours.
"""


def create_app(
    settings: Settings, *, key_limit: Limit = KEY_LIMIT, failure_limit: Limit = FAILURE_LIMIT
) -> ASGIApp:
    """Return the ASGI application. It opens the database when it starts; the server may come later."""
    keys = ApiKeys(key.get_secret_value() for key in settings.api_keys)
    sessions = Sessions(keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Database(settings.database_dsn, size=POOL_SIZE) as database:
            sessions.calls = calls = PageCalls(database)
            app.state.readiness = health.Readiness()
            app.state.context = Context(settings, database, calls, keys, sessions, gate.failures)
            yield

    app = FastAPI(
        title="passbell",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from elsewhere; ours does not
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    errors.install(app, _page_error)
    app.add_exception_handler(NotSignedIn, _sign_in_first)
    for router in (
        notify.router,
        campaigns.router,
        results.router,
        automations.router,
        programs.router,
        members.router,
        platform.router,
    ):
        app.include_router(router, responses=errors.REFUSALS)
    app.include_router(health.router)
    for router in (
        signin.router,
        compose.router,
        history.router,
        automation_pages.router,
        program_pages.router,
        status.router,
        imports.router,
        docs.router,
    ):
        app.include_router(router)
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    gate = Gate(app, keys, sessions, key_limit=key_limit, failure_limit=failure_limit)
    return gate


async def _sign_in_first(request: Request, _error: Exception) -> Response:
    if is_htmx(request):
        return redirect(request, "/login")
    where = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/login?next={quote(where)}", status_code=303)


def _page_error(request: Request, error: ApiError) -> Response | None:
    """Return the error for people; None where programs call."""
    if request.url.path == "/live" or request.url.path.startswith(
        ("/api", "/ready", "/openapi.json", "/static/")
    ):
        return None
    if is_htmx(request):
        response: HTMLResponse = page(request, "_notice.html", code=error.status, error=error)
        response.headers["HX-Retarget"] = "#notice"
        response.headers["HX-Reswap"] = "innerHTML"
        return response
    session = session_of(request)
    response = page(request, "error.html", session, code=error.status, error=error)
    response.headers.update(error.headers)
    return response


async def _icon() -> FileResponse:
    """The icon at the address that browsers ask for by themselves, beside the month's report or an answer in JSON."""
    return FileResponse(
        STATIC / "bell.svg", media_type="image/svg+xml", headers={"cache-control": "max-age=86400"}
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once, with both ways to present a key."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        document["components"]["securitySchemes"] = {
            "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "Bearer": {"type": "http", "scheme": "bearer"},
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path.startswith("/api/"):
                    operation["security"] = [{"ApiKey": []}, {"Bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema
