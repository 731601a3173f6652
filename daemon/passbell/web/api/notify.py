# ruff: noqa: TC001, TC002, TC003, PLR0917 - FastAPI reads the signatures at run time
"""Orders: broadcasts, birthdays, lists."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import Form, Query
from fastapi.responses import Response

from passbell.errors import CampaignError
from passbell.web.api import strict
from passbell.web.api.models import (
    BirthdayOrder,
    Broadcast,
    ListOrder,
    Ordered,
    PlatformListOrder,
    Rehearsed,
    Result,
    Targeted,
    TargetedOrder,
)
from passbell.web.api.scope import MULTIPART, find_program, given, moment, named_program
from passbell.web.calls.campaigns import Order
from passbell.web.calls.timed import Birthday, GivenBirthdays
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, fingerprint, once, result
from passbell.web.uploads import digest, order_list

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "broadcast",
    "router",
    "to_list",
]

router = strict.router("/api", "Orders")

MAX_WAIT: Final = 60.0
_LOOK_SECONDS: Final = 0.2
_ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "PAUSED"})

Wait = Annotated[
    float | None,
    Query(
        ge=0, le=MAX_WAIT, description="Answer after the campaign has ended, at most so many seconds later"
    ),
]


@router.post("/notify/broadcast", status_code=202, response_model=Result[Ordered], summary="Send a message")
async def broadcast(
    body: Broadcast, web: Web, caller: Caller, wait: Wait = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a campaign for all members of the program, or for a segment. The daemon sends it.

    `result` is `{campaignId, total, status}`; with `wait` also `sent`, `failed`, `skipped`.
    """
    _, message = given(body.program_id, body.message)

    async def work() -> tuple[int, dict[str, Any]]:
        program = await find_program(web, body)
        return await send(web, caller, idempotency_key, program, message, body, wait)

    same = fingerprint("broadcast", body.model_dump_json(exclude_none=True))
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
    target = order.audience
    total = (await web.calls.preview(program, target)).reachable
    at = await moment(web, program, order.scheduled_at)
    try:
        # Compared with `expected` in the transaction that creates the campaign, and not before: a repeat after a crash
        # finds the campaign, whatever became of the audience since.
        wanted = Order(
            program,
            message,
            target,
            order.title,
            at,
            order.expected,
            order.holdout_percent,
            order.measure_days,
            order.priority,
        )
        campaign = await web.calls.order_push(caller, key, wanted)
    except CampaignError as error:
        if error.sqlstate != "PB409" or order.expected is None:
            raise
        raise moved((await web.calls.preview(program, target)).reachable, order.expected) from error
    made = await _ordered(web, campaign, total, wait) | await held_back(
        web, program, at, waits=wait is not None
    )
    return 202, {"success": True, "result": made}


async def held_back(web: Context, program: UUID, at: datetime | None, *, waits: bool) -> dict[str, Any]:
    """Say what an order waits for, and when it begins; empty if it begins at its time.

    Quiet hours are told to every caller. Other reasons, such as that no daemon runs, only if the caller `waits`.
    """
    outlook = await web.calls.outlook(program, at)
    if outlook.notice is None or not (waits or "Quiet hours" in outlook.notice):
        return {}
    told = {"notice": outlook.notice}
    if "Quiet hours" in outlook.notice:
        told["startsAt"] = outlook.starts_at.isoformat()
    return told


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
        return {"campaignId": str(campaign), "total": card.total or total, "status": card.status}
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
    ).model_dump(mode="json", by_alias=True, exclude_none=True)


@router.post("/notify/broadcast/test", response_model=Result[Rehearsed], summary="Rehearse a broadcast")
async def rehearse(body: Broadcast, web: Web) -> Response:
    """Send nothing: return the count, and five members with the text that each would read.

    Refuses what the order itself would be refused for. `expected` is not compared, because this call says the number.
    """
    _, message = given(body.program_id, body.message)
    program = await find_program(web, body)
    target = body.audience
    at = await moment(web, program, body.scheduled_at)
    await web.calls.require_order(program, target, at)
    outlook = await web.calls.outlook(program, at)
    samples = await web.calls.samples(program, message, target)
    count = await web.calls.preview(program, target)
    if body.holdout_percent is not None:
        count.would_hold = round(count.reachable * body.holdout_percent / 100)
    found = Rehearsed(
        **count.model_dump(),
        **outlook.model_dump(),
        total=count.reachable,
        samples=samples,
        warnings=await web.calls.warnings(program, message),
    )
    return result(found, dryRun=True)


@router.post(
    "/notify/birthday-run",
    response_model=Result[list[GivenBirthdays] | list[Birthday]],
    summary="Give today's birthday gifts",
)
async def birthday_run(
    web: Web, caller: Caller, body: BirthdayOrder | None = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give gifts now, whatever the hour, in one program or in all whose bot is on. No member gets a gift twice."""
    order = body or BirthdayOrder()

    async def work() -> tuple[int, dict[str, Any]]:
        program = await named_program(web, order)
        if order.dry_run:
            return 200, _rows(await web.calls.birthdays(program, order.on))
        if program is not None:
            await web.calls.require_order(program, None, None)
        return 200, _rows(await web.calls.run_birthdays(program, order.on))

    same = fingerprint("birthday-run", order.model_dump_json(exclude_none=True))
    return await once(web.calls, caller, idempotency_key, same, work)


def _rows(found: list[GivenBirthdays] | list[Birthday]) -> dict[str, Any]:
    return {"success": True, "result": [row.model_dump(mode="json", by_alias=True) for row in found]}


@router.post(
    "/notifications/blast",
    status_code=202,
    response_model=Result[Ordered] | Targeted,
    summary="Send to all, or a list",
)
async def blast(
    form: Annotated[ListOrder, Form(media_type=MULTIPART)],
    web: Web,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send to all active members; with `csvFile` (a column member_id) to those on the list."""
    name, text = given(form.program_id, form.message)
    if form.csv_file is not None:
        return await to_list(web, caller, form, idempotency_key)
    if form.encoding is not None:  # without its list the order would reach all members
        raise ApiError(400, "CSV_REQUIRED", "encoding is that of a list, and there is no csvFile.")

    async def work() -> tuple[int, dict[str, Any]]:
        program = await web.calls.find_program(name)
        return await send(web, caller, idempotency_key, program, text, Broadcast(), None)

    return await once(web.calls, caller, idempotency_key, fingerprint("blast", name, text), work)


@router.post("/notifications/targeted", status_code=202, response_model=Targeted, summary="Send to a list")
async def targeted(
    form: Annotated[TargetedOrder, Form(media_type=MULTIPART)],
    web: Web,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send to the members on an uploaded list: a CSV with a column member_id, external_id, pass_id or id."""
    return await to_list(web, caller, form, idempotency_key)


async def to_list(web: Context, caller: str, form: ListOrder, key: str | None) -> Response:
    """Send to those on the uploaded list."""
    name, message = given(form.program_id, form.message)
    if form.csv_file is None:
        raise ApiError(400, "CSV_REQUIRED", "A CSV file with a column member_id is required (csvFile).")
    upload = form.csv_file
    platform = form if isinstance(form, PlatformListOrder) else None

    async def work() -> tuple[int, dict[str, Any]]:
        program = await (web.calls.find_program(name) if platform is None else find_program(web, platform))
        campaign = await order_list(
            web.settings.database_dsn,
            upload,
            Order(program, message, "CSV", None if platform is None else platform.campaign_name),
            owner=caller,
            key=key,
            submit=True,
            encoding=form.encoding,
        )
        count = await web.calls.preview_list(campaign)
        answer = Targeted(targeted=count.reachable, unmatched=count.unmatched, campaign_id=campaign)
        shown = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        return 202, shown | await held_back(web, program, None, waits=False)

    same = fingerprint("list", name, message, form.encoding, await digest(upload))
    return await once(web.calls, caller, key, same, work)
