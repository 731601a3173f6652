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
    """Sixty members of one program, five of another."""
    await remote.seed(
        {
            "id": f"id-{n}",
            "externalId": f"M{n}",
            "owner": PROGRAM,
        }
        for n in range(60)
    )
    await remote.seed({"id": f"other-{n}", "externalId": f"M{n}", "owner": "other"} for n in range(5))


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
    ids = [where("id", f"id-{n}") for n in (7, 3, 40)] + [where("id", "nobody"), where("id", "other-1")]
    group = {"condition": "OR", "fieldFilters": ids}
    assert await listed(api, limit=-1, filterGroups=[group]) == ["M3", "M7", "M40"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"filterField": "id", "filterValue": "x"}, "'FilterOperator' failed on the 'required' tag"),
        (where("shoeSize", "44"), "filter field [shoeSize] is not known"),
        (where("id", "44", "near"), "filter operator [near] is not known"),
    ],
)
async def test_a_bad_filter_is_refused(api: httpx.AsyncClient, field: dict[str, str], text: str) -> None:
    """400 with the reason."""
    body = {"filters": {"filterGroups": [{"condition": "AND", "fieldFilters": [field]}]}}
    answer = await api.post(f"/members/member/list/{PROGRAM}", json=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]


async def test_groups_of_filters(api: httpx.AsyncClient) -> None:
    """Within a group the condition decides, several groups must all hold; an empty one holds for all."""
    ids = [where("id", "id-1"), where("externalId", "M2")]
    either, both = ({"condition": word, "fieldFilters": ids} for word in ("OR", "AND"))
    assert await listed(api, filterGroups=[either]) == ["M1", "M2"]
    assert await listed(api, filterGroups=[both]) == []
    second = {"condition": "AND", "fieldFilters": ids[1:]}
    assert await listed(api, filterGroups=[either, second]) == ["M2"]
    assert len(await listed(api, limit=-1, filterGroups=[{"condition": "AND"}])) == 60


async def test_filtering_by_id_can_be_switched_off(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """Where the list endpoint does not know `id`, a client must see 400 and read one by one."""
    await remote.options(filter_by_id=False)
    group = {"condition": "OR", "fieldFilters": [where("id", "id-1")]}
    answer = await api.post(f"/members/member/list/{PROGRAM}", json={"filters": {"filterGroups": [group]}})
    assert answer.status_code == 400
