# ruff: noqa: TC001, PLR0917, PT028 - FastAPI reads the signatures at run time
"""Compose: write, preview, choose, confirm, send."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from passbell.errors import CampaignError
from passbell.web.api.models import Text
from passbell.web.api.strict import PageRoute
from passbell.web.context import Context, Web
from passbell.web.errors import ApiError
from passbell.web.once import fingerprint, once
from passbell.web.page.render import page, redirect
from passbell.web.page.session import SignedIn, Writing
from passbell.web.uploads import order_list

if TYPE_CHECKING:
    from datetime import datetime

    from passbell.web.rows import Preview

__all__ = ["router"]


class ComposeRoute(PageRoute):
    """All calls of this page send the one form, each its part of it."""

    page_parts = frozenset({"csrf", "csvFile", "external_id", "member"})


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


class Draft(BaseModel):
    """The fields of the form."""

    model_config = ConfigDict(extra="ignore")

    program: uuid.UUID | None = None
    message: Text = ""
    audience: Literal["all", "segment", "csv"] = "all"
    segment: Text = ""
    parameter: Text = ""
    also: Text = ""
    also_parameter: Text = ""
    when: Literal["now", "later"] = "now"
    at: Text = ""
    name: Text = ""
    member: str = ""

    @property
    def target(self) -> str:
        """The audience as the database reads it."""
        if self.audience == "csv":
            return "CSV"
        if self.audience != "segment":
            return "ALL"
        parts = [(self.segment, self.parameter), (self.also, self.also_parameter)]
        if not self.segment.strip():
            raise ApiError(400, "AUDIENCE_REQUIRED", "Choose an audience first.")
        return " & ".join(
            f"{name}:{value.strip()}" if value.strip() else name for name, value in parts if name
        )

    def required(self) -> tuple[uuid.UUID, str]:
        """Insist on a program and a message."""
        if self.program is None:
            raise ApiError(400, "PROGRAM_REQUIRED", "Choose a program first.")
        if not self.message.strip():
            raise ApiError(400, "MESSAGE_REQUIRED", "Write a message first.")
        return self.program, self.message


Fields = Annotated[Draft, Form()]


@router.get("/")
async def compose(request: Request, web: Web, session: SignedIn, program: str | None = None) -> HTMLResponse:
    """Show the empty form."""
    return page(
        request,
        "compose.html",
        session,
        programs=await web.calls.programs(),
        segments=await web.calls.segments(),
        chosen=program,
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
            shown = await web.calls.screen(draft.program, draft.message, draft.target, _uuid(draft.member))
            warnings = await web.calls.warnings(draft.message)
            if shown is None:
                problem = "Nobody in this program can be reached."
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
    return page(request, "_tested.html", session, campaign=campaign, member=external_id.strip())


@router.post("/compose/confirm")
async def confirm(
    request: Request,
    web: Web,
    session: Writing,
    draft: Fields,
    csv_file: Annotated[UploadFile | None, File(alias="csvFile")] = None,
) -> HTMLResponse:
    """Count, and ask."""
    program, message = draft.required()
    at = await _moment(web, program, draft)
    await web.calls.require_order(program, draft.target, at)
    upload: uuid.UUID | None = None
    if draft.audience == "csv":
        if csv_file is None or not csv_file.filename:
            raise ApiError(400, "CSV_REQUIRED", "Choose a CSV file with a column member_id.")
        upload = await order_list(
            web.settings.database_dsn,
            csv_file,
            owner=session.name,
            key=None,
            program=program,
            message=message,
            name=draft.name.strip() or None,
            scheduled_at=at,
            submit=False,
        )
        count: Preview = await web.calls.preview_list(upload)
    else:
        count = await web.calls.preview(program, draft.target)
    return await _ask(request, web, session, draft, count, upload, at)


async def _ask(
    request: Request,
    web: Context,
    session: SignedIn,
    draft: Draft,
    count: Preview,
    upload: uuid.UUID | None,
    at: datetime | None,
    problem: str | None = None,
) -> HTMLResponse:
    program, message = draft.required()
    shown = await web.calls.screen(program, message, draft.target, _uuid(draft.member))
    return page(
        request,
        "_confirm.html",
        session,
        draft=draft,
        count=count,
        upload=upload,
        at=at,
        shown=shown,
        warnings=await web.calls.warnings(message),
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
    program, message = draft.required()
    draft_list = _uuid(upload)
    at = await _moment(web, program, draft)

    async def again(problem: str) -> HTMLResponse:
        count: Preview = (
            await web.calls.preview_list(draft_list)
            if draft_list
            else await web.calls.preview(program, draft.target)
        )
        return await _ask(request, web, session, draft, count, draft_list, at, problem)

    if expected > TYPED_ABOVE and "".join(c for c in typed if c.isdigit()) != str(expected):
        return await again("Type the number of phones to confirm.")

    async def work() -> tuple[int, dict[str, Any]]:
        if draft_list:
            await web.calls.submit_list_order(session.name, draft_list, expected)
            return 202, {"campaignId": str(draft_list)}
        campaign = await web.calls.order_push(
            session.name, key, program, message, draft.target, draft.name.strip() or None, at, expected
        )
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
    if draft.when != "later":
        return None
    at = await web.calls.moment(program, draft.at)
    if at is None:
        raise ApiError(400, "TIME_REQUIRED", "Choose when to send.")
    return at


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
