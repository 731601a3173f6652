# ruff: noqa: TC001, TC002, PLR0917 - FastAPI reads the signatures at run time
"""The other addresses of the platform's own service, answered as our nearest call answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError

from passbell.web.api import strict
from passbell.web.api.campaigns import Status, page_of_campaigns
from passbell.web.api.models import (
    BirthdayOrder,
    Counted,
    Ordered,
    PlatformIds,
    PlatformListOrder,
    PreviewOrder,
    Result,
    Scope,
    Targeted,
    Text,
)
from passbell.web.api.notify import broadcast, to_list
from passbell.web.api.programs import counted
from passbell.web.api.scope import MULTIPART, named_program
from passbell.web.calls.campaigns import CampaignCard
from passbell.web.calls.programs import Segment
from passbell.web.calls.timed import Birthday
from passbell.web.context import Caller, Web
from passbell.web.errors import ApiError
from passbell.web.once import IdempotencyKey, result

__all__ = ["router"]

router = strict.router("/api/notify", "Of the platform's own service")

ProgramId = Annotated[Text | None, Query(alias="programId", max_length=200)]
TenantId = Annotated[Text | None, Query(alias="tenantId", max_length=200)]
Protocol = Annotated[Text | None, Query(max_length=40)]


@router.post(
    "/broadcast/csv", status_code=202, response_model=Targeted | Result[Ordered], summary="Send to a list"
)
async def broadcast_csv(
    request: Request,
    form: Annotated[PlatformListOrder, Form(media_type=MULTIPART)],
    web: Web,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """As `POST /api/notifications/targeted`; JSON with `memberIds` as `POST /api/notify/broadcast`."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "application/json":
        await strict.check_json(request, kind)
        try:
            order = PlatformIds.model_validate(await request.json())
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        return await broadcast(order, web, caller, None, idempotency_key)
    return await to_list(web, caller, form, idempotency_key)


@router.post("/segment/preview", response_model=Result[Counted], summary="Count an audience")
async def segment_preview(body: PreviewOrder, web: Web) -> Response:
    """As `POST /api/preview`."""
    return await counted(web, body)


@router.get("/segments", response_model=Result[list[Segment]], summary="List named audiences")
async def segments(
    web: Web, program_id: ProgramId = None, tenant_id: TenantId = None, protocol: Protocol = None
) -> Response:
    """As `GET /api/segments`: the audiences are the same for all programs."""
    if program_id is not None:
        await named_program(web, Scope(program_id=program_id, tenant_id=tenant_id, protocol=protocol))
    return result(await web.calls.segments())


@router.get("/logs", response_model=Result[list[CampaignCard]], summary="List campaigns, newest first")
async def logs(
    web: Web,
    program_id: ProgramId = None,
    tenant_id: TenantId = None,
    protocol: Protocol = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Text | None, Query(max_length=100, description="`next` of the page before")] = None,
) -> Response:
    """As `GET /api/campaigns`."""
    await named_program(web, Scope(program_id=program_id, tenant_id=tenant_id, protocol=protocol))
    return await page_of_campaigns(web, program_id, status, limit, after)


@router.post("/birthday-bot/test", response_model=Result[list[Birthday]], summary="List whose birthday it is")
async def birthday_test(web: Web, body: BirthdayOrder | None = None) -> Response:
    """As `POST /api/notify/birthday-run` with `dryRun`: lists, and gives nothing."""
    order = body or BirthdayOrder()
    if "dry_run" in order.model_fields_set and not order.dry_run:
        raise ApiError(
            422, "INVALID_REQUEST", "dryRun: a test gives nothing; POST /api/notify/birthday-run does."
        )
    found = await web.calls.birthdays(await named_program(web, order), order.on)
    return result(found)
