"""C1, C2: PassKit's published types judge every request of the client and every answer of the sandbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from passbell.devkit.sandbox import Sandbox, messages
from passbell.devkit.sandbox.handlers import _TABLE
from passbell.devkit.sandbox.remote import AsyncRemote
from passbell.passkit import Credentials, PassKit, Recipient, Verdict
from passbell.passkit.recipient import PROTOCOLS
from passbell.passkit.transport import open_transport
from passbell.passkit.wire import UNPACED
from support.plain import plain_async_client
from support.published import Exchange, field_names, judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from passbell.passkit.wire import Caller

ID = "4nfKsRyMoc1iUaFAURL7P%d"
KINDS = {"member": "MEMBERSHIP", "coupon": "COUPON", "ticket": "EVENT_TICKET"}
TEMPLATES = {"member": 1, "coupon": 2, "ticket": 2}
TEMPLATE = ID % 5
FIELDS = [
    {"name": "custom.news", "default": "${meta.marketingMessage}", "localizedChangeMessage": {"EN": "%@"}},
    {"name": "members.member.points", "changeMessage": "%@ points"},
]
ACCOUNT = Credentials(token="sandbox-token")


class Recorder:
    """A transport that keeps what passes through it."""

    def __init__(self, url: str) -> None:
        self.inner = open_transport(url, concurrency=4)
        self.exchanges: list[Exchange] = []

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        *,
        caller: Caller = UNPACED,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """As the transport inside."""
        status, received, content = await self.inner.request(
            method, path, body, headers, deadline, caller=caller
        )
        self.exchanges.append(Exchange(method, path, (body or b"").decode(), content.decode(), status))
        return status, received, content

    async def aclose(self) -> None:
        """Close the transport inside."""
        await self.inner.aclose()


def owner(kind: str) -> str:
    """PassKit's id of the program, campaign or production of a kind."""
    return ID % list(KINDS).index(kind)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose errors have a type, with a full record of each kind."""
    async with Sandbox() as sandbox, AsyncRemote(sandbox.url) as remote:
        await remote.options(error_shape="gateway")
        person = {"forename": "Ann", "surname": "Lee", "gender": "FEMALE", "dateOfBirth": {"year": 1990}}
        await remote.seed(
            [
                {
                    "owner": owner(kind),
                    "kind": kind,
                    "id": ID % (7 + number),
                    "externalId": "X 1/ü",
                    "metaData": {"seat": "window"},
                    "person": person,
                    "optOut": "ON" if kind == "ticket" else True,
                    **(
                        {"ticketType": {"id": "t", "beforeRedeemPassTemplateId": "b"}}
                        if kind == "ticket"
                        else {}
                    ),
                    **({"points": 1.5, "tierPoints": 7} if kind == "member" else {}),
                }
                for number, kind in enumerate(KINDS)
            ],
            [
                {
                    "id": owner(kind),
                    "kind": kind,
                    "name": "Tea",
                    "template": TEMPLATE,
                    "fields": FIELDS,
                    "afterFields": [],
                }
                for kind in KINDS
            ],
        )
        yield sandbox


async def test_c2_every_request_and_answer_of_the_client_parses(sandbox: Sandbox) -> None:
    """Each request and answer of the client parses as PassKit's published message."""
    recorder = Recorder(sandbox.url)
    async with PassKit(sandbox.url, ACCOUNT, transport=recorder) as passkit:
        for number, (kind, protocol) in enumerate(KINDS.items()):
            for record_id, external in (
                (ID % (7 + number), ""),
                (None, "X 1/ü"),
                ("0" * 22, ""),
                (None, "?"),
            ):
                one = Recipient("p", protocol, record_id, external, owner(kind))
                found = bool(record_id and record_id != "0" * 22) or external == "X 1/ü"
                read = (await passkit.read_metadata([one]))["p"]
                assert isinstance(read, dict) is found
                pushed = await passkit.push(one, "héllo 🎂", read if isinstance(read, dict) else None)
                assert (pushed.verdict is Verdict.SENT) is found
                many = [one, *(Recipient(f"p{n}", protocol, ID % n, None, owner(kind)) for n in range(9))]
                await passkit.read_metadata(many)
            assert not await passkit.lacks(protocol, owner(kind))
            assert await passkit.lacks(protocol, "0" * 22)
            templates = await passkit.templates(protocol, owner(kind))
            assert templates is not None
            assert len(templates) == TEMPLATES[kind]
        assert (await passkit.probe()).verdict is Verdict.SENT
        assert set(KINDS.values()) == set(PROTOCOLS)
    wrong = {word for word in judge(recorder.exchanges) if word}
    assert wrong == set()
    routes = {(one.method, one.path.split("/")[1]) for one in recorder.exchanges if one.status == 200}
    assert {("PUT", "members"), ("PUT", "coupon"), ("PUT", "eventTickets"), ("GET", "template")} <= routes


MEMBER, COUPON, TICKET = (owner(kind) for kind in KINDS)
OWN = "X%201%2F%C3%BC"
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/members/member", {"id": ID % 7, "points": 2}),
    ("GET", f"/members/member/id/{ID % 7}", {}),
    ("GET", f"/members/member/externalId/{MEMBER}/{OWN}", {}),
    ("POST", f"/members/member/list/{MEMBER}", {"filters": {"limit": -1}}),
    ("GET", f"/members/program/{MEMBER}", {}),
    ("POST", "/members/tiers/list", {"programId": MEMBER}),
    ("PUT", "/coupon/singleUse/coupon", {"id": ID % 8, "status": "REDEEMED"}),
    ("GET", f"/coupon/singleUse/coupon/{ID % 8}", {}),
    ("GET", f"/coupon/singleUse/coupon/externalId/{COUPON}/{OWN}", {}),
    ("POST", f"/coupon/singleUse/coupons/list/{COUPON}", {}),
    ("GET", f"/coupon/singleUse/campaign/{COUPON}", {}),
    ("POST", "/coupon/singleUse/offers/list", {"campaignId": COUPON}),
    ("PUT", "/eventTickets/ticket", {"id": ID % 9, "seatInfo": {"seat": "9"}}),
    ("GET", f"/eventTickets/ticket/id/{ID % 9}", {}),
    ("GET", f"/eventTickets/ticket/ticketNumber?productionId={TICKET}&ticketNumber={OWN}", {}),
    ("POST", "/eventTickets/tickets/list", {"productionId": TICKET}),
    ("GET", f"/eventTickets/production/{TICKET}", {}),
    ("POST", f"/eventTickets/ticketTypes/{TICKET}", {}),
    ("GET", f"/template/data/{TEMPLATE}", {}),
]


@pytest.mark.parametrize("defaults", [True, False])
async def test_c2_every_answer_of_the_sandbox_parses(sandbox: Sandbox, *, defaults: bool) -> None:
    """Each call that the sandbox acts out, with and without defaults, answers in PassKit's published shape."""
    headers = {"Authorization": "Bearer sandbox-token"}
    exchanges = []
    async with (
        plain_async_client(base_url=sandbox.url, headers=headers) as http,
        AsyncRemote(sandbox.url) as remote,
    ):
        await remote.options(emit_defaults=defaults)
        for method, path, body in CALLS:
            text = "" if method == "GET" else json.dumps(body)
            answer = await http.request(method, path, content=text or None)
            assert (answer.status_code, bool(answer.text)) == (200, True), (method, path, answer.text)
            exchanges.append(Exchange(method, path, text, answer.text))
        called = {call["route"] for call in await remote.calls()}
    assert {word for word in judge(exchanges) if word} == set()
    assert {f"{verb} {path}" for verb, path, _ in _TABLE} - called == set()


REFUSED: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", f"/members/member/id/{ID % 99}", {}, 404),
    ("GET", f"/members/member/externalId/{MEMBER}/unknown%20%E2%9C%93", {}, 404),
    ("GET", f"/coupon/singleUse/coupon/externalId/{COUPON}/none", {}, 404),
    ("GET", f"/eventTickets/ticket/ticketNumber?productionId={TICKET}&ticketNumber=none", {}, 404),
    ("GET", f"/template/data/{ID % 98}", {}, 404),
    ("PUT", "/members/member", {"id": ID % 99, "metaData": {"a": "b"}}, 404),
    ("PUT", "/members/member", {"externalId": "X 1/ü"}, 400),
    ("PUT", "/coupon/singleUse/coupon", {"campaignId": COUPON, "externalId": "none"}, 404),
]


async def test_c2_every_refusal_of_the_sandbox_parses(sandbox: Sandbox) -> None:
    """What is not found, incomplete or unsigned is answered with PassKit's error message and nothing else."""
    exchanges = []
    async with plain_async_client(base_url=sandbox.url) as http:
        for token, calls in (("sandbox-token", REFUSED), ("wrong", CALLS[:3])):
            for method, path, body, *expected in calls:
                text = "" if method == "GET" else json.dumps(body)
                headers = {"Authorization": f"Bearer {token}"}
                answer = await http.request(method, path, content=text or None, headers=headers)
                assert answer.status_code == (expected or [401])[0], (method, path, answer.text)
                exchanges.append(Exchange(method, path, text, answer.text, answer.status_code))
    assert {word for word in judge(exchanges) if word} == set()


async def test_c2_a_record_written_in_full_is_shown_in_full(sandbox: Sandbox) -> None:
    """Dates, a birthday, maps, switches: what PassKit's types take in an update they also read in the answer."""
    headers = {"Authorization": "Bearer sandbox-token"}
    born = {"year": 1990, "month": 4, "day": 3}
    person = {"displayName": "Bo Öz", "emailAddress": "bo@example.com", "mobileNumber": "+905321234567"}
    more = {
        "metaData": {"marketingMessage": "Hi 🎂", "": "", "a b": "ü"},
        "person": {**person, "dateOfBirth": born},
    }
    updates: list[tuple[str, dict[str, Any], str]] = [
        ("/members/member", {"id": ID % 7, "points": 0.5, "tierPoints": 1e6}, f"/members/member/id/{ID % 7}"),
        ("/coupon/singleUse/coupon", {"id": ID % 8, "sku": "S"}, f"/coupon/singleUse/coupon/{ID % 8}"),
        (
            "/eventTickets/ticket",
            {"id": ID % 9, "orderNumber": "7", "seatInfo": {"row": "A"}},
            f"/eventTickets/ticket/id/{ID % 9}",
        ),
    ]
    exchanges = []
    async with plain_async_client(base_url=sandbox.url, headers=headers) as http:
        for path, update, shown in updates:
            body = json.dumps({**update, **more, "expiryDate": "2031-02-28T23:59:59Z"})
            written = await http.put(path, content=body)
            assert written.status_code == 200, written.text
            read = await http.get(shown)
            assert read.json()["metaData"]["marketingMessage"] == "Hi 🎂"
            assert read.json()["person"]["displayName"] == "Bo Öz"
            exchanges += [Exchange("PUT", path, body, written.text), Exchange("GET", shown, "", read.text)]
    assert {word for word in judge(exchanges) if word} == set()


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        (Exchange("PATCH", "/members/member", "{}"), "no route PATCH /members/member"),
        (Exchange("PUT", "/members/member/id/x", "{}"), "no route PUT"),
        (Exchange("PUT", "/members/member", '{"id": "x", "message": "hi"}'), 'no field named "message"'),
        (Exchange("PUT", "/members/member", '{"metaData": {"n": 1}}'), "metaData"),
        (Exchange("PUT", "/eventTickets/ticket", '{"productionId": "x"}'), "productionId"),
        (Exchange("GET", "/template/data/x", "{}"), "takes no body"),
        (Exchange("GET", "/template/data/x", "", '{"id": "x", "data": {"dataFields": []}}'), '"id"'),
        (Exchange("GET", "/members/program/x", "", '{"id": "x", "uid": ""}'), '"uid"'),
        (
            Exchange("POST", "/eventTickets/tickets/list", "{}", '{"result": {"event": {"production": {}}}}'),
            "production",
        ),
        (Exchange("POST", "/members/tiers/list", "{}", '{"id": "base"}'), "a line is not"),
        (Exchange("PUT", "/members/member", "{}", '{"id": "x", "ok": true}'), '"ok"'),
    ],
)
def test_the_judge_refuses_what_passkit_does_not_know(exchange: Exchange, words: str) -> None:
    """A wrong route, field, value or shape is found: these tests can fail."""
    assert words in judge([exchange])[0]


def test_the_sandbox_reads_no_field_that_passkit_lacks() -> None:
    """Each field that the sandbox reads of a request is in PassKit's published message."""
    pairs = {
        "members.Member": messages.MEMBER,
        "single_use_coupons.Coupon": messages.COUPON,
        "event_tickets.Ticket": messages.TICKET,
    }
    for known, read in zip(field_names(*pairs), pairs.values(), strict=True):
        assert set(read) <= known
