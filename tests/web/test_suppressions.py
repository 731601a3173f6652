"""Members who get no messages for now, over HTTP: one more, the list, one less; and what a program's rules are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from support.web import Api, Club


def order(club: Club, **more: Any) -> dict[str, Any]:
    return {"programId": str(club.id), "externalId": club.member["Ann"], **more}


def test_added_listed_skipped_and_removed(api: Api, club: Club) -> None:
    """A suppressed member is counted apart in the preview, and reached again when the entry is gone."""
    ann = club.member["Ann"]
    before = api.post("/api/preview", {"programId": str(club.id)}).json()["result"]
    until = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    answer = api.post(
        "/api/suppressions",
        order(club, externalId=f" {ann.lower()} ", until=until.isoformat(), reason="Staff"),
    )
    made = answer.json()["result"]
    assert answer.status_code == 201
    assert (made["externalId"], made["reason"], made["over"]) == (ann, "Staff", False)
    assert (datetime.fromisoformat(made["until"]), made["createdBy"]) == (until, "marketing")
    assert made["programId"] == str(club.id)
    listed = api.get("/api/suppressions", params={"programId": club.passkit_id}).json()["result"]
    assert listed == [made]
    after = api.post("/api/preview", {"programId": str(club.id)}).json()["result"]
    assert (after["suppressed"], after["reachable"]) == (1, before["reachable"] - 1)
    removed = api.http.delete(f"/api/suppressions/{made['id']}")
    assert removed.json()["result"] == made
    assert api.get("/api/suppressions", params={"programId": str(club.id)}).json()["result"] == []
    again = api.post("/api/preview", {"programId": str(club.id)}).json()["result"]
    assert (again["suppressed"], again["reachable"]) == (0, before["reachable"])


def test_the_same_key_suppresses_once(api: Api, club: Club) -> None:
    """A repeated request with the same Idempotency-Key gets the first answer, and one entry is made."""
    key = {"Idempotency-Key": uuid4().hex}
    answers = [api.http.post("/api/suppressions", json=order(club), headers=key) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert club.shop.value("select count(*) from push_suppressions where program_id = %s", [club.id]) == 1


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"externalId": "stranger"}, 404, "There is no member"),
        ({"externalId": "  "}, 422, "externalId"),
        ({"until": "2020-01-01T00:00:00Z"}, 400, "past"),
        ({"untill": "2999-01-01T00:00:00Z"}, 422, "until"),
        ({"programId": str(uuid4())}, 404, "program"),
    ],
)
def test_a_slip_suppresses_nobody(
    api: Api, club: Club, fields: dict[str, Any], status: int, words: str
) -> None:
    """The answer is a sentence, and the list stays empty."""
    answer = api.post("/api/suppressions", order(club, **fields))
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert club.shop.value("select count(*) from push_suppressions where program_id = %s", [club.id]) == 0


def test_an_entry_that_is_not_there_is_404(api: Api) -> None:
    """Removed twice, or never made."""
    assert api.http.delete(f"/api/suppressions/{uuid4()}").status_code == 404


def test_a_programs_limits_and_consent_are_listed(api: Api, club: Club) -> None:
    """GET /api/programs has each program's limits and consent."""
    club.shop.conn.execute(
        "update programs set push_consent = 'OPT_IN', push_max = 4, push_max_days = 30, push_min_hours = 24"
        " where id = %s",
        [club.id],
    )
    (mine,) = [one for one in api.get("/api/programs").json()["result"] if one["programId"] == str(club.id)]
    assert (mine["pushConsent"], mine["pushMax"], mine["pushMaxDays"], mine["pushMinHours"]) == (
        "OPT_IN",
        4,
        30,
        24,
    )


def limits(api: Api, club: Club, **fields: Any) -> Any:
    return api.http.patch(f"/api/programs/{club.passkit_id}", json=fields)


def test_limits_and_consent_are_changed(api: Api, club: Club) -> None:
    """Only what is given changes; null takes a limit away; the next count knows it."""
    answer = limits(api, club, pushMax=0, pushMaxDays=30, pushMinHours=24)
    assert answer.status_code == 200, answer.text
    changed = answer.json()["result"]
    assert (changed["programId"], changed["pushMax"], changed["pushMinHours"]) == (str(club.id), 0, 24)
    count = api.post("/api/preview", {"programId": str(club.id)}).json()["result"]
    assert (count["reachable"], count["tooOften"] > 0) == (0, True)
    changed = limits(api, club, pushMax=None, pushMaxDays=None, pushConsent="OPT_IN").json()["result"]
    assert (changed["pushMax"], changed["pushMaxDays"], changed["pushMinHours"]) == (None, None, 24)
    assert changed["pushConsent"] == "OPT_IN"
    assert limits(api, club).json()["result"] == changed


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pushMax": 3}, "belong together"),
        ({"pushMax": -1, "pushMaxDays": 7}, "pushMax"),
        ({"pushMax": 3, "pushMaxDays": 0}, "pushMaxDays"),
        ({"pushMinHours": 9000}, "pushMinHours"),
        ({"pushConsent": "MAYBE"}, "pushConsent"),
        ({"pushMaximum": 3}, "pushMax"),
    ],
)
def test_a_slip_changes_no_limit(api: Api, club: Club, fields: dict[str, Any], words: str) -> None:
    """422 with the sentence, and the program is as it was."""
    before = api.get("/api/programs").json()
    answer = limits(api, club, **fields)
    assert (answer.status_code, words in answer.text) == (422, True), answer.text
    assert api.get("/api/programs").json() == before


def test_the_limits_of_an_unknown_program_are_404(api: Api) -> None:
    """The name is looked up first."""
    assert api.http.patch(f"/api/programs/{uuid4()}", json={"pushMinHours": 3}).status_code == 404
