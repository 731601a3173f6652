from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from passbell.devkit.sandbox.remote import AsyncRemote

PROGRAM = "program-1"
Push = Callable[..., Any]


async def read(api: httpx.AsyncClient, record: str) -> dict[str, Any]:
    answer = await api.get(f"/members/member/id/{record}")
    assert answer.status_code == 200
    data: dict[str, Any] = answer.json()
    return data


pytestmark = pytest.mark.usefixtures("members")


async def test_a_member_is_found_by_both_ids(api: httpx.AsyncClient) -> None:
    """By PassKit id, and by own id within the program; unset fields come with their defaults."""
    member = await read(api, "id-2")
    assert (await api.get(f"/members/member/externalId/{PROGRAM}/M2")).json() == member
    assert member["metaData"] == {"seat": "2A"}
    assert member["points"] == 100
    assert member["optOut"] is False
    assert member["expiryDate"] is None
    assert member["passMetaData"]["status"] == "PASS_INSTALLED"


async def test_an_update_replaces_the_whole_meta_data(api: httpx.AsyncClient) -> None:
    """PUT of one key wipes the others and leaves the top-level fields alone."""
    answer = await api.put("/members/member", json={"id": "id-1", "metaData": {"marketingMessage": "Hi"}})
    assert answer.status_code == 200
    assert answer.json() == {"id": "id-1"}
    member = await read(api, "id-1")
    assert member["metaData"] == {"marketingMessage": "Hi"}
    assert member["points"] == 100
    assert member["person"]["displayName"] == "Ann 1"


async def test_meta_data_can_be_merged_instead(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """The switch metadata=merge keeps the other keys."""
    await remote.options(metadata="merge")
    await api.put("/members/member", json={"id": "id-1", "metaData": {"marketingMessage": "Hi"}})
    assert (await read(api, "id-1"))["metaData"] == {"seat": "1A", "marketingMessage": "Hi"}


async def test_a_member_is_addressed_by_own_id_and_program(api: httpx.AsyncClient) -> None:
    """ExternalId needs programId beside it."""
    body = {"externalId": "M3", "metaData": {"a": "b"}}
    answer = await api.put("/members/member", json=body)
    assert answer.status_code == 400
    assert "'ProgramId' failed on the 'required' tag" in answer.json()["error"]
    answer = await api.put("/members/member", json={**body, "programId": PROGRAM})
    assert answer.json() == {"id": "id-3"}


async def test_falsy_fields_are_ignored_unless_put_is_asked_for(api: httpx.AsyncClient) -> None:
    """Zero points and empty metaData change nothing; OPERATION_PUT stores exactly what is sent."""
    await api.put("/members/member", json={"id": "id-1", "points": 0, "metaData": {}, "optOut": True})
    member = await read(api, "id-1")
    assert (member["points"], member["metaData"], member["optOut"]) == (100, {"seat": "1A"}, True)
    await api.put("/members/member", json={"id": "id-1", "operation": "OPERATION_PUT", "optOut": False})
    member = await read(api, "id-1")
    assert (member["points"], member["metaData"], member["optOut"]) == (0, {}, False)
    assert member["externalId"] == "M1"


async def test_unknown_fields_are_dropped_without_a_word(api: httpx.AsyncClient) -> None:
    """ChangeMessage and text in passOverrides answer 200, and no phone is told."""
    body = {"id": "id-1", "changeMessage": "Hi", "passOverrides": {"marketingMessage": "Hi", "links": []}}
    assert (await api.put("/members/member", json=body)).status_code == 200
    member = await read(api, "id-1")
    assert "changeMessage" not in member
    assert member["passOverrides"] == {"links": []}


@pytest.mark.parametrize(
    ("field", "value", "token"),
    [
        ("metaData", {"seat": 12}, "12"),
        ("metaData", [{"key": "a", "value": "b"}], '[{"key":"a","value":"b"}]'),
        ("points", "many", '"many"'),
        ("optOut", "yes", '"yes"'),
        ("expiryDate", {"seconds": 1}, '{"seconds":1}'),
        ("status", "SLEEPING", '"SLEEPING"'),
    ],
)
async def test_a_wrong_shape_is_a_syntax_error(
    api: httpx.AsyncClient, field: str, value: Any, token: str
) -> None:
    """The error names the value and where it stands, not the field; nothing is stored."""
    body = json.dumps({"id": "id-1", field: value}, separators=(",", ":"))
    answer = await api.put("/members/member", content=body)
    assert answer.status_code == 400
    place = int(answer.json()["error"].split("1:")[1].split(")")[0])
    assert answer.json()["error"] == f"proto: syntax error (line 1:{place}): unexpected token {token}"
    assert (await read(api, "id-1"))["metaData"] == {"seat": "1A"}


async def test_broken_json_is_a_syntax_error(api: httpx.AsyncClient) -> None:
    """A body that is not JSON answers 400 in the gateway's words."""
    answer = await api.put("/members/member", content=b'{"id": nope}')
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("proto: syntax error (line 1:")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PATCH", "/members/member", 501),
        ("GET", "/members/member", 501),
        ("PUT", "/members/member/id/id-1", 501),
        ("GET", "/members/member/id-1", 404),
        ("POST", "/passes/push", 404),
        ("GET", "/members/member/id/nobody", 404),
        ("POST", "/members/member/list/nobody", 404),
    ],
)
async def test_unknown_paths_and_verbs(api: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    """An unknown path is 404, a known one with another verb 501; both with an error text."""
    answer = await api.request(method, path, json={})
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


async def test_an_unknown_member_is_404(api: httpx.AsyncClient) -> None:
    """An unknown member is 404, and the text names its id."""
    answer = await api.put("/members/member", json={"id": "nobody", "metaData": {"a": "b"}})
    assert answer.status_code == 404
    assert answer.json() == {"error": "member with id[nobody] does not exist"}


async def test_coupons_have_their_own_endpoints(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """A coupon is read, listed and updated by id or by own id and campaign, and rings."""
    await remote.seed([{"id": "c-1", "externalId": "C1", "owner": "camp", "kind": "coupon"}])
    for who in ({"id": "c-1"}, {"externalId": "C1", "campaignId": "camp"}):
        body = {**who, "metaData": {"marketingMessage": f"by {min(who)}"}}
        assert (await api.put("/coupon/singleUse/coupon", json=body)).json() == {"id": "c-1"}
    coupon = (await api.get("/coupon/singleUse/coupon/c-1")).json()
    assert (await api.get("/coupon/singleUse/coupon/externalId/camp/C1")).json() == coupon
    assert (coupon["status"], coupon["campaignId"]) == ("UNREDEEMED", "camp")
    listed = await api.post("/coupon/singleUse/coupons/list/camp", json={})
    assert json.loads(listed.text)["result"]["id"] == "c-1"
    assert [buzz["text"] for buzz in await remote.buzzes()] == ["by id", "by campaignId"]


async def test_tickets_have_their_own_endpoints(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """A ticket is addressed by id or by number and production, and rings."""
    await remote.seed([{"id": "t-1", "externalId": "T1", "owner": "show", "kind": "ticket"}])
    for who in ({"id": "t-1"}, {"ticketNumber": "T1", "event": {"production": {"id": "show"}}}):
        body = {**who, "metaData": {"marketingMessage": f"by {min(who)}"}, "optOut": "OFF"}
        assert (await api.put("/eventTickets/ticket", json=body)).json() == {"id": "t-1"}
    ticket = (await api.get("/eventTickets/ticket/id/t-1")).json()
    query = {"productionId": "show", "ticketNumber": "T1"}
    assert (await api.get("/eventTickets/ticket/ticketNumber", params=query)).json() == ticket
    assert (ticket["ticketNumber"], ticket["optOut"]) == ("T1", "OFF")
    assert len(await remote.buzzes()) == 2
    wrong = await api.get("/members/member/id/t-1")
    assert wrong.status_code == 404


async def test_the_template_tells_which_field_rings(api: httpx.AsyncClient) -> None:
    """From the program over its tier to the template: a check finds the field with %@."""
    assert (await api.get(f"/members/program/{PROGRAM}")).json()["id"] == PROGRAM
    tiers = await api.post("/members/tiers/list", json={"programId": PROGRAM})
    template = json.loads(tiers.text)["result"]["passTemplateId"]
    fields = (await api.get(f"/template/data/{template}")).json()["template"]["data"]["dataFields"]
    ringing = {
        field["uniqueName"]: field["appleWalletFieldRenderOptions"]["changeMessage"]
        for field in fields
        if field["appleWalletFieldRenderOptions"]["changeMessage"]
    }
    assert ringing == {"meta.marketingMessage": "%@"}


async def test_errors_can_take_the_gateways_shape(api: httpx.AsyncClient, remote: AsyncRemote) -> None:
    """The switch error_shape gives the bodies of a newer gateway."""
    await remote.options(error_shape="gateway")
    text = "member with id[x] does not exist"
    assert (await api.get("/members/member/id/x")).json() == {"code": 5, "message": text, "details": []}
