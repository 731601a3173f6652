# ruff: noqa: TC001, TC002, TC003, PLR0917 - FastAPI reads the signatures at run time
"""Orders: broadcasts, birthdays, lists."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import Response

from passbell.web.api.models import BirthdayOrder, Broadcast, Ordered, Result, Targeted, Text
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, fingerprint, json_answer, once
from passbell.web.uploads import digest, order_list

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["given", "router"]

router = APIRouter(prefix="/api", tags=["Orders"])

MAX_WAIT: Final = 60.0
_LOOK_SECONDS: Final = 0.2
_ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "PAUSED"})

Wait = Annotated[
    float | None,
    Query(
        ge=0, le=MAX_WAIT, description="Answer after the campaign has ended, at most so many seconds later"
    ),
]
FormText = Annotated[Text | None, Form(max_length=20_000)]
FormId = Annotated[
    Text | None,
    Form(alias="programId", max_length=200, description="The program's UUID or PassKit program id"),
]
ListFile = Annotated[
    UploadFile | None,
    File(alias="csvFile", description="A CSV with a column member_id, external_id or pass_id"),
]


def given(program: str | None, message: str | None) -> tuple[str, str]:
    """Insist on a program and a message, in the words that forms are used to."""
    if not (program and program.strip() and message and message.strip()):
        raise ApiError(400, "MESSAGE_AND_PROGRAM_REQUIRED", "Message and Program ID required")
    return program, message


async def moment(web: Context, program: UUID, at: datetime | None) -> datetime | None:
    """Read a time without an offset by the program's own clock."""
    if at is None or at.tzinfo is not None:
        return at
    return await web.calls.moment(program, at.isoformat())


@router.post("/notify/broadcast", status_code=202, response_model=Result, summary="Send a message")
async def broadcast(
    body: Broadcast, web: Web, caller: Caller, wait: Wait = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a campaign for everybody in the program, or for a segment. The daemon sends it.

    `result` is `{campaignId, total, status}`; with `wait` also `sent`, `failed`, `skipped`.
    """
    name, message = given(body.program_id, body.message)

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(name)
        return await send(web, caller, idempotency_key, program, message, body, wait)

    same = fingerprint("broadcast", body.model_dump_json())
    return await once(web.calls, caller, idempotency_key, same, work)


async def send(
    web: Context,
    caller: str,
    key: str | None,
    program: UUID,
    message: str,
    order: Broadcast,
    wait: float | None,
) -> tuple[int, dict[str, Any]]:
    """Count, order, and wait if asked to."""
    target = order.segment or "ALL"
    total = (await web.calls.preview(program, target)).reachable
    if order.expected is not None and total != order.expected:
        raise moved(total, order.expected)
    at = await moment(web, program, order.scheduled_at)
    # The database compares once more, in the transaction that creates the campaign.
    campaign = await web.calls.order_push(
        caller, key, program, message, target, order.name, at, order.expected
    )
    return 202, {"success": True, "result": await _ordered(web, campaign, total, wait)}


def moved(now: int, before: int) -> ApiError:
    """The audience is not the one that was shown."""
    return ApiError(
        409,
        "AUDIENCE_MOVED",
        f"The audience has changed: {now:,} phones now, {before:,} when you looked.",
        details={"reachable": now, "expected": before},
    )


async def _ordered(web: Context, campaign: UUID, total: int, wait: float | None) -> dict[str, Any]:
    card = await web.calls.campaign(campaign)
    if wait is None:
        return {"campaignId": campaign, "total": card.total or total, "status": card.status}
    deadline = time.monotonic() + wait
    while card.status not in _ENDED and time.monotonic() < deadline:
        await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
        card = await web.calls.campaign(campaign)
    return Ordered(
        campaign_id=campaign,
        total=card.total if card.started_at else total,
        status=card.status,
        sent=card.sent,
        failed=card.failed,
        skipped=card.skipped,
    ).model_dump(mode="json", by_alias=True)


@router.post("/notify/broadcast/test", response_model=Result, summary="Rehearse a broadcast")
async def rehearse(body: Broadcast, web: Web) -> Response:
    """Send nothing: the honest count and five members with the text that each would read."""
    name, message = given(body.program_id, body.message)
    program = await web.calls.find_program(name)
    target = body.segment or "ALL"
    samples = await web.calls.samples(program, message, target)
    count = await web.calls.preview(program, target)
    shown = [sample.model_dump(mode="json", by_alias=True) for sample in samples]
    result = count.model_dump(mode="json", by_alias=True) | {
        "total": count.reachable,
        "samples": shown,
        "warnings": await web.calls.warnings(message),
    }
    return json_answer({"success": True, "dryRun": True, "result": result})


@router.post("/notify/birthday-run", response_model=Result, summary="Give today's birthday gifts")
async def birthday_run(
    web: Web, caller: Caller, body: BirthdayOrder | None = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give gifts now, whatever the hour, in one program or in all whose bot is on. Nobody gets a gift twice."""
    order = body or BirthdayOrder()

    async def work() -> tuple[int, dict[str, Any]]:
        program = None if order.program_id is None else await web.calls.find_program(order.program_id)
        rows = (
            await web.calls.birthdays(program, order.on)
            if order.dry_run
            else await web.calls.run_birthdays(program, order.on)
        )
        return 200, {"success": True, "result": [row.model_dump(mode="json", by_alias=True) for row in rows]}

    same = fingerprint("birthday-run", order.model_dump_json())
    return await once(web.calls, caller, idempotency_key, same, work)


@router.post(
    "/notifications/blast",
    status_code=202,
    response_model=Result | Targeted,
    summary="Send to all, or a list",
)
async def blast(
    web: Web,
    caller: Caller,
    program_id: FormId = None,
    message: FormText = None,
    csv_file: ListFile = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send to all active members; with `csvFile` (a column member_id) to those on the list."""
    name, text = given(program_id, message)
    if csv_file is not None and (csv_file.size or csv_file.filename):
        return await _to_list(web, caller, name, text, csv_file, idempotency_key)

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(name)
        return await send(web, caller, idempotency_key, program, text, Broadcast(), None)

    return await once(web.calls, caller, idempotency_key, fingerprint("blast", name, text), work)


@router.post("/notifications/targeted", status_code=202, response_model=Targeted, summary="Send to a list")
async def targeted(
    web: Web,
    caller: Caller,
    program_id: FormId = None,
    message: FormText = None,
    csv_file: ListFile = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send to the members on an uploaded list: a CSV with a column member_id, external_id, pass_id or id."""
    name, text = given(program_id, message)
    if csv_file is None:
        raise ApiError(400, "CSV_REQUIRED", "A CSV file with a column member_id is required (csvFile).")
    return await _to_list(web, caller, name, text, csv_file, idempotency_key)


async def _to_list(
    web: Context, caller: str, name: str, message: str, upload: UploadFile, key: str | None
) -> Response:
    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(name)
        campaign = await order_list(
            web.settings.database_dsn,
            upload,
            owner=caller,
            key=key,
            program=program,
            message=message,
            name=None,
            scheduled_at=None,
            submit=True,
        )
        count = await web.calls.preview_list(campaign)
        answer = Targeted(targeted=count.reachable, unmatched=count.unmatched, campaign_id=campaign)
        return 202, answer.model_dump(mode="json", by_alias=True)

    same = fingerprint("list", name, message, await digest(upload))
    return await once(web.calls, caller, key, same, work)
