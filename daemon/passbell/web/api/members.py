# ruff: noqa: TC001, TC002, TC003, PLR0917 - FastAPI reads the signatures at run time
"""Members: import by upload."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from fastapi.responses import Response

from passbell.web.api.models import Result, Text
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, fingerprint, json_answer, once
from passbell.web.uploads import digest, import_members

__all__ = ["router"]

router = APIRouter(prefix="/api/members", tags=["Members"])

MAX_REPORTED: Final = 1000
_OPEN: Final = frozenset({"PENDING", "PROCESSING"})


@router.post(
    "/import",
    response_model=Result,
    summary="Import members",
    responses={202: {"model": Result, "description": "Taken; the daemons go on with it"}},
)
async def import_csv(
    web: Web,
    caller: Caller,
    program_id: Annotated[Text | None, Form(alias="programId", max_length=200)] = None,
    csv_file: Annotated[UploadFile | None, File(alias="csvFile", description="A CSV of members")] = None,
    dry_run: Annotated[bool, Form(alias="dryRun", description="Report, and change nothing")] = False,  # noqa: FBT002
    encoding: Annotated[
        str | None, Form(description="Of the file, where it was guessed wrong: cp1250, Shift_JIS …")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create and update members and link their passes, from a CSV.

    200 with the report when it is done within some seconds, else 202: ask `GET /api/members/import/{id}`.
    """
    if not (program_id and program_id.strip()):
        raise ApiError(400, "PROGRAM_REQUIRED", "Program ID required")
    if csv_file is None or not (csv_file.size or csv_file.filename):
        raise ApiError(400, "CSV_REQUIRED", "A CSV file of members is required (csvFile).")
    name, upload = program_id, csv_file

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(name)
        made = await import_members(
            web.settings.database_dsn,
            upload,
            owner=caller,
            program=program,
            dry_run=dry_run,
            encoding=encoding,
        )
        report = await _report(web, made)
        return (202 if report["status"] in _OPEN else 200), {"success": True, "result": report}

    same = fingerprint("import", name, dry_run, encoding, await digest(upload))
    return await once(web.calls, caller, idempotency_key, same, work)


@router.get("/import/{id}", response_model=Result, summary="One import with its row report")
async def one_import(
    web: Web,
    import_id: Annotated[UUID, Path(alias="id")],
    after: Annotated[int, Query(ge=0, le=2_000_000_000, description="Rows after this number")] = 0,
) -> Response:
    """Return totals, and the rows with a problem."""
    return json_answer({"success": True, "result": await _report(web, import_id, after)})


async def _report(web: Context, import_id: UUID, after: int = 0) -> dict[str, Any]:
    card = await web.calls.member_import(import_id)
    rows = await web.calls.import_report(import_id, after, MAX_REPORTED)
    shown = [row.model_dump(mode="json", by_alias=True) for row in rows]
    return card.model_dump(mode="json", by_alias=True) | {
        "rows": shown,
        "moreRows": len(rows) == MAX_REPORTED,
    }
