# ruff: noqa: TC001, PLR0917, PT028 - FastAPI reads the signatures at run time
"""Compose: write, preview, choose, confirm, send."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse

from passbell.errors import CampaignError
from passbell.web.api.strict import PageRoute
from passbell.web.auth import Session
from passbell.web.context import Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import fingerprint, once
from passbell.web.page.draft import Draft, dropped
from passbell.web.page.render import page, redirect
from passbell.web.page.signin import SignedIn, Writing
from passbell.web.uploads import order_list

if TYPE_CHECKING:
    from datetime import datetime

    from passbell.web.calls.campaigns import Order
    from passbell.web.calls.programs import Preview

__all__ = ["router"]


class ComposeRoute(PageRoute):
    """All calls of this page send the one form, each its part of it."""

    page_parts = frozenset({"csrf", "csvFile", "external_id", "member", "upload"})


router = APIRouter(include_in_schema=False, route_class=ComposeRoute)

TYPED_ABOVE: Final = 1000
"""More phones than this, and the number has to be typed."""
PLACEHOLDERS: Final = (
    ("{first_name|there}", "First name"),
    ("{points}", "Points"),
    ("{tier_points}", "Tier points"),
    ("{last_name}", "Last name"),
    ("{program}", "Program"),
)


Fields = Annotated[Draft, Form()]
ListFile = Annotated[UploadFile | None, File(alias="csvFile")]


@router.get("/")
async def compose(
    request: Request,
    web: Web,
    session: SignedIn,
    program: str | None = None,
    draft: uuid.UUID | None = None,
) -> HTMLResponse:
    """Show the form: empty, or with a draft in it."""
    segments = await web.calls.segments()
    kept = await web.calls.draft(draft) if draft else None
    return page(
        request,
        "compose.html",
        session,
        programs=await web.calls.programs(),
        segments=segments,
        form=Draft.of(kept, {s.name for s in segments})
        if kept
        else Draft(program=_uuid(program or ""), audience="all", when="now"),
        kept=kept,
        running=any(daemon.alive for daemon in await web.calls.daemons()),
        placeholders=PLACEHOLDERS,
        screen=None,
        problem=None,
    )


@router.post("/compose/screen")
async def screen(request: Request, web: Web, session: Writing, draft: Fields) -> HTMLResponse:
    """Draw the lock screen of a member of the audience."""
    shown, problem, warnings = None, None, []
    if draft.program is not None and draft.message.strip():
        try:
            target = draft.target if draft.audience else "ALL"  # an automation's form has another audience
            shown = await web.calls.screen(draft.program, draft.message, target, _uuid(draft.member))
            warnings = await web.calls.warnings(draft.program, draft.message)
            if shown is None:
                problem = "No member of this program can be reached."
        except CampaignError as error:
            problem = str(error)
    return page(request, "_screen.html", session, screen=shown, problem=problem, warnings=warnings)


@router.post("/compose/test")
async def test_send(
    request: Request, web: Web, session: Writing, draft: Fields, external_id: Annotated[str, Form()] = ""
) -> HTMLResponse:
    """Send one real push to one pass."""
    program, message = draft.required()
    if not external_id.strip():
        raise ApiError(400, "MEMBER_REQUIRED", "Enter the member id of the pass that gets the test.")
    campaign = await web.calls.order_test(session.name, program, external_id, message)
    return page(
        request,
        "_tested.html",
        session,
        campaign=campaign,
        member=external_id.strip(),
        waits=(await web.calls.campaign(campaign)).status_detail,
    )


@router.post("/compose/plan")
async def plan(request: Request, web: Web, session: Writing, draft: Fields) -> HTMLResponse:
    """Say what holding a share back would show."""
    sentence, problem = None, None
    if draft.program is not None and draft.audience in {"all", "segment"}:
        percent = draft.held_back
        if percent is None:
            percent = (await web.calls.program_page(draft.program)).holdout_percent
        try:
            sentence = (await web.calls.plan(draft.program, draft.target, percent)).sentence
        except CampaignError as error:
            problem = str(error)
    return page(request, "_plan.html", session, sentence=sentence, problem=problem)


@router.post("/compose/draft")
async def save_draft(
    request: Request,
    web: Web,
    session: Writing,
    draft: Fields,
    csv_file: ListFile = None,
) -> HTMLResponse:
    """Keep the form as a draft; nothing is sent."""
    program, _ = draft.required()
    order = draft.order(await _moment(web, program, draft))
    listed = await _stage(web, session, draft, csv_file, order)
    made = listed or _named("draft", draft.draft)
    if not listed or order.holdout_percent is not None:
        made = await web.calls.save_draft(session.name, made, order)
    return redirect(request, f"/campaigns/{made}")


@router.post("/compose/confirm")
async def confirm(
    request: Request,
    web: Web,
    session: Writing,
    draft: Fields,
    csv_file: ListFile = None,
) -> HTMLResponse:
    """Count, and ask."""
    program, _ = draft.required()
    at = await _moment(web, program, draft)
    await web.calls.require_order(program, draft.target, at)
    upload = await _stage(web, session, draft, csv_file, draft.order(at))
    return await _ask(request, web, session, draft, await _count(web, draft, program, upload), upload, at)


async def _stage(
    web: Context, session: Session, draft: Draft, csv_file: UploadFile | None, order: Order
) -> uuid.UUID | None:
    """Put the uploaded list under a draft of its own; None for another audience, which takes no file."""
    uploaded = csv_file is not None and bool(csv_file.filename)
    if draft.audience != "csv":
        if uploaded:
            raise dropped("csvFile", "audience", "csv")
        return None
    if csv_file is None or not uploaded:
        raise ApiError(400, "CSV_REQUIRED", "Choose a CSV file with a column member_id.")
    return await order_list(
        web.settings.database_dsn,
        csv_file,
        order,
        owner=session.name,
        key=None,
        submit=False,
        encoding=draft.encoding,
    )


async def _count(web: Context, draft: Draft, program: uuid.UUID, upload: uuid.UUID | None) -> Preview:
    """Count the audience: of the list that was uploaded or belongs to the draft, or of the target."""
    kept = _named("draft", draft.draft)
    if upload is None and kept is not None and (row := await web.calls.draft(kept)).is_list:
        if draft.audience != "kept" or row.program_id != program:
            raise ApiError(
                400,
                "AUDIENCE_REQUIRED",
                "The audience of this draft is its list: compose a new push for others.",
            )
        upload = kept
    return await (web.calls.preview_list(upload) if upload else web.calls.preview(program, draft.target))


async def _ask(
    request: Request,
    web: Context,
    session: Session,
    draft: Draft,
    count: Preview,
    upload: uuid.UUID | None,
    at: datetime | None,
    problem: str | None = None,
) -> HTMLResponse:
    program, message = draft.required()
    shown = await web.calls.screen(program, message, draft.target, _uuid(draft.member))
    about = await web.calls.program_page(program)
    outlook = await web.calls.outlook(program, at)
    listed = getattr(count, "listed", None)
    unread = listed == 0 and upload is None
    percent = draft.held_back
    held = (count.would_hold or 0) if percent is None else round(count.reachable * percent / 100)
    return page(
        request,
        "_confirm.html",
        session,
        draft=draft,
        count=count,
        upload=upload,
        at=at,
        about=about,
        listed=listed,
        unread=unread,
        percent=about.holdout_percent if percent is None else percent,
        held=held,
        outlook=outlook,
        starts=await web.calls.when(program, outlook.starts_at),
        shown=shown,
        warnings=await web.calls.warnings(program, message),
        problem=problem,
        typed_above=TYPED_ABOVE,
        key=uuid.uuid4().hex,
    )


@router.post("/compose/send")
async def send(
    request: Request,
    web: Web,
    session: Writing,
    draft: Fields,
    expected: Annotated[int, Form(ge=0)],
    key: Annotated[str, Form(pattern="^[0-9a-f]{32}$")],
    typed: Annotated[str, Form(max_length=20)] = "",
    upload: Annotated[str, Form(max_length=40)] = "",
) -> HTMLResponse:
    """Send what was confirmed, to as many phones as were shown; ask again if the audience has moved."""
    program, _ = draft.required()
    draft_list, kept = _named("upload", upload), _named("draft", draft.draft)
    at = await _moment(web, program, draft)
    order = draft.order(at, expected)

    async def again(problem: str) -> HTMLResponse:
        count = await _count(web, draft, program, draft_list)
        return await _ask(request, web, session, draft, count, draft_list, at, problem)

    if expected > TYPED_ABOVE and "".join(c for c in typed if c.isdigit()) != str(expected):
        return await again("Type the number of phones to confirm.")

    async def work() -> tuple[int, dict[str, Any]]:
        campaign = draft_list or kept
        if campaign is None:
            campaign = await web.calls.order_push(session.name, key, order)
        else:
            await web.calls.submit_draft(session.name, campaign, order)
        return 202, {"campaignId": str(campaign)}

    try:
        answer = await once(
            web.calls, session.name, key, fingerprint("page", draft.model_dump_json(), upload, expected), work
        )
    except CampaignError as error:
        if error.sqlstate != "PB409":
            raise
        return await again(str(error))
    return redirect(request, f"/campaigns/{orjson.loads(answer.body)['campaignId']}")


@router.post("/compose/discard")
async def discard(
    web: Web, session: Writing, upload: Annotated[str, Form(max_length=40)] = ""
) -> HTMLResponse:
    """Drop the draft of a list that was not confirmed."""
    _ = session
    if (campaign := _uuid(upload)) is not None:
        await web.calls.discard_draft(campaign)
    return HTMLResponse("")


async def _moment(web: Context, program: uuid.UUID, draft: Draft) -> datetime | None:
    if not draft.later:
        return None
    at = await web.calls.moment(program, draft.at)
    if at is None:
        raise ApiError(400, "TIME_REQUIRED", "Choose when to send.")
    return at


def _named(field: str, text: str) -> uuid.UUID | None:
    """Read the id of a draft, None if the form names none."""
    if not text:
        return None
    if (found := _uuid(text)) is None:
        raise ApiError(422, "INVALID_REQUEST", f"{field} is not the id of a draft.")
    return found


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
