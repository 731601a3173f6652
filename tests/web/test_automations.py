"""Automations over HTTP: made, listed, changed, tried on the past, measured, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from support.shop import Shop
    from support.web import Api, Club


def order(club: Club, **more: Any) -> dict[str, Any]:
    return {"programId": str(club.id), "occasion": "DORMANT:30", "messageText": "We miss you!", **more}


def make(api: Api, club: Club, **more: Any) -> dict[str, Any]:
    answer = api.post("/api/automations", order(club, **more))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["result"]
    return made


def test_a_program_an_occasion_and_words_are_enough(api: Api, club: Club) -> None:
    """The answer is 201 with the defaults: off, at 09:00, every day, a tenth held back."""
    made = make(api, club)
    wanted = {
        "isOn": False,
        "sendAt": "09:00",
        "sendDays": None,
        "againAfterDays": 0,
        "catchUpDays": 7,
        "dailyLimit": None,
        "holdoutPercent": 10,
        "measureDays": 7,
        "rewardPoints": 0,
        "priority": 5,
        "switchedOnOn": None,
        "firedCount": 0,
        "createdBy": "marketing",
        "name": "DORMANT:30",
    }
    assert {name: made[name] for name in wanted} == wanted
    listed = api.get("/api/automations", params={"programId": club.passkit_id}).json()["result"]
    assert [one["id"] for one in listed] == [made["id"]]
    shown = api.get(f"/api/automations/{made['id']}").json()["result"]
    assert shown == made | {"runs": []}


def test_the_program_may_be_named_by_its_passkit_id(api: Api, club: Club) -> None:
    """As with every other order; the words may be called `message`, the audience `segment`."""
    body = {"programId": club.passkit_id, "occasion": "EVERY:FRI", "message": "Hi", "segment": "WHALE"}
    made = api.post("/api/automations", body).json()["result"]
    assert (made["programId"], made["messageText"], made["targetQuery"]) == (str(club.id), "Hi", "WHALE")


def test_a_change_touches_what_it_names(api: Api, club: Club) -> None:
    """PATCH changes the given fields, null is the default; switching on notes the day."""
    made = make(api, club, dailyLimit=500, sendDays="thu, fri", priority=7)
    path = f"/api/automations/{made['id']}"
    answer = api.http.patch(path, json={"isOn": True, "dailyLimit": None, "priority": None})
    changed = answer.json()["result"]
    assert answer.status_code == 200
    assert changed["switchedOnOn"] is not None
    assert (changed["isOn"], changed["dailyLimit"], changed["priority"]) == (True, None, 5)
    assert (changed["sendDays"], changed["occasion"]) == ("THU,FRI", "DORMANT:30")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"occasion": "DORMNT:30"}, "Unknown occasion"),
        ({"occasion": "DORMANT:soon"}, "number of days"),
        ({"occasion": "EVERY:FRIDAY"}, "such as FRI"),
        ({"occasion": "ENTERS:NOBODY_KNOWS"}, "NOBODY_KNOWS"),
        ({"messageText": "  "}, "message_text is empty"),
        ({"messageText": "Hi {nickname}"}, "nickname"),
        ({"sendDays": "FUNDAY"}, "send_days"),
        ({"holdoutPercent": 51}, "from 0 to 50"),
        ({"catchUpDays": -1}, "catch_up_days"),
        ({"dailyLimit": 0}, "daily_limit"),
        ({"targetQuery": "CSV"}, "cannot be a list"),
        ({"targetQuery": None}, "must name an audience"),
        ({"segment": ""}, "must name an audience"),
        ({"target": " \u200b"}, "must name an audience"),
        ({"startsOn": "2026-12-02", "endsOn": "2026-12-01"}, "lies before"),
        ({"sendAt": "25:00"}, "sendAt"),
        ({"isOn": "perhaps"}, "isOn"),
        ({"message": "Something else"}, "different"),
        ({"ocasion": "DORMANT"}, '"occasion"'),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    api: Api, club: Club, fields: dict[str, Any], words: str
) -> None:
    """422 with the sentence, by POST and by PATCH; nothing is made or changed."""
    answer = api.post("/api/automations", order(club) | fields)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["error"]
    assert api.get("/api/automations", params={"programId": str(club.id)}).json()["result"] == []
    made = make(api, club)
    body = fields if "message" not in fields else fields | {"messageText": "We miss you!"}
    answer = api.http.patch(f"/api/automations/{made['id']}", json=body)
    assert answer.status_code == 422, answer.text
    assert api.get(f"/api/automations/{made['id']}").json()["result"] == made | {"runs": []}


def test_what_the_engine_writes_cannot_be_sent(api: Api, club: Club) -> None:
    """The program of an automation, its counts and its dates are no fields of a change."""
    made = make(api, club)
    for field in ("programId", "firedCount", "switchedOnOn", "id"):
        answer = api.http.patch(f"/api/automations/{made['id']}", json={field: made[field]})
        assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_FIELD")


def test_nobody_knows_that_automation_or_program(api: Api, club: Club) -> None:
    """404 everywhere; an id that is no id is 422."""
    path = f"/api/automations/{uuid4()}"
    for answer in (
        api.get(path),
        api.get(f"{path}/preview"),
        api.get(f"{path}/results"),
        api.http.patch(path, json={"isOn": False}),
        api.http.delete(path),
        api.post("/api/automations", order(club, programId=str(uuid4()))),
    ):
        assert answer.status_code == 404, answer.text
    assert api.get("/api/automations/7").status_code == 422


def test_the_same_key_makes_one(api: Api, club: Club) -> None:
    """A repeated POST with an Idempotency-Key gives the same automation."""
    key = {"Idempotency-Key": uuid4().hex}
    first, second = (api.post("/api/automations", order(club), headers=key) for _ in range(2))
    assert first.json() == second.json()
    assert (first.status_code, second.status_code) == (201, 201)
    assert len(api.get("/api/automations", params={"programId": str(club.id)}).json()["result"]) == 1


def test_backtest_results_runs_and_the_end(api: Api, club: Club, shop: Shop) -> None:
    """The backtest has a row for every day; a run shows; a campaign under way keeps it from being deleted."""
    every = "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN"
    made = make(api, club, occasion=every, isOn=True, holdoutPercent=0)
    path = f"/api/automations/{made['id']}"
    days = api.get(f"{path}/preview", params={"days": 7}).json()["result"]
    assert [day["due"] for day in days] == [3] * 7
    assert api.get(f"{path}/preview", params={"days": 0}).status_code == 422
    shop.rows("select * from run_automations(%s)", [club.id])
    (run,) = api.get(path).json()["result"]["runs"]
    assert (run["due"], run["fired"], run["campaignStatus"]) == (3, 3, "PROCESSING")
    result = api.get(f"{path}/results").json()["result"]
    assert (result["verdict"], result["sent"]) == ("open", 0)
    refused = api.http.delete(path)
    assert (refused.status_code, "cancel that before" in refused.json()["error"]) == (409, True)
    api.post(f"/api/campaigns/{run['campaignId']}/cancel")
    assert api.http.delete(path).status_code == 200
    assert api.get(path).status_code == 404
    assert shop.value("select count(*) from passbell.occasions where automation_id = %s", [made["id"]]) == 0
