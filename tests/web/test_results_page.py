"""Results, reports, automations and the list of those who get no messages, as the page shows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from uuid import UUID

    import httpx

    from support.web import Club


def words(text: str) -> str:
    """The text of a page as it is read."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


@pytest.fixture
def counted(club: Club) -> UUID:
    """A campaign of a fortnight ago: 400 sent, 80 of them came; 100 held back, 5 of them came."""
    shop = club.shop
    passes = shop.members(club.id, 500)
    campaign = shop.campaign(club.id, "Second coffee free", name="Coffee", holdout_percent=20, status="DRAFT")
    shop.conn.execute(
        "insert into passbell.results (campaign_id, program_id, measure_days, percent, grouped, first_sent_at,"
        " last_sent_at, ready_at, counted_at, visits_recorded, sent, sent_came, sent_came_before, held, held_came,"
        " held_came_before, overlapping)"
        " values (%s, %s, 7, 20, false, now() - interval '10 days', now() - interval '10 days',"
        " now() - interval '3 days', now(), true, 400, 80, 20, 100, 5, 5, '{}')",
        [campaign, club.id],
    )
    assert passes
    return campaign


def test_a_campaign_shows_what_it_brought(signed_in: httpx.Client, club: Club, counted: UUID) -> None:
    """A campaign's page shows the sentence, the interval as a bar, and money with the same interval."""
    club.shop.conn.execute("update programs set average_bill = 10 where id = %s", [club.id])
    page = signed_in.get(f"/campaigns/{counted}/results").text
    said = words(page)
    assert said.startswith("It brought about 60 guests more than without it: between")
    assert "<svg" in page
    assert re.search(r"average bill: about 600, between \d+ and [\d,]+", said)
    assert "would have come anyway" in said
    # The history has one word for it, and leads there.
    history = signed_in.get(f"/history?program={club.id}").text
    assert "brought guests" in words(history)
    assert f"/campaigns/{counted}#h-brought" in history


def test_nobody_held_back_is_said(signed_in: httpx.Client, club: Club) -> None:
    """A campaign that is open says from when it can be counted, and draws nothing."""
    campaign = club.shop.campaign(club.id)
    page = signed_in.get(f"/campaigns/{campaign}/results").text
    assert "Can be counted" in words(page)
    assert "<svg" not in page


def test_a_program_adds_up_its_year(signed_in: httpx.Client, club: Club, counted: UUID) -> None:
    """Twelve months, each with its interval and its report; a month without a count says so."""
    page = signed_in.get(f"/programs/{club.id}/results").text
    assert page.count("/report?month=") == 12
    said = words(page)
    assert "1 campaign brought about 60 guests more" in said
    assert re.search(r"about 60, between \d+ and \d+", said)
    assert "not measured" in said
    assert words(signed_in.get(f"/programs/{club.id}").text)


def test_the_months_report_is_a_page_to_print(signed_in: httpx.Client, club: Club) -> None:
    """One page without the menu, whose style the policy lets through; a month that is none is refused."""
    answer = signed_in.get(f"/programs/{club.id}/report?month=2026-11")
    assert answer.status_code == 200
    assert "November 2026" in answer.text
    assert "<nav" not in answer.text
    assert "'sha256-" in answer.headers["content-security-policy"]
    assert signed_in.get(f"/programs/{club.id}/report?month=2026-13").status_code == 400


def automation(club: Club, **more: str) -> dict[str, str]:
    return {
        "program": str(club.id),
        "name": f"We miss you {uuid4().hex[:4]}",
        "occasion": "DORMANT",
        "parameter": "30",
        "message": "We miss you, {first_name|friend}",
        **more,
    }


def make(signed_in: httpx.Client, club: Club, **more: str) -> str:
    """Make an automation on the page; its address."""
    answer = signed_in.post("/automations", data=automation(club, **more))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def test_an_automation_is_made_switched_changed_and_deleted(signed_in: httpx.Client, club: Club) -> None:
    """On the page an automation is created switched off, then switched, changed and deleted."""
    where = make(signed_in, club, holdout_percent="20", send_days="THU,FRI")
    row = "select occasion, is_on, holdout_percent, send_days from push_automations where id = %s"
    made = where.rpartition("/")[2]
    assert club.shop.row(row, [made]) == {
        "occasion": "DORMANT:30",
        "is_on": False,
        "holdout_percent": 20,
        "send_days": "THU,FRI",
    }
    switched = signed_in.post(f"{where}/switch", data={"on": "yes"}, headers={"HX-Request": "true"})
    assert 'aria-checked="true"' in switched.text
    page = signed_in.get(where).text
    assert 'value="30"' in page
    assert "on since" in page
    signed_in.post(where, data=automation(club, parameter="45"))
    assert club.shop.row(row, [made])["occasion"] == "DORMANT:45"
    assert club.shop.row(row, [made])["is_on"] is True
    assert "We miss you" in signed_in.get(f"/automations?program={club.id}").text
    signed_in.post(f"{where}/delete")
    assert signed_in.get(where).status_code == 404


@pytest.mark.parametrize(
    ("slip", "sentence"),
    [
        ({"occasion": "DORMENT"}, "Unknown occasion"),
        ({"parameter": "soon"}, "needs a number of days"),
        ({"holdout_percent": "80"}, "holdout_percent is a number from 0 to 50"),
        ({"reward_points": "-5"}, "whole number"),
        ({"send_at": "25:00"}, "a time like 09:00"),
        ({"starts_on": "2026-02-31"}, "date"),
        ({"message": "Hi {nobody}"}, "nobody"),
        ({"send_dayz": "FRI"}, "send_days"),
    ],
    ids=str,
)
def test_a_slip_in_an_automation_is_answered_with_its_sentence(
    signed_in: httpx.Client, club: Club, slip: dict[str, str], sentence: str
) -> None:
    """A wrong value is answered with the database's own sentence, and no automation is made."""
    answer = signed_in.post("/automations", data=automation(club, **slip), headers={"HX-Request": "true"})
    assert 400 <= answer.status_code < 500
    assert sentence in words(answer.text)
    assert answer.headers["HX-Retarget"] == "#notice"
    assert club.shop.value("select count(*) from push_automations where program_id = %s", [club.id]) == 0


def test_the_backtest_is_drawn(signed_in: httpx.Client, club: Club) -> None:
    """Before switching on, the page shows a bar per day of how many members were due in 30 days."""
    where = make(signed_in, club, occasion="EVERY", parameter="MON")
    page = signed_in.get(f"{where}/days").text
    assert re.search(
        r"It would have rung \d+ members in the last 30 days, between 0 and 3 a day", words(page)
    )
    assert 4 <= page.count("<rect") <= 5
    assert "Can be counted" in words(signed_in.get(f"{where}/results").text)


def test_a_member_is_left_in_peace_and_taken_off_the_list(signed_in: httpx.Client, club: Club) -> None:
    """Suppressed members are listed, counted out of a preview, and can be removed; an unknown id is refused."""
    where = f"/programs/{club.id}/suppressions"
    htmx = {"HX-Request": "true"}
    added = signed_in.post(
        where, data={"member": club.member["Ann"].upper(), "reason": "Staff"}, headers=htmx
    )
    assert f"{club.member['Ann']} Staff until removed" in words(added.text)
    form = {"program": str(club.id), "message": "Hello", "audience": "all"}
    assert "On the suppression list" in words(signed_in.post("/compose/confirm", data=form).text)
    wrong = signed_in.post(where, data={"member": "no-such-member"}, headers=htmx)
    assert wrong.status_code == 404
    row = club.shop.value("select id from push_suppressions where program_id = %s", [club.id])
    assert "No member." in words(signed_in.post(f"{where}/{row}/delete", headers=htmx).text)


def test_a_programs_limits_are_changed_on_its_page(signed_in: httpx.Client, club: Club) -> None:
    """How often is enough, and what no answer means: saved, shown again, and a slip is a sentence."""
    where, htmx = f"/programs/{club.id}", {"HX-Request": "true"}
    form = {"push_max": "4", "push_max_days": "30", "push_min_hours": "", "push_consent": "OPT_IN"}
    assert "Saved." in words(signed_in.post(f"{where}/limits", data=form, headers=htmx).text)
    shown = signed_in.get(where).text
    assert re.search(r'name="push_max"[^>]*value="4"', shown)
    assert re.search(r'<option value="OPT_IN" selected', shown)
    slip = signed_in.post(f"{where}/limits", data={**form, "push_max_days": ""}, headers=htmx)
    assert (slip.status_code, "belong together" in slip.text) == (400, True)
    row = club.shop.row(
        "select push_max, push_max_days, push_min_hours, push_consent from programs where id = %s", [club.id]
    )
    assert list(row.values()) == [4, 30, None, "OPT_IN"]
