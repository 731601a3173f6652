# ruff: noqa: TC001, TC003 - FastAPI reads the signatures at run time
"""What messages brought: a campaign, a program's added up, and what holding a share back would show."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import Path, Query, Request
from fastapi.responses import Response

from passbell.web.api import strict
from passbell.web.api.campaigns import csv_line, wants_csv
from passbell.web.api.models import PlanOrder, Result, Text
from passbell.web.api.scope import find_program, required_program
from passbell.web.calls.campaigns import CampaignResult, Plan, ProgramResult
from passbell.web.context import Web
from passbell.web.once import result

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["router"]

router = strict.router("/api", "Results")

_CSV: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get(
    "/campaigns/{id}/results",
    response_model=Result[CampaignResult],
    summary="What a campaign brought",
    responses=_CSV,
)
async def campaign_results(
    request: Request, web: Web, campaign_id: Annotated[UUID, Path(alias="id")]
) -> Response:
    """Return the verdict, the sentence and the numbers behind it; counted once, when the window has closed."""
    return _answer(request, await web.calls.results(campaign_id))


@router.get(
    "/programs/{id}/results",
    response_model=Result[ProgramResult],
    summary="What a program's campaigns brought, added up",
    responses=_CSV,
)
async def program_results(
    request: Request,
    web: Web,
    program_id: Annotated[Text, Path(alias="id", max_length=200)],
    since: Annotated[date | None, Query(description="The first date, in the program's zone")] = None,
    until: Annotated[date | None, Query(description="The last date, inclusive")] = None,
) -> Response:
    """Return the campaigns whose first message was between two dates, added up."""
    program = await web.calls.find_program(program_id)
    return _answer(request, await web.calls.results_total(program, since, until))


@router.post("/plan", response_model=Result[Plan], summary="What holding a share back would show")
async def plan(body: PlanOrder, web: Web) -> Response:
    """Change nothing: how many would be sent to and held back, and the smallest effect that this would show."""
    required_program(body.program_id)
    program = await find_program(web, body)
    found = await web.calls.plan(program, body.audience, body.holdout_percent)
    return result(found)


def _answer(request: Request, found: BaseModel) -> Response:
    if not wants_csv(request):
        return result(found)
    row = found.model_dump(mode="json")
    return Response("\ufeff" + csv_line(row) + csv_line(row.values()), media_type="text/csv; charset=utf-8")
