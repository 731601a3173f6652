"""The page's addresses, and its errors: a page for the browser, a notice for htmx."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi.responses import HTMLResponse, RedirectResponse

from passbell.web.page import automations, compose, docs, history, imports, panels, programs, signin
from passbell.web.page.render import is_htmx, page, redirect
from passbell.web.page.session import NotSignedIn, session_of

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import Response

    from passbell.web.errors import ApiError

__all__ = ["install", "page_error"]


def install(app: FastAPI) -> None:
    """Add the page."""
    for router in (
        signin.router,
        compose.router,
        history.router,
        automations.router,
        programs.router,
        panels.router,
        imports.router,
        docs.router,
    ):
        app.include_router(router)

    @app.exception_handler(NotSignedIn)
    async def sign_in_first(request: Request, _error: Exception) -> Response:
        if is_htmx(request):
            return redirect(request, "/login")
        where = request.url.path if request.method == "GET" else "/"
        return RedirectResponse(f"/login?next={quote(where)}", status_code=303)


def page_error(request: Request, error: ApiError) -> Response | None:
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
