# ruff: noqa: TC001, PLR0917 - FastAPI reads the signatures at run time
"""Campaigns: the list, one of them, its ledger, and the four verbs."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from passbell.files.csv.cells import neutralise
from passbell.web.api import strict
from passbell.web.api.models import Result, Text
from passbell.web.calls.campaigns import CampaignCard, Delivery, ListReason, Reason
from passbell.web.context import Caller, Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

__all__ = [
    "Status",
    "csv_line",
    "cursor",
    "ledger_csv",
    "page_of_campaigns",
    "parse_cursor",
    "router",
    "wants_csv",
]

router = strict.router("/api/campaigns", "Campaigns")

Outcome = Literal["sent", "failed", "skipped"]
Status = Literal["DRAFT", "PENDING", "PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"]
CSV_COLUMNS = (
    "pass_id",
    "member_id",
    "first_name",
    "last_name",
    "outcome",
    "reason",
    "detail",
    "http_status",
)
_CSV_PAGE = 5000


class CampaignDetail(CampaignCard):
    """A campaign with its outcomes by reason, and the rows of its list that reach no member."""

    reasons: list[Reason]
    list: list[ListReason]


def cursor(card: CampaignCard) -> str:
    """Return the `next` of a list that ends with this campaign: letters, digits, `.`, `-` and `_` alone."""
    return f"{card.created_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}_{card.campaign_id}"


def parse_cursor(text: str | None) -> tuple[datetime, UUID] | None:
    """Read a `next`. Earlier versions wrote the offset as `+00:00`, and `+` arrives as a space."""
    if text is None:
        return None
    moment, _, campaign = text.rpartition("_")
    try:
        at = datetime.fromisoformat(moment.replace(" ", "+"))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)), UUID(campaign)
    except ValueError:
        raise ApiError(400, "BAD_CURSOR", "`after` must be the `next` of the page before.") from None


@router.get("", response_model=Result[list[CampaignCard]], summary="List campaigns, newest first")
async def campaigns(
    web: Web,
    program_id: Annotated[Text | None, Query(alias="programId", max_length=200)] = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Text | None, Query(max_length=100, description="`next` of the page before")] = None,
) -> Response:
    """Return one page; `next` is there if there are more."""
    return await page_of_campaigns(web, program_id, status, limit, after)


async def page_of_campaigns(
    web: Context, program_id: str | None, status: str | None, limit: int, after: str | None
) -> Response:
    """Answer with one page of campaigns."""
    before = parse_cursor(after)
    program = None if program_id is None else await web.calls.find_program(program_id)
    found = await web.calls.campaigns(program, before, limit, status)
    following = cursor(found[-1]) if len(found) == limit else None
    return result(found, next=following)


@router.get(
    "/{id}", response_model=Result[CampaignDetail], summary="One campaign with its progress and reasons"
)
async def campaign(web: Web, campaign_id: Annotated[UUID, Path(alias="id")]) -> Response:
    """Return the campaign; `reasons` counts outcomes, `list` the rows of a list that reach no member."""
    card = await web.calls.campaign(campaign_id)
    detail = card.model_dump(mode="json", by_alias=True) | {
        "reasons": await web.calls.reasons(campaign_id),
        "list": await web.calls.list_reasons(campaign_id),
    }
    return result(detail)


@router.get(
    "/{id}/deliveries",
    response_model=Result[list[Delivery]],
    summary="Who got it, who did not, and why",
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def deliveries(
    request: Request,
    web: Web,
    campaign_id: Annotated[UUID, Path(alias="id")],
    outcome: Outcome | None = None,
    reason: Annotated[Text | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[UUID | None, Query(description="`next` of the page before")] = None,
) -> Response:
    """Return one page as JSON, or all rows as CSV with `Accept: text/csv`."""
    await web.calls.campaign(campaign_id)
    if wants_csv(request):
        return ledger_csv(web, campaign_id, outcome, reason)
    found = await web.calls.deliveries(campaign_id, after, limit, outcome, reason)
    following = str(found[-1].pass_id) if len(found) == limit else None
    return result(found, next=following)


def ledger_csv(web: Context, campaign: UUID, outcome: str | None, reason: str | None) -> Response:
    """Stream the whole ledger as CSV that is safe to open in a spreadsheet."""

    async def pages() -> AsyncIterator[str]:
        yield "\ufeff" + csv_line([*CSV_COLUMNS, "attempts", "at"])
        after: UUID | None = None
        while page := await web.calls.deliveries(campaign, after, _CSV_PAGE, outcome, reason):
            yield "".join(csv_line(_cells(row)) for row in page)
            after = page[-1].pass_id

    return StreamingResponse(
        pages(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="deliveries-{campaign}.csv"'},
    )


def _cells(row: Delivery) -> tuple[object, ...]:
    return (
        row.pass_id,
        row.external_id,
        row.first_name,
        row.last_name,
        row.outcome,
        row.reason,
        row.detail,
        row.http_status,
        row.attempts,
        row.sent_at.isoformat(),
    )


def wants_csv(request: Request) -> bool:
    """Whether the caller asks for CSV."""
    return "text/csv" in request.headers.get("accept", "")


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of CSV that is safe to open in a spreadsheet; the byte order mark of a file is not in it."""
    out = io.StringIO()
    safe = [neutralise(cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(out, lineterminator="\r\n").writerow(safe)
    return out.getvalue()


@router.post("/{id}/pause", response_model=Result[CampaignCard], summary="Pause")
async def pause(web: Web, caller: Caller, campaign_id: Annotated[UUID, Path(alias="id")]) -> Response:
    """Stop within a second; resume goes on with those not reached yet."""
    return result(await web.calls.verb(caller, "pause", campaign_id))


@router.post("/{id}/resume", response_model=Result[CampaignCard], summary="Resume")
async def resume(web: Web, caller: Caller, campaign_id: Annotated[UUID, Path(alias="id")]) -> Response:
    """Go on with a paused campaign."""
    return result(await web.calls.verb(caller, "resume", campaign_id))


@router.post("/{id}/cancel", response_model=Result[CampaignCard], summary="Cancel")
async def cancel(web: Web, caller: Caller, campaign_id: Annotated[UUID, Path(alias="id")]) -> Response:
    """End it for good: members not reached yet are skipped."""
    return result(await web.calls.verb(caller, "cancel", campaign_id))


@router.post("/{id}/retry-failed", response_model=Result[CampaignCard], summary="Retry failures")
async def retry_failed(web: Web, caller: Caller, campaign_id: Annotated[UUID, Path(alias="id")]) -> Response:
    """Try the failed passes of a completed campaign again, and no others."""
    return result(await web.calls.verb(caller, "retry-failed", campaign_id))
