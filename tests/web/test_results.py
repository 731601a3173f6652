"""What a message brought, over HTTP: the order's share, the plan before it, the answer after it."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.web import Api, Club


def test_an_order_says_what_it_holds_back(api: Api, club: Club) -> None:
    """holdoutPercent, measureDays and priority become the campaign's; the rehearsal says how many that holds."""
    body = {**club.order, "holdoutPercent": 50, "measureDays": 14, "priority": 8}
    rehearsed = api.post("/api/notify/broadcast/test", body).json()["result"]
    assert (rehearsed["reachable"], rehearsed["wouldHold"]) == (3, 2)
    answer = api.post("/api/notify/broadcast", body)
    assert answer.status_code == 202
    order = club.shop.order(answer.json()["result"]["campaignId"])
    assert (order["holdout_percent"], order["measure_days"], order["priority"]) == (50, 14, 8)


def test_left_out_means_the_programs_share(api: Api, club: Club) -> None:
    """Nothing said: nothing stored before the start, and the preview knows the program's share."""
    club.shop.conn.execute("update programs set push_holdout_percent = 40 where id = %s", [club.id])
    preview = api.post("/api/preview", {"programId": str(club.id)}).json()["result"]
    assert (preview["reachable"], preview["wouldHold"], preview["tooOften"], preview["suppressed"]) == (
        3,
        1,
        0,
        0,
    )
    campaign = api.post("/api/notify/broadcast", club.order).json()["result"]["campaignId"]
    order = club.shop.order(campaign)
    assert (order["holdout_percent"], order["measure_days"], order["priority"]) == (None, 7, 5)


@pytest.mark.parametrize(
    "slip",
    [
        {"holdoutPercent": 51},
        {"holdoutPercent": -1},
        {"holdoutPercent": True},
        {"measureDays": 0},
        {"measureDays": 61},
        {"measureDays": 1.5},
        {"priority": 10},
        {"priority": "high"},
        {"holdout": 10},
    ],
)
def test_a_slip_orders_nothing(api: Api, club: Club, slip: dict[str, object]) -> None:
    """An order with an impossible share or a misspelt field is 422, and nothing is created."""
    before = club.shop.value("select count(*) from push_campaigns")
    assert api.post("/api/notify/broadcast", {**club.order, **slip}).status_code == 422
    assert club.shop.value("select count(*) from push_campaigns") == before


def test_results_of_a_campaign_and_of_a_program(api: Api, club: Club) -> None:
    """The columns of push_results in camel case; as CSV where the caller accepts that."""
    campaign = api.post("/api/notify/broadcast", {**club.order, "holdoutPercent": 10}).json()["result"][
        "campaignId"
    ]
    found = api.get(f"/api/campaigns/{campaign}/results").json()["result"]
    assert (found["campaignId"], found["verdict"], found["measureDays"]) == (campaign, "open", 7)
    assert found["sentence"] == "Can be counted 7 days after its last message."
    assert {"sentCame", "heldCame", "diffLo", "diffHi", "extraLo", "extraHi", "readyAt", "countedAt"} <= set(
        found
    )
    total = api.get(f"/api/programs/{club.id}/results?since=2026-01-01&until=2026-12-31").json()["result"]
    assert total["campaigns"] == 0
    text = api.http.get(f"/api/programs/{club.id}/results", headers={"Accept": "text/csv"}).text
    (row,) = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    assert (row["campaigns"], row["sentence"]) == ("0", total["sentence"])


def test_results_that_cannot_be_asked_for(api: Api, club: Club) -> None:
    """Unknown campaign or program: 404. A date that is none, a parameter that is not known: 422."""
    nobody = "00000000-0000-4000-8000-000000000000"
    assert api.get(f"/api/campaigns/{nobody}/results").status_code == 404
    assert api.get(f"/api/programs/{nobody}/results").status_code == 404
    assert api.get(f"/api/programs/{club.id}/results?since=June").status_code == 422
    assert api.get(f"/api/programs/{club.id}/results?from=2026-01-01").status_code == 422


def test_a_plan(api: Api, club: Club) -> None:
    """How many a share would hold back, and what that would show; 10 unless said otherwise."""
    plan = api.post("/api/plan", {"programId": str(club.id), "holdoutPercent": 40}).json()["result"]
    assert (plan["reachable"], plan["wouldSend"], plan["wouldHold"]) == (3, 2, 1)
    assert plan["sentence"]
    assert (
        api.post("/api/plan", {"programId": str(club.id), "segment": "VIP"}).json()["result"]["wouldHold"]
        == 0
    )
    assert api.post("/api/plan", {"programId": str(club.id), "holdoutPercent": 60}).status_code == 422
    assert api.post("/api/plan", {}).status_code == 400
