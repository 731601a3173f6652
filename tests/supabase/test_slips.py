"""B1: orders as Supabase's Data API and Studio give them. A slip never widens one: no phone is reached by it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from support.plain import plain_client
from support.postgrest import data_api
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import httpx

    from support.databases import Databases

SERVICE: Final = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    for part in ({"alg": "none"}, {"role": "service_role"}, {})
)


class Project:
    """A program with five members, of whom two are VIPs, behind the Data API."""

    def __init__(self, shop: Shop, url: str) -> None:
        self.shop = shop
        self.http = plain_client(base_url=f"{url}/rest/v1/", headers={"Authorization": f"Bearer {SERVICE}"})
        self.program: UUID = shop.program("Deli")
        for points in (0, 0, 0, 900, 1500):
            shop.member(self.program, points=points)

    def call(self, name: str, arguments: dict[str, Any]) -> httpx.Response:
        """Call a function; PROGRAM is the program."""
        body = json.dumps(arguments).replace("PROGRAM", str(self.program))
        return self.http.post(f"rpc/{name}", content=body)

    def insert(self, row: dict[str, Any]) -> httpx.Response:
        """Insert an order."""
        order = {"program_id": str(self.program), "message_text": "Soup is ready", "status": "PENDING"} | row
        return self.http.post("push_campaigns", json=order)

    def reached(self) -> int:
        """Start all that is due; how many phones it would ring."""
        while self.shop.claim() is not None:
            pass
        found: int = self.shop.value(
            "select coalesce(sum(recipient_count), 0) from push_campaigns where program_id = %s",
            [self.program],
        )
        return found


@pytest.fixture(scope="module")
def data(databases: Databases) -> Iterator[tuple[Shop, str]]:
    shop = Shop(databases.create("4", supabase=True), "4")
    with data_api(shop.url) as url:
        yield shop, url
    shop.close()


@pytest.fixture
def project(data: tuple[Shop, str]) -> Iterator[Project]:
    made = Project(*data)
    yield made
    made.http.close()
    made.shop.conn.execute(
        "update push_campaigns set status = 'CANCELLED' where program_id = %s and status in ('PENDING', 'PROCESSING')",
        [made.program],
    )


def test_b1_an_order_that_is_right_is_taken(project: Project) -> None:
    """A correct order is taken; the tests below change one thing of it."""
    answer = project.call("push_send", {"program_id": "PROGRAM", "message": "Soup", "target": " whale "})
    assert answer.status_code == 200, answer.text
    assert project.reached() == 2


@pytest.mark.parametrize(
    "slip",
    [
        {"target": None},
        {"target": ""},
        {"target": "   "},
        {"target": "\u00a0\u200b"},
        {"target": "null"},
        {"target": "undefined"},
        {"target": "NULL"},
        {"target": "WALE"},
        {"target": ["WHALE"]},
        {"target": {"segment": "WHALE"}},
        {"target": {"segment": "WHALE", "extra": 1}},
        {"target": 500},
        {"target": True},
        {"target": "WHALE,"},
        {"target": "WHALE &"},
        {"target": "& WHALE"},
        {"target": "ALL:WHALE"},
        {"target": "IDS:"},
        {"target": "CSV"},
        {"segment": "WHALE"},
        {"Target": "WHALE"},
        {"target_query": "WHALE"},
        {"p_target": "WHALE"},
        {"target": "WHALE", "expected": "two"},
        {"target": "WHALE", "expected": ""},
        {"target": "WHALE", "expected": 5},
        {"target": "WHALE", "expected": -2},
        {"target": "WHALE", "expected": 2.5},
        {"target": "WHALE", "scheduled_at": ""},
        {"target": "WHALE", "scheduled_at": "soon"},
        {"target": "WHALE", "scheduled_at": "2020-01-01T10:00:00Z"},
        {"target": "WHALE", "scheduled_at": "infinity"},
        {"target": "WHALE", "scheduled_at": "-infinity"},
        {"target": "WHALE", "scheduledAt": "2031-01-01T10:00:00Z"},
        {"target": "WHALE", "program_id": None},
        {"target": "WHALE", "program_id": ""},
        {"target": "WHALE", "program_id": "Deli"},
        {"target": "WHALE", "message": None},
        {"target": "WHALE", "message": ""},
        {"target": "WHALE", "message": "\u200b"},
        {"target": "WHALE", "message": "Hi {nobody}"},
    ],
    ids=str,
)
def test_b1_a_slip_in_a_call_orders_nothing(project: Project, slip: dict[str, Any]) -> None:
    """push_send with a null, blank or wrong argument is refused, and creates no campaign."""
    answer = project.call("push_send", {"program_id": "PROGRAM", "message": "Soup"} | slip)
    assert 400 <= answer.status_code < 500, answer.text
    count = "select count(*) from push_campaigns where program_id = %s"
    assert project.shop.value(count, [project.program]) == 0
    if "target" in slip and set(slip) == {"target"}:
        counted = project.call("push_preview", {"program_id": "PROGRAM"} | slip)
        assert 400 <= counted.status_code < 500, counted.text


def test_b1_a_misspelt_audience_names_the_nearest(project: Project) -> None:
    """A misspelt audience is refused with the nearest known name."""
    answer = project.call("push_send", {"program_id": "PROGRAM", "message": "Soup", "target": "wahle"})
    assert "Did you mean WHALE?" in answer.json()["message"]


@pytest.mark.parametrize(
    "slip",
    [
        {"external_id": None},
        {"external_id": ""},
        {"external_id": " "},
        {"external_id": "*"},
        {"external_id": "ALL"},
        {"externalId": "M-1"},
        {"target": "WHALE"},
    ],
    ids=str,
)
def test_b1_a_test_goes_to_one_pass_or_none(project: Project, slip: dict[str, Any]) -> None:
    """A test send without its member reaches no other pass."""
    answer = project.call("push_test", {"program_id": "PROGRAM", "message": "Soup"} | slip)
    assert 400 <= answer.status_code < 500, answer.text
    assert project.reached() == 0


@pytest.mark.parametrize(
    ("row", "phones"),
    [
        ({"target_query": "whale"}, 2),
        ({"target_query": " Whale : 1000 "}, 1),
        ({"target_query": "WHALE", "status": " pending "}, 2),
        ({"target_query": "WHALE", "status": "Draft"}, 0),
        ({"target_query": "WALE"}, 0),
        ({"target_query": "null"}, 0),
        ({"target_query": "undefined"}, 0),
        ({"target_query": '""'}, 0),
        ({"target_query": '{"segment": "WHALE"}'}, 0),
        ({"target_query": {"segment": "WHALE"}}, 0),
        ({"target_query": ["WHALE"]}, 0),
        ({"target_query": "WHALE", "csv_upload_url": "https://files.example.com/a.csv"}, 0),
        ({"target_query": "ALL", "csv_upload_url": "https://files.example.com/a.csv"}, 0),
        ({"target_query": None, "csv_upload_url": "https://files.example.com/a.csv"}, 0),
        ({"target_query": None, "csv_upload_url": "undefined"}, 0),
        ({"target_query": "CSV"}, 0),
        ({"target_query": "csv", "csv_upload_url": " "}, 0),
        ({"target_query": "WHALE & CSV"}, 0),
        ({"target_query": "WHALE", "scheduled_at": "2099-01-01"}, 0),
        ({"target": "WHALE"}, 0),
        ({"segment": "WHALE"}, 0),
        ({"Target_Query": "WHALE"}, 0),
        ({"target_query": "WHALE", "kind": "test"}, 0),
        ({"target_query": "WHALE", "status": "SENT"}, 0),
        ({"target_query": "WHALE", "scheduled_at": "next week"}, 0),
        ({"target_query": "WHALE", "program_id": None}, 0),
    ],
    ids=str,
)
def test_b1_a_slip_in_a_row_reaches_no_one_else(project: Project, row: dict[str, Any], phones: int) -> None:
    """An order inserted with odd values in any column reaches only the members that it names."""
    project.insert(row)
    assert project.reached() == phones


@pytest.mark.parametrize("target", [None, "", "ALL", "All Active Members", "WHALE", "CSV", "WHALE & CSV"])
@pytest.mark.parametrize("link", [None, "", " "])
def test_b1_a_list_that_is_taken_away_is_not_everybody(
    project: Project, target: str | None, link: str | None
) -> None:
    """If the link of a scheduled list is cleared, the order fails instead of reaching all members."""
    project.insert(
        {
            "target_query": target,
            "csv_upload_url": "https://files.example.com/a.csv",
            "scheduled_at": "2099-01-01",
        }
    )
    changed = project.http.patch(
        f"push_campaigns?program_id=eq.{project.program}", json={"csv_upload_url": link, "scheduled_at": None}
    )
    assert changed.is_success, changed.text
    assert project.reached() == 0
    row = project.shop.row(
        "select status, status_detail from push_campaigns where program_id = %s", [project.program]
    )
    assert (row["status"], "csv_upload_url is empty" in row["status_detail"]) == ("FAILED", True)


def test_b1_a_list_becomes_everybody_when_that_is_said(project: Project) -> None:
    """If link and audience are changed together, the order goes to the new audience."""
    project.insert({"csv_upload_url": "https://files.example.com/a.csv", "scheduled_at": "2099-01-01"})
    where = f"push_campaigns?program_id=eq.{project.program}"
    change = {"csv_upload_url": None, "target_query": "ALL", "scheduled_at": None}
    assert project.http.patch(where, json=change).is_success
    assert project.reached() == 5
