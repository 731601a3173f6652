# ruff: noqa: TC001, TC002, TC003, PLR0917 - FastAPI reads the signatures at run time
"""Member imports: upload, the last ones, and what became of each row."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import HTMLResponse

from passbell.web.api.strict import PageRoute, parts_of
from passbell.web.context import Web
from passbell.web.errors import ApiError
from passbell.web.page.history import STOP_POLLING
from passbell.web.page.render import page, redirect
from passbell.web.page.signin import SignedIn, Writing
from passbell.web.uploads import import_members

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

OPEN: Final = ("PENDING", "PROCESSING")
ROWS: Final = 100
REHEARSE: Final = {
    "yes": True,
    "on": True,
    "true": True,
    "1": True,
    "no": False,
    "off": False,
    "false": False,
    "0": False,
}


@router.get("/imports")
async def imports(request: Request, web: Web, session: SignedIn) -> HTMLResponse:
    """Show the form and the last imports."""
    return page(
        request,
        "imports.html",
        session,
        programs=await web.calls.programs(),
        cards=await web.calls.imports(),
    )


@router.post("/imports")
async def upload(
    request: Request,
    web: Web,
    session: Writing,
    program: Annotated[UUID | None, Form()] = None,
    csv_file: Annotated[UploadFile | None, File(alias="csvFile")] = None,
    rehearse: Annotated[str, Form(alias="dryRun")] = "",
    encoding: Annotated[str, Form(max_length=40)] = "",
) -> HTMLResponse:
    """Take a file; the daemons go on with a long one."""
    if program is None:
        raise ApiError(400, "PROGRAM_REQUIRED", "Choose a program first.")
    if csv_file is None or not csv_file.filename:
        raise ApiError(400, "CSV_REQUIRED", "Choose a CSV file of members.")
    dry_run = REHEARSE.get(rehearse.strip().lower()) if "dryRun" in await parts_of(request) else False
    if dry_run is None:
        raise ApiError(422, "INVALID_REQUEST", "dryRun is yes or no.")
    made = await import_members(
        web.settings.database_dsn,
        csv_file,
        owner=session.name,
        program=program,
        dry_run=dry_run,
        encoding=encoding,
        seconds=2.0,
    )
    return redirect(request, f"/imports/{made}")


@router.get("/imports/{id}")
async def one(
    request: Request, web: Web, session: SignedIn, import_id: Annotated[UUID, Path(alias="id")]
) -> HTMLResponse:
    """Show one import."""
    card = await web.calls.member_import(import_id)
    rejected = await web.calls.import_rows(import_id, 0, ROWS + 1, rejected=True)
    others = await web.calls.import_rows(import_id, 0, ROWS + 1, rejected=False)
    return page(
        request,
        "import.html",
        session,
        card=card,
        active=card.status in OPEN,
        lists=[("rejected", "Rejected", rejected), ("taken", "Taken, but not every cell", others)],
        size=ROWS,
    )


@router.get("/imports/{id}/live")
async def live(
    request: Request, web: Web, session: SignedIn, import_id: Annotated[UUID, Path(alias="id")]
) -> HTMLResponse:
    """The same while it runs; the last answer reloads the page for the report."""
    card = await web.calls.member_import(import_id)
    active = card.status in OPEN
    answer = page(request, "_import.html", session, code=200 if active else STOP_POLLING, card=card)
    if not active:
        answer.headers["HX-Refresh"] = "true"
    return answer


@router.get("/imports/{id}/rows")
async def rows(
    request: Request,
    web: Web,
    session: SignedIn,
    import_id: Annotated[UUID, Path(alias="id")],
    after: Annotated[int, Query(ge=0, le=2_000_000_000)] = 0,
    which: Annotated[Literal["rejected", "taken"], Query()] = "rejected",
) -> HTMLResponse:
    """More rows of the report."""
    found = await web.calls.import_rows(import_id, after, ROWS + 1, rejected=which == "rejected")
    return page(
        request,
        "_import_rows.html",
        session,
        card=await web.calls.member_import(import_id),
        rows=found,
        which=which,
        size=ROWS,
    )


@router.post("/imports/{id}/cancel")
async def cancel(
    request: Request, web: Web, session: Writing, import_id: Annotated[UUID, Path(alias="id")]
) -> HTMLResponse:
    """End it; what was applied stays."""
    await web.calls.cancel_import(session.name, import_id)
    return redirect(request, f"/imports/{import_id}")
