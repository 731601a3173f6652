"""What people see on the page (row D of the list of defects): the right words, at the right moment, that agree."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from passbell.web.calls.page import Slot
from passbell.web.page.history import draw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import httpx

    from support.web import Club


def words(text: str) -> str:
    """The text of a page as it is read."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def form(club: Club, **more: str) -> dict[str, str]:
    return {"program": str(club.id), "message": f"Tea {uuid4().hex[:6]}", "audience": "all", **more}


def send(club: Club, campaign: UUID, phones: int) -> None:
    """Let a campaign reach so many phones, and stop in the middle."""
    club.shop.start(campaign, 1)
    while club.shop.order(campaign)["sent_count"] < phones:
        chunk = club.shop.chunk()
        assert chunk
        club.shop.finish(chunk)


@pytest.fixture
def at_work(club: Club) -> Iterator[None]:
    """A daemon that reports."""
    worker = uuid4()
    club.shop.conn.execute(
        "insert into passbell.workers (id, process, host, pid, version, heartbeat_at)"
        " values (%s, %s, 'here', 1, '1', clock_timestamp())",
        [worker, worker],
    )
    yield
    club.shop.conn.execute("delete from passbell.workers where id = %s", [worker])


def test_d3_the_confirmation_names_program_audience_and_who_is_left_out(
    signed_in: httpx.Client, club: Club, at_work: None
) -> None:
    """Before anything is sent: which program, which audience, when, and who gets nothing and why."""
    said = words(signed_in.post("/compose/confirm", data=form(club)).text)
    assert "This will buzz 3 phones. Are you sure?" in said
    assert "Program Tea Club Audience All active members When At once" in said
    assert "Not in a wallet \N{MINUS SIGN}1 Opted out \N{MINUS SIGN}1 Will buzz 3" in said
    assert "Back Buzz 3 phones" in said
    whale = form(club, audience="segment", segment="WHALE", parameter="100")
    assert "Audience WHALE:100" in words(signed_in.post("/compose/confirm", data=whale).text)


def test_d3_the_confirmation_says_when_with_the_zone(
    signed_in: httpx.Client, club: Club, at_work: None
) -> None:
    """A time is the program's, and its zone is named."""
    club.shop.conn.execute("update programs set timezone = 'Europe/Berlin' where id = %s", [club.id])
    later = form(club, when="later", at="2031-12-24T18:00")
    said = words(signed_in.post("/compose/confirm", data=later).text)
    assert "When Wed 24 Dec 2031, 18:00 Europe/Berlin" in said
    assert "Schedule for 3 phones" in said


def test_d3_the_confirmation_says_that_quiet_hours_hold_it_back(
    signed_in: httpx.Client, club: Club, at_work: None
) -> None:
    """At night: from when it goes out, before it is ordered."""
    club.shop.conn.execute(
        "update programs set timezone = 'Europe/Berlin', push_window_start = '09:00', push_window_end = '20:00'"
        " where id = %s",
        [club.id],
    )
    night = form(club, when="later", at="2031-12-24T22:00")
    said = words(signed_in.post("/compose/confirm", data=night).text)
    assert "When Thu 25 Dec 2031, 09:00 Europe/Berlin" in said
    assert "Quiet hours: it goes out from 2031-12-25 09:00 Europe/Berlin." in said


def test_d4_everything_that_waits_says_when_no_daemon_runs(signed_in: httpx.Client, club: Club) -> None:
    """Compose, confirmation, test and a campaign's page name it; nothing claims to be on its way."""
    assert "No daemon is running" in words(signed_in.get("/").text)
    assert "No daemon is running" in words(signed_in.post("/compose/confirm", data=form(club)).text)
    test = signed_in.post("/compose/test", data=form(club, external_id=club.member["Ann"]))
    assert "No daemon is running" in words(test.text)
    assert "On its way" not in test.text
    campaign = club.shop.campaign(club.id)
    assert "No daemon is running" in words(signed_in.get(f"/campaigns/{campaign}").text)


def test_d3_a_notice_is_only_taken_away_by_the_person(signed_in: httpx.Client) -> None:
    """A notice stays while other parts of the page change, until its button is pressed."""
    script = signed_in.get("/static/page.js").text
    settle = script[script.index('addEventListener("htmx:afterSettle"') :]
    settle = settle[: settle.index("\n});")]
    assert "replaceChildren" not in settle
    notice = signed_in.get(f"/campaigns/{uuid4()}", headers={"HX-Request": "true"})
    assert "data-dismiss" in notice.text


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_d3_what_did_not_arrive_has_no_full_bar(signed_in: httpx.Client, club: Club, status: str) -> None:
    """The bar of a failed or cancelled campaign shows how many it reached."""
    campaign = club.shop.campaign(club.id, target_query="NO_SUCH" if status == "FAILED" else "ALL")
    if status == "FAILED":
        while club.shop.claim(50) is not None:
            pass
    else:
        signed_in.post(f"/campaigns/{campaign}/cancel")
    assert club.shop.status(campaign) == status
    for path in (f"/campaigns/{campaign}", f"/history?program={club.id}"):
        page = signed_in.get(path).text
        assert "<progress" not in page
        assert "Not started" in page


@pytest.mark.parametrize(("phones", "shown"), [(0, "None of 3 reached"), (2, "2 of 3")])
def test_d3_a_completed_campaign_with_failures_has_no_full_bar(
    signed_in: httpx.Client, club: Club, phones: int, shown: str
) -> None:
    """The bar of a completed campaign shows what was reached, without what failed."""
    campaign = club.shop.campaign(club.id)
    if phones:
        send(club, campaign, phones)
    else:
        club.shop.start(campaign, 1)
    while chunk := club.shop.chunk():
        club.shop.finish(chunk, "not_found")
    assert club.shop.status(campaign) == "COMPLETED"
    for path in (f"/campaigns/{campaign}", f"/history?program={club.id}"):
        page = signed_in.get(path).text
        assert shown in words(page)
        assert 'value="100' not in page
        assert ("<progress" in page) is bool(phones)


def test_d3_a_cancelled_campaign_says_how_many_it_reached(signed_in: httpx.Client, club: Club) -> None:
    """A campaign that is cancelled after two of three phones shows two thirds of the bar."""
    campaign = club.shop.campaign(club.id)
    send(club, campaign, 2)
    signed_in.post(f"/campaigns/{campaign}/cancel")
    page = signed_in.get(f"/campaigns/{campaign}").text
    assert 'value="66.7"' in page
    assert "2 of 3 reached" in words(page)


def test_d3_numbers_of_one_page_agree_at_every_moment(signed_in: httpx.Client, club: Club) -> None:
    """Counts, outcomes and bar of a campaign's page come in one answer, read in one statement."""
    campaign = club.shop.campaign(club.id)
    send(club, campaign, 1)
    here = {"HX-Request": "true", "HX-Current-URL": f"http://x/campaigns/{campaign}"}
    live = signed_in.get(f"/live-campaigns?watch={campaign}:PROCESSING", headers=here).text
    for text in (signed_in.get(f"/campaigns/{campaign}").text, live):
        said = words(text)
        assert "Buzzed 1 Failed 0" in said
        assert re.search(r"buzzed\s+1\b", said)
        assert "Nothing was sent" not in said
    empty = signed_in.get(f"/campaigns/{club.shop.campaign(club.id)}/deliveries").text
    assert "No deliveries yet" not in empty


def test_d3_no_rate_above_the_limit_is_shown() -> None:
    """Two chunks of 50 that in one slot of 1.36 s are no 73.5 a second: the average is what can be told."""
    at = datetime(2026, 11, 28, tzinfo=UTC)
    slots = [
        Slot(slot=0, starts_at=at, seconds=1.36, sent=100, failed=0),
        Slot(slot=1, starts_at=at, seconds=1.36, sent=0, failed=0),
    ]
    chart = draw(slots, 36.8)
    assert chart
    assert chart.average_per_second == 36.8


def test_d3_gifts_given_are_in_the_list_of_runs(signed_in: httpx.Client, club: Club) -> None:
    """The answer brings the list of runs along: no "22 gifts given" above "No run yet"."""
    club.shop.conn.execute(
        "update programs set birthday_bot_enabled = true, birthday_reward_points = 10 where id = %s",
        [club.id],
    )
    club.shop.conn.execute(
        "update users u set birth_date = (passbell.now() at time zone 'UTC')::date - interval '28 years'"
        " from passes_master p where p.user_id = u.id and p.external_id = %s",
        [club.member["Ann"]],
    )
    club.shop.conn.execute("update programs set timezone = 'UTC' where id = %s", [club.id])
    said = words(signed_in.post("/birthdays/run", data={"program": str(club.id)}).text)
    assert "1 gift given" in said
    assert "No run yet" not in said
    assert "Last runs" in said


def test_d3_rejected_rows_come_first(signed_in: httpx.Client, club: Club) -> None:
    """One rejected row is on the first page, before 240 rows with a small problem."""
    made = club.shop.value(
        "insert into member_imports (program_id, csv_upload_url, status) values (%s, 'https://x.example/a', 'PENDING')"
        " returning id",
        [club.id],
    )
    club.shop.conn.execute(
        "insert into passbell.import_rows (import_id, row_number, result, column_name, value, reason, problems)"
        " select %s, n, case when n = 300 then 'rejected' else 'created' end, 'zip', 'x', 'unclear',"
        " jsonb_build_array(jsonb_build_object('column', 'zip', 'value', 'v' || n, 'reason', 'unclear'))"
        " from generate_series(1, 300) n",
        [made],
    )
    page = signed_in.get(f"/imports/{made}").text
    assert 0 < page.index("v300") < page.index("v1<")
    more = signed_in.get(f"/imports/{made}/rows?which=taken&after=100").text
    assert "v101<" in more
    assert "v300" not in more


def draft(club: Club, **columns: object) -> UUID:
    return club.shop.campaign(club.id, "Hello draft", status="DRAFT", **columns)


def test_d3_a_draft_can_be_edited_and_submitted(signed_in: httpx.Client, club: Club) -> None:
    """A draft's page leads to the form with its text in it; confirming it submits that draft and makes no other."""
    made = draft(club, target_query="WHALE:100")
    assert f"/?draft={made}" in signed_in.get(f"/campaigns/{made}").text
    page = signed_in.get(f"/?draft={made}").text
    assert "Hello draft</textarea>" in page
    assert 'value="segment" checked' in page
    edited = form(
        club, draft=str(made), audience="segment", segment="WHALE", parameter="100", message="Better"
    )
    confirm = words(signed_in.post("/compose/confirm", data=edited).text)
    assert "This will buzz 2 phones" in confirm
    sent = signed_in.post("/compose/send", data={**edited, "expected": "2", "key": uuid4().hex})
    assert sent.headers["location"] == f"/campaigns/{made}"
    order = club.shop.order(made)
    assert (order["status"], order["message_text"]) == ("PENDING", "Better")
    assert club.shop.value("select count(*) from push_campaigns where program_id = %s", [club.id]) == 1


def test_d3_a_draft_whose_audience_moved_is_asked_again(signed_in: httpx.Client, club: Club) -> None:
    """As many phones as were shown, or none."""
    made = draft(club)
    again = signed_in.post(
        "/compose/send", data={**form(club, draft=str(made)), "expected": "7", "key": uuid4().hex}
    )
    assert "3 phones now, 7 when you looked" in words(again.text)
    assert club.shop.status(made) == "DRAFT"


def test_d3_a_form_is_kept_as_a_draft(signed_in: httpx.Client, club: Club) -> None:
    """Save as draft sends nothing, and saving it again writes over it."""
    answer = signed_in.post("/compose/draft", data=form(club, name="Later", holdout="20"))
    made = answer.headers["location"].rpartition("/")[2]
    again = signed_in.post("/compose/draft", data=form(club, draft=made, message="Other"))
    assert again.headers["location"] == answer.headers["location"]
    order = club.shop.row("select status, message_text, name from push_campaigns where id = %s", [made])
    assert order == {"status": "DRAFT", "message_text": "Other", "name": "Later"}


def test_d3_a_draft_with_a_list_stays_with_its_list(signed_in: httpx.Client, club: Club) -> None:
    """A draft of an uploaded list is never widened to everybody by the form."""
    answer = signed_in.post("/compose/draft", data=form(club, audience="csv"), files=club.csv())
    made = answer.headers["location"].rpartition("/")[2]
    wide = signed_in.post("/compose/confirm", data=form(club, draft=made))
    assert wide.status_code == 400
    kept = form(club, draft=made, audience="kept", kept="CSV")
    assert "This will buzz 3 phones" in words(signed_in.post("/compose/confirm", data=kept).text)
    sent = signed_in.post("/compose/send", data={**kept, "expected": "3", "key": uuid4().hex})
    assert sent.headers["location"] == f"/campaigns/{made}"
    assert club.shop.status(made) == "PENDING"


def test_d8_merge_tags_of_other_tools_are_named_at_compose(signed_in: httpx.Client, club: Club) -> None:
    """A message with {{first_name}} or *|FNAME|* gets a warning beside the lock screen and before confirming."""
    for message in ("Hi {{first_name}}", "Hi *|FNAME|*"):
        for path in ("screen", "confirm"):
            said = signed_in.post(f"/compose/{path}", data=form(club, message=message)).text
            assert "{first_name}" in said, (path, message)
            assert 'role="alert"' in said


def test_holdout_is_said_before_and_ordered_with_the_campaign(signed_in: httpx.Client, club: Club) -> None:
    """The share that is held back is in the confirmation and in the order; nonsense is refused."""
    club.shop.members(club.id, 97)
    ordered = form(club, holdout="20")
    said = words(signed_in.post("/compose/confirm", data=ordered).text)
    assert "This will buzz about 80 of 100 phones" in said
    assert "Held back to measure (20 %) about \N{MINUS SIGN}20 Will buzz about 80" in said
    assert words(signed_in.post("/compose/plan", data=ordered).text)
    sent = signed_in.post("/compose/send", data={**ordered, "expected": "100", "key": uuid4().hex})
    made = sent.headers["location"].rpartition("/")[2]
    assert club.shop.value("select holdout_percent from push_campaigns where id = %s", [made]) == 20
    for wrong in ("60", "-1", "many", "nan"):
        assert signed_in.post("/compose/confirm", data=form(club, holdout=wrong)).status_code == 400
