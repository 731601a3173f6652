# ruff: noqa: TC001, TC002, TC003 - FastAPI reads the signatures at run time
"""Members: imported from an uploaded CSV."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Form, Path, Query
from fastapi.responses import Response

from passbell.web.api import strict
from passbell.web.api.models import ImportOrder, Result
from passbell.web.api.scope import MULTIPART, required_program
from passbell.web.calls.members import ImportCard, ImportRow
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, fingerprint, once, result
from passbell.web.uploads import digest, import_members

__all__ = ["router"]

router = strict.router("/api/members", "Members")

MAX_REPORTED: Final = 1000


class ImportReport(ImportCard):
    """An import with the rows that have a problem."""

    rows: list[ImportRow]
    more_rows: bool


_OPEN: Final = frozenset({"PENDING", "PROCESSING"})


@router.post(
    "/import",
    response_model=Result[ImportReport],
    summary="Import members",
    responses={202: {"model": Result[ImportReport], "description": "Taken; the daemons go on with it"}},
)
async def import_csv(
    form: Annotated[ImportOrder, Form(media_type=MULTIPART)],
    web: Web,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create and update members and link their passes, from a CSV.

    200 with the report when it is done within some seconds, else 202: ask `GET /api/members/import/{id}`.
    """
    name = required_program(form.program_id)
    if form.csv_file is None:
        raise ApiError(400, "CSV_REQUIRED", "A CSV file of members is required (csvFile).")
    upload = form.csv_file

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(name)
        made = await import_members(
            web.settings.database_dsn,
            upload,
            owner=caller,
            program=program,
            dry_run=form.dry_run,
            encoding=form.encoding,
        )
        report = await _report(web, made)
        return (202 if report["status"] in _OPEN else 200), {"success": True, "result": report}

    same = fingerprint("import", name, form.dry_run, form.encoding, await digest(upload))
    return await once(web.calls, caller, idempotency_key, same, work)


@router.get("/import/{id}", response_model=Result[ImportReport], summary="One import with its row report")
async def one_import(
    web: Web,
    import_id: Annotated[UUID, Path(alias="id")],
    after: Annotated[int, Query(ge=0, le=2_000_000_000, description="Rows after this number")] = 0,
) -> Response:
    """Return totals, and the rows with a problem."""
    return result(await _report(web, import_id, after))


async def _report(web: Context, import_id: UUID, after: int = 0) -> dict[str, Any]:
    card = await web.calls.member_import(import_id)
    rows = await web.calls.import_report(import_id, after, MAX_REPORTED)
    shown = [row.model_dump(mode="json", by_alias=True) for row in rows]
    return card.model_dump(mode="json", by_alias=True) | {
        "rows": shown,
        "moreRows": len(rows) == MAX_REPORTED,
    }
