"""Puts the API and the page together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from passbell import __version__
from passbell.database.pool import Database
from passbell.web import errors
from passbell.web.api import (
    automations,
    campaigns,
    health,
    lookup,
    members,
    notify,
    platform,
    results,
    suppressions,
)
from passbell.web.api.models import REFUSALS
from passbell.web.auth import ApiKeys
from passbell.web.calls.page import PageCalls
from passbell.web.context import Context
from passbell.web.gate import FAILURE_LIMIT, KEY_LIMIT, Gate
from passbell.web.page import routes as page
from passbell.web.page.session import Sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from passbell.settings import Settings
    from passbell.web.auth import Limit

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
    errors.install(app, page.page_error)
    for router in (
        notify.router,
        campaigns.router,
        results.router,
        automations.router,
        lookup.router,
        suppressions.router,
        members.router,
        platform.router,
    ):
        app.include_router(router, responses=REFUSALS)
    app.include_router(health.router)
    page.install(app)
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    gate = Gate(app, keys, sessions, key_limit=key_limit, failure_limit=failure_limit)
    return gate


async def _icon() -> FileResponse:
    """The icon under the name that browsers ask for where a page names none: the month's report, an answer as JSON."""
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
