from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from passbell.devkit.sandbox.remote import AsyncRemote

PROGRAM = "program-1"


@pytest.fixture(autouse=True)
async def sixty(remote: AsyncRemote) -> None:
    """Sixty members with 0 to 59 points."""
    await remote.seed(
        {
            "id": f"id-{n}",
            "externalId": f"M{n}",
            "owner": PROGRAM,
            "points": n,
            "metaData": {"row": f"{n % 3}"},
        }
        for n in range(60)
    )
    await remote.generate("other", 5)


async def listed(api: httpx.AsyncClient, **filters: Any) -> list[str]:
    answer = await api.post(f"/members/member/list/{PROGRAM}", json={"filters": filters})
    assert answer.status_code == 200
    return [json.loads(line)["result"]["externalId"] for line in answer.text.splitlines()]


def where(name: str, value: str, operator: str = "eq") -> dict[str, str]:
    return {"filterField": name, "filterValue": value, "filterOperator": operator}


async def test_pages_of_a_list(api: httpx.AsyncClient) -> None:
    """25 rows without a limit, all with -1, offset and limit cut pages."""
    assert len(await listed(api)) == 25
    assert len(await listed(api, limit=-1)) == 60
    assert await listed(api, limit=2, offset=10) == ["M10", "M11"]
    assert await listed(api, limit=10, offset=58) == ["M58", "M59"]


async def test_an_empty_list_is_an_empty_body(api: httpx.AsyncClient) -> None:
    """No record matches: 200 and no line at all."""
    group = {"condition": "AND", "fieldFilters": [where("externalId", "nobody")]}
    assert await listed(api, filterGroups=[group]) == []


async def test_members_are_read_in_batches_by_id(api: httpx.AsyncClient) -> None:
    """An OR group of ids gives exactly those of the program; ids of other programs are left out."""
    ids = [where("id", f"id-{n}") for n in (7, 3, 40)] + [where("id", "nobody")]
    group = {"condition": "OR", "fieldFilters": ids}
    assert await listed(api, limit=-1, filterGroups=[group]) == ["M3", "M7", "M40"]


async def test_filters_by_value(api: httpx.AsyncClient) -> None:
    """Numbers are compared as numbers, metaData by key, groups joined by AND or, by switch, by OR."""
    points = {"condition": "AND", "fieldFilters": [where("points", "9", "gt"), where("points", "12", "lte")]}
    assert await listed(api, filterGroups=[points]) == ["M10", "M11", "M12"]
    row = {"condition": "AND", "fieldFilters": [where("metaData.row", "1")]}
    assert await listed(api, filterGroups=[points, row]) == ["M10"]
    like = {"condition": "AND", "fieldFilters": [where("externalId", "m5%", "like")]}
    assert "M5" in await listed(api, filterGroups=[like])


async def test_groups_of_filters(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """Groups of filters are joined by AND; by switch, by OR."""
    groups = [
        {"condition": "AND", "fieldFilters": [where("points", "3", "lt")]},
        {"condition": "AND", "fieldFilters": [where("points", "57", "gte")]},
    ]
    assert await listed(api, filterGroups=groups) == []
    await remote.options(group_join="or")
    assert len(await listed(api, filterGroups=groups)) == 6


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"filterField": "id", "filterValue": "x"}, "'FilterOperator' failed on the 'required' tag"),
        (where("shoeSize", "44"), "filter field [shoeSize] is not known"),
        (where("points", "44", "near"), "filter operator [near] is not known"),
        (where("created", "yesterday"), "neither a number nor a time"),
    ],
)
async def test_a_bad_filter_is_refused(api: httpx.AsyncClient, field: dict[str, str], text: str) -> None:
    """400 with the reason."""
    body = {"filters": {"filterGroups": [{"condition": "AND", "fieldFilters": [field]}]}}
    answer = await api.post(f"/members/member/list/{PROGRAM}", json=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]


async def test_filtering_by_id_can_be_switched_off(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """Where the list endpoint does not know `id`, a client must see 400 and read one by one."""
    await remote.options(filter_by_id=False)
    group = {"condition": "OR", "fieldFilters": [where("id", "id-1")]}
    answer = await api.post(f"/members/member/list/{PROGRAM}", json={"filters": {"filterGroups": [group]}})
    assert answer.status_code == 400
