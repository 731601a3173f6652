# ruff: noqa: TC001, TC002, PLR0917, FAST003 - FastAPI reads the signatures at run time
"""History, and a campaign's own page: live numbers, a chart, the four verbs, the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from passbell.web.api.campaigns import cursor, ledger_csv, parse_cursor
from passbell.web.api.strict import PageRoute
from passbell.web.calls.page import Moment, Slot
from passbell.web.context import Web
from passbell.web.errors import ApiError
from passbell.web.page.render import page
from passbell.web.page.signin import SignedIn, Writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["Bar", "Chart", "draw", "router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PAGE: Final = 25
LEDGER_PAGE: Final = 50
STOP_POLLING: Final = 286  # htmx's own status for "do not ask again"
VERDICTS: Final = {
    "more": "brought guests",
    "fewer": "fewer came",
    "unclear": "unclear",
    "too_small": "too small",
    "no_holdout": "not measured",
    "open": "open",
    "untrusted": "not shown",
}
"""One word or two for the list; the sentence is on the campaign's page."""
STATES: Final = ("DRAFT", "PENDING", "PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")
WIDTH, HEIGHT = 720.0, 120.0
"""Of the chart; the template draws it as SVG."""

Id = Annotated[UUID, Path(alias="id")]


class Bar(NamedTuple):
    """One slot, in the chart's units; failures stand on top of what was sent."""

    x: float
    width: float
    sent_y: float
    sent_height: float
    failed_y: float
    failed_height: float


class Chart(NamedTuple):
    """Bars, the average rate, and the ends of the time axis.

    A chunk is reported as a whole, so a single bar is no rate: with chunks of 50 in slots of 1.4 s a limit of 50 a
    second would show a peak of 73. The average from the start to the last report is the rate that can be told.
    """

    bars: list[Bar]
    average_per_second: float
    first: datetime
    seconds: float


def draw(slots: Sequence[Slot], average_per_second: float | None) -> Chart | None:
    """Return the chart, None before anything was sent."""
    if not slots:
        return None
    peak = max(slot.sent + slot.failed for slot in slots) or 1
    step = WIDTH / len(slots)
    bars = []
    for slot in slots:
        sent, failed = (count / peak * HEIGHT for count in (slot.sent, slot.failed))
        bars.append(
            Bar(
                round(slot.slot * step, 2),
                round(step * 0.78, 2),
                round(HEIGHT - sent, 2),
                round(sent, 2),
                round(HEIGHT - sent - failed, 2),
                round(failed, 2),
            )
        )
    return Chart(bars, average_per_second or 0.0, slots[0].starts_at, slots[0].seconds * len(slots))


def _chart(whole: Moment | None) -> Chart | None:
    return draw(whole.slots, whole.average_per_second) if whole else None


@router.get("/history")
async def history(
    request: Request,
    web: Web,
    session: SignedIn,
    program: Annotated[str, Query(max_length=100)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> HTMLResponse:
    """Show one page of campaigns, newest first."""
    wanted = status.upper() if status.upper() in STATES else None
    chosen = await web.calls.find_program(program) if program else None
    cards = await web.calls.campaigns(chosen, parse_cursor(after), PAGE + 1, wanted)
    more, cards = len(cards) > PAGE, cards[:PAGE]
    following = cursor(cards[-1]) if more else None
    return page(
        request,
        "history.html",
        session,
        cards=cards,
        programs=await web.calls.programs(),
        states=STATES,
        program=program,
        status=wanted or "",
        following=following,
        first_page=after is None,
        watched=[card for card in cards if card.active],
        verdicts=await web.calls.verdicts([card.campaign_id for card in cards]),
        words=VERDICTS,
    )


@router.get("/live-campaigns")
async def live(
    request: Request,
    web: Web,
    session: SignedIn,
    watch: Annotated[list[str] | None, Query(max_length=200)] = None,
) -> HTMLResponse:
    """Return what moved, as parts that replace themselves. `watch` is `id:STATUS` as the page shows it now."""
    shown = {}
    for entry in watch or []:
        text, _, status = entry.partition(":")
        try:
            shown[UUID(text)] = status
        except ValueError:
            raise ApiError(422, "INVALID_REQUEST", "watch: must be a campaign's id and its status.") from None
    whole = None
    if _on_campaign_page(request) and len(shown) == 1:
        whole = await web.calls.moment_of(next(iter(shown)))
        cards = [whole.card]
    else:
        cards = await web.calls.cards(list(shown))
    moved = [card for card in cards if card.status != shown[card.campaign_id]]
    active = [card for card in cards if card.active]
    ended = [card for card in moved if not card.active]
    answer = page(
        request,
        "_live.html",
        session,
        code=200 if active else STOP_POLLING,
        cards=cards,
        moved=moved,
        watched=active,
        whole=whole,
        chart=_chart(whole),
    )
    if ended:
        answer.headers["HX-Trigger"] = "campaign-ended"
    return answer


def _on_campaign_page(request: Request) -> bool:
    """Whether the browser shows one campaign, with all its counts."""
    return "/campaigns/" in request.headers.get("hx-current-url", "")


@router.post("/campaigns/{id}/{verb}")
async def act(
    request: Request,
    web: Web,
    session: Writing,
    campaign_id: Id,
    verb: Literal["pause", "resume", "cancel", "retry-failed"],
) -> HTMLResponse:
    """Pause, resume, cancel, retry."""
    card = await web.calls.verb(session.name, verb, campaign_id)
    whole = await web.calls.moment_of(campaign_id) if _on_campaign_page(request) else None
    if whole:
        card = whole.card
    return page(
        request,
        "_live.html",
        session,
        cards=[card],
        moved=[card],
        watched=None,
        whole=whole,
        chart=_chart(whole),
    )


@router.get("/campaigns/{id}")
async def campaign(request: Request, web: Web, session: SignedIn, campaign_id: Id) -> HTMLResponse:
    """Show one campaign."""
    whole = await web.calls.moment_of(campaign_id)
    card = whole.card
    return page(
        request,
        "campaign.html",
        session,
        card=card,
        whole=whole,
        chart=_chart(whole),
        watched=[card] if card.active else [],
    )


@router.get("/campaigns/{id}/results")
async def results(request: Request, web: Web, session: SignedIn, campaign_id: Id) -> HTMLResponse:
    """Show what the campaign brought; counted when its window has closed."""
    return page(request, "_brought.html", session, brought=await web.calls.results(campaign_id))


@router.get("/campaigns/{id}/deliveries")
async def deliveries(
    request: Request,
    web: Web,
    session: SignedIn,
    campaign_id: Id,
    outcome: Annotated[str, Query(max_length=40)] = "",
    after: UUID | None = None,
) -> HTMLResponse:
    """Show a page of the ledger; `outcome` is an outcome or `outcome/reason`."""
    wanted, _, reason = outcome.partition("/")
    card = await web.calls.campaign(campaign_id)
    rows = await web.calls.deliveries(campaign_id, after, LEDGER_PAGE + 1, wanted or None, reason or None)
    more, rows = len(rows) > LEDGER_PAGE, rows[:LEDGER_PAGE]
    return page(
        request,
        "_deliveries.html",
        session,
        campaign_id=campaign_id,
        rows=rows,
        outcome=outcome,
        active=card.active,
        following=rows[-1].pass_id if more else None,
        continued=after is not None,
    )


@router.get("/campaigns/{id}/deliveries.csv")
async def download(
    web: Web, session: SignedIn, campaign_id: Id, outcome: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    """Download the ledger."""
    _ = session
    await web.calls.campaign(campaign_id)
    wanted, _, reason = outcome.partition("/")
    return ledger_csv(web, campaign_id, wanted or None, reason or None)
