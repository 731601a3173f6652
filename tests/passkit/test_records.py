"""Reading what many passes hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from passbell.passkit import Answer, Recipient, Verdict
from support.scripted import MakeClient, Reply, Request, Server

if TYPE_CHECKING:
    from collections.abc import Callable

LIST = "/members/member/list/prog"


def member(n: int, **changes: Any) -> Recipient:
    given = {"passkit_id": f"id{n}", "external_id": f"card-{n}", "passkit_program_id": "prog"} | changes
    return Recipient(f"pass{n}", "MEMBERSHIP", **given)


def record(n: int) -> dict[str, Any]:
    return {"id": f"id{n}", "externalId": f"card-{n}", "points": 7, "metaData": {"n": str(n), "vip": "yes"}}


def lines(*rows: Any) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


class Records:
    """A PassKit with records 0 to 299 whose list endpoint a test may spoil."""

    def __init__(self) -> None:
        self.on_list: Callable[[Request], Reply] | None = None
        self.on_get: Callable[[Request], Reply] | None = None

    def wanted(self, request: Request) -> list[dict[str, str]]:
        """The filters that a list request carries."""
        (group,) = request.json["filters"]["filterGroups"]
        filters: list[dict[str, str]] = group["fieldFilters"]
        return filters

    def rows(self, request: Request) -> list[dict[str, Any]]:
        """What a faithful list answers."""
        assert request.json["filters"]["limit"] == len(self.wanted(request))
        numbers = [
            int(f["filterValue"].removeprefix("id").removeprefix("card-")) for f in self.wanted(request)
        ]
        return [{"result": record(n)} for n in numbers if n < 300]

    def __call__(self, request: Request) -> Reply:
        """Answer one request."""
        if request.method == "POST":
            return self.on_list(request) if self.on_list else Reply(body=lines(*self.rows(request)))
        if self.on_get:
            return self.on_get(request)
        n = int(request.path.rpartition("/")[2].removeprefix("id").removeprefix("card-"))
        if n >= 300:
            return Reply(404, {"error": f"member with id[{n}] does not exist"})
        return Reply(body=record(n))


@pytest.fixture
def records(server: Server) -> Records:
    records = Records()
    server.script = records
    return records


def verbs(server: Server) -> list[str]:
    seen = [request.method for request in server.requests]
    server.requests.clear()
    return seen


def answers(maps: dict[str, dict[str, str] | Answer]) -> list[Answer]:
    """The answer for every record, none of which has a map."""
    found = [answer for answer in maps.values() if isinstance(answer, Answer)]
    assert len(found) == len(maps)
    return found


async def test_a_hundred_records_cost_one_request(
    client: MakeClient, server: Server, records: Records
) -> None:
    """The maps of 250 members are read in three requests."""
    people = [member(n) for n in range(250)]
    maps = await client().read_metadata(people)

    assert maps == {f"pass{n}": {"n": str(n), "vip": "yes"} for n in range(250)}
    assert [request.path for request in server.requests] == [LIST] * 3
    firsts = {records.wanted(request)[0]["filterValue"] for request in server.requests}
    assert firsts == {"id0", "id100", "id200"}, "they are under way at once, so in any order"
    asked = [one for request in server.requests for one in records.wanted(request)]
    assert {(one["filterField"], one["filterOperator"]) for one in asked} == {("id", "eq")}
    assert sorted(len(records.wanted(request)) for request in server.requests) == [50, 100, 100]


async def test_members_without_a_passkit_id_are_listed_by_external_id(
    client: MakeClient, server: Server, records: Records
) -> None:
    """The external id is the second key."""
    maps = await client().read_metadata([member(1, passkit_id=None), member(2, passkit_id=None)])
    assert set(maps) == {"pass1", "pass2"}
    assert maps["pass1"] == {"n": "1", "vip": "yes"}
    assert records.wanted(server.requests[0])[0]["filterField"] == "externalId"


async def test_coupons_are_listed_by_campaign(client: MakeClient, server: Server) -> None:
    """Coupons have their own list endpoint."""
    server.script = lambda _: Reply(body=lines({"result": {"id": "c1", "metaData": {"a": "b"}}}))
    maps = await client().read_metadata([Recipient("p", "COUPON", "c1", None, "camp")])
    assert maps == {"p": {"a": "b"}}
    assert server.requests[0].path == "/coupon/singleUse/coupons/list/camp"


@pytest.mark.parametrize(
    ("recipient", "path", "body"),
    [
        (Recipient("p", "EVENT_TICKET", "t/1", None, "show"), "/eventTickets/ticket/id/t%2F1", {"id": "t/1"}),
        (
            Recipient("p", "EVENT_TICKET", None, "A&1 +#", "show"),
            "/eventTickets/ticket/ticketNumber?productionId=show&ticketNumber=A%261%20%2B%23",
            {"id": "x", "ticketNumber": "A&1 +#"},
        ),
        (Recipient("p", "COUPON", "c1", None, None), "/coupon/singleUse/coupon/c1", {"id": "c1"}),
        (
            Recipient("p", "MEMBERSHIP", "ä?#%2F", None, None),
            "/members/member/id/%C3%A4%3F%23%252F",
            {"id": "ä?#%2F"},
        ),
    ],
)
async def test_records_that_have_no_list(
    client: MakeClient, server: Server, recipient: Recipient, path: str, body: Any
) -> None:
    """Tickets, and passes without a program, are read one by one, whatever characters their ids have."""
    server.script = lambda _: Reply(body={**body, "metaData": {"a": "b"}})
    assert await client().read_metadata([recipient]) == {"p": {"a": "b"}}
    assert [(request.method, request.path) for request in server.requests] == [("GET", path)]


async def test_external_id_read_alone(client: MakeClient, server: Server) -> None:
    """If the list fails, an external id is read by its own path."""
    server.script = lambda request: (
        Reply(404, {"error": "Not Found"})
        if request.method == "POST"
        else Reply(body={"externalId": "a/b", "metaData": None})
    )
    assert await client().read_metadata([Recipient("p", "MEMBERSHIP", None, "a/b", "prog")]) == {"p": {}}
    assert server.requests[1].path == "/members/member/externalId/prog/a%2Fb"


@pytest.mark.parametrize("status", [400, 404, 409, 500, 501])
async def test_a_list_that_is_not_there(
    client: MakeClient, server: Server, records: Records, status: int
) -> None:
    """A list that fails is replaced by single reads, and not asked again for ten minutes.

    A 500 has three tries, and rests only ten seconds the first time.
    """
    now = [1_800_000_000.0]
    records.on_list = lambda _: Reply(status, {"error": {"message": "no such thing"}})
    passkit = client(clock=lambda: now[0])
    people = [member(n) for n in range(3)]

    maps = await passkit.read_metadata(people)
    assert maps["pass2"] == {"n": "2", "vip": "yes"}
    assert verbs(server) == ["POST"] * (3 if status == 500 else 1) + ["GET", "GET", "GET"]
    await passkit.read_metadata(people)
    assert verbs(server) == ["GET", "GET", "GET"]
    now[0] += 11 if status == 500 else 601
    records.on_list = None
    await passkit.read_metadata(people)
    assert verbs(server) == ["POST"]


async def test_one_programs_list_does_not_spoil_anothers(
    client: MakeClient, server: Server, records: Records
) -> None:
    """A program id that PassKit does not know costs only its own list."""
    records.on_list = lambda request: (
        Reply(404, {"error": "program does not exist"})
        if request.path.endswith("/wrong")
        else Reply(body=lines(*records.rows(request)))
    )
    passkit = client()
    await passkit.read_metadata([member(1, passkit_program_id="wrong"), member(2)])
    server.requests.clear()
    await passkit.read_metadata([member(1, passkit_program_id="wrong"), member(2)])
    assert sorted(verbs(server)) == ["GET", "POST"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b'[{"result":{"id":"id1"}}]',
        b'{"members":[]}\n',
        b'{"result":"id1"}\n',
        b'{"result":null}\n',
    ],
)
async def test_a_list_of_another_shape(
    client: MakeClient, server: Server, records: Records, body: Any
) -> None:
    """An unreadable list is replaced by single reads and remembered."""
    records.on_list = lambda _: Reply(body=body)
    passkit = client()
    assert (await passkit.read_metadata([member(1)])) == {"pass1": {"n": "1", "vip": "yes"}}
    await passkit.read_metadata([member(1)])
    assert verbs(server) == ["POST", "GET", "GET"]


async def test_a_list_that_finds_nobody(client: MakeClient, server: Server, records: Records) -> None:
    """An empty list is doubted: who is found by a single read proves that the filter does not work."""
    records.on_list = lambda _: Reply(body=b"")
    passkit = client()
    maps = await passkit.read_metadata([member(1), member(2)])
    assert maps["pass1"] == {"n": "1", "vip": "yes"}
    await passkit.read_metadata([member(1)])
    assert verbs(server) == ["POST", "GET", "GET", "GET"]


@pytest.mark.usefixtures("records")
async def test_members_who_are_not_there(client: MakeClient, server: Server) -> None:
    """Missing from the list and missing alone: not found. The list is still trusted."""
    passkit = client()
    maps = await passkit.read_metadata([member(1), member(999)])
    assert maps["pass1"] == {"n": "1", "vip": "yes"}
    assert maps["pass999"] == Answer(
        Verdict.NOT_FOUND, 404, "PassKit answered 404: member with id[999] does not exist"
    )
    await passkit.read_metadata([member(998), member(999)])
    await passkit.read_metadata([member(1)])
    assert verbs(server) == ["POST", "GET", "POST", "GET", "GET", "POST"]


async def test_a_list_that_ignores_the_filter(client: MakeClient, server: Server, records: Records) -> None:
    """Rows of strangers are not mixed up with ours, and the list is left alone afterwards."""
    records.on_list = lambda _: Reply(body=lines(*({"result": record(n)} for n in range(200))))
    passkit = client()
    maps = await passkit.read_metadata([member(3), member(250)])
    assert maps == {"pass3": {"n": "3", "vip": "yes"}, "pass250": {"n": "250", "vip": "yes"}}
    await passkit.read_metadata([member(3)])
    assert verbs(server)[0] == "POST"
    assert "POST" not in verbs(server)


async def test_a_list_without_end(client: MakeClient, server: Server, records: Records) -> None:
    """A server that lists a million strangers is left after a megabyte; what was ours counts."""
    row = lines({"result": {**record(1), "pad": "x" * 1000}})
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800000\r\n"
    records.on_list = lambda _: Reply(raw=head + row + lines({"result": {"id": "other"}}) * 50_000, hang=True)
    passkit = client(timeout=60.0)
    maps = await passkit.read_metadata([member(1), member(2)])
    assert maps == {"pass1": {"n": "1", "vip": "yes"}, "pass2": {"n": "2", "vip": "yes"}}
    await passkit.read_metadata([member(1)])
    assert verbs(server) == ["POST", "GET", "GET"]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(429, Verdict.THROTTLED), (401, Verdict.REFUSED), (403, Verdict.REFUSED), (503, Verdict.RETRY)],
)
async def test_trouble_of_the_account_stops_a_read(
    client: MakeClient, server: Server, records: Records, status: int, verdict: Verdict
) -> None:
    """Throttled, refused or down: everybody gets that answer and no storm of single reads follows."""
    records.on_list = lambda _: Reply(status, {"error": "no"}, {"Retry-After": "2"})
    passkit = client(concurrency=1)
    people = [member(n) for n in range(250)] + [Recipient("t", "EVENT_TICKET", "t", None, None)]
    maps = await passkit.read_metadata(people)
    assert set(maps.values()) == {Answer(verdict, status, f"PassKit answered {status}: no", 2.0)}
    assert len(maps) == 251
    assert verbs(server) == ["POST"] * (3 if status == 503 else 1)


@pytest.mark.parametrize("status", [429, 401, 503])
async def test_trouble_during_single_reads_stops_them(
    client: MakeClient, server: Server, records: Records, status: int
) -> None:
    """The same during single reads: the rest is not asked."""
    records.on_list = lambda _: Reply(501, {"error": "Method Not Allowed"})
    records.on_get = lambda _: Reply(status, {"error": "no"})
    maps = await client(concurrency=2).read_metadata([member(n) for n in range(50)])
    assert {answer.http_status for answer in answers(maps)} == {status}
    assert len(server.requests) <= 3


async def test_network_trouble_in_a_row_stops_single_reads(
    client: MakeClient, server: Server, records: Records
) -> None:
    """One broken connection is one member's; ten in a row mean that PassKit is down."""
    records.on_list = lambda _: Reply(501, {"error": "Method Not Allowed"})
    records.on_get = lambda _: Reply(raw=b"", cut=True)
    maps = await client(concurrency=1).read_metadata([member(n) for n in range(50)])
    assert {(answer.verdict, answer.answered) for answer in answers(maps)} == {(Verdict.RETRY, False)}
    assert len(server.requests) == 11


async def test_a_list_that_always_breaks_off_does_not_stop_a_campaign(
    client: MakeClient, server: Server, records: Records
) -> None:
    """If two lists in a row break off, records are read one by one, and the campaign goes on."""
    records.on_list = lambda _: Reply(raw=b"", cut=True)
    passkit = client()
    for _ in range(2):
        maps = await passkit.read_metadata([member(1), member(2)])
        assert {answer.verdict for answer in answers(maps)} == {Verdict.RETRY}
    assert (await passkit.read_metadata([member(1)])) == {"pass1": {"n": "1", "vip": "yes"}}
    assert verbs(server) == ["POST"] * 6 + ["GET"]


async def test_a_list_that_never_works_rests_longer_each_time(
    client: MakeClient, server: Server, records: Records
) -> None:
    """10, 40, 160 seconds, then ten minutes: a list that fails for good costs next to nothing."""
    now = [1_800_000_000.0]
    records.on_list = lambda _: Reply(500, {"error": "no"})
    passkit = client(clock=lambda: now[0])
    for rest in (10, 40, 160, 600, 600):
        await passkit.read_metadata([member(1)])
        assert verbs(server) == ["POST", "GET"]
        now[0] += rest - 1
        await passkit.read_metadata([member(1)])
        assert verbs(server) == ["GET"]
        now[0] += 2


@pytest.mark.parametrize(
    "bad",
    [
        Reply(503, {"error": "no"}),
        Reply(500, {"error": "no"}),
        Reply(raw=b"", cut=True),
        Reply(body=b'{"result":{"id":"id1","metaData":{"n"'),
        Reply(body=lines({"error": {"code": 14, "message": "upstream gone"}})),
    ],
    ids=["503", "500", "cut", "half a line", "error line"],
)
async def test_a_list_that_fails_once_is_asked_again(
    client: MakeClient, server: Server, records: Records, bad: Reply
) -> None:
    """PassKit's faults at 20 %, malformed and 500, merge: one bad list cost single reads for ten minutes."""
    replies = iter([bad])
    records.on_list = lambda request: next(replies, None) or Reply(body=lines(*records.rows(request)))
    passkit = client()
    people = [member(1), member(2)]
    for _ in range(2):
        assert set(await passkit.read_metadata(people)) == {"pass1", "pass2"}
    assert (await passkit.read_metadata(people))["pass2"] == {"n": "2", "vip": "yes"}
    assert verbs(server) == ["POST"] * 4


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ({"code": 14, "message": "upstream gone"}, Verdict.RETRY),
        ({"grpc_code": 13, "http_code": 500, "message": "upstream gone"}, Verdict.RETRY),
        ("upstream gone", Verdict.RETRY),
        ({"code": 8, "message": "upstream gone"}, Verdict.THROTTLED),
        ({"code": 16, "message": "upstream gone"}, Verdict.REFUSED),
    ],
)
async def test_an_error_in_the_middle_of_a_list(
    client: MakeClient, server: Server, records: Records, error: Any, verdict: Verdict
) -> None:
    """Records before the error line count; the others are told why not, without single reads."""
    records.on_list = lambda _: Reply(body=lines({"result": record(1)}, {"error": error}))
    maps = await client().read_metadata([member(1), member(2)])
    assert maps["pass1"] == {"n": "1", "vip": "yes"}
    assert maps["pass2"] == Answer(verdict, 200, "PassKit broke off a list: upstream gone")
    assert verbs(server) == ["POST"] * (3 if verdict is Verdict.RETRY else 1)


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        (None, {}),
        ({}, {}),
        ({"a": "1", "n": "2"}, {"a": "1", "n": "2"}),
    ],
)
async def test_metadata_of_odd_shapes(
    client: MakeClient, server: Server, metadata: Any, kept: dict[str, str]
) -> None:
    """Texts are kept; a record without a map has an empty one."""
    server.script = lambda _: Reply(body=lines({"result": {"id": "id1", "metaData": metadata}}))
    assert await client().read_metadata([member(1)]) == {"pass1": kept}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(2, "a number"), (True, "true or false"), (None, "null"), ({"b": "1"}, "an object"), (["1"], "a list")],
)
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "alone"])
async def test_b9_a_value_that_is_no_text_is_not_wiped(
    client: MakeClient, server: Server, value: Any, kind: str, *, listed: bool
) -> None:
    """A record with a value that is not a text is not changed, and the sentence names the key."""
    row = {"id": "id1", "metaData": {"a": "1", "stamps": value}}
    server.script = lambda request: Reply(body=lines({"result": row}) if request.method == "POST" else row)
    recipient = Recipient("pass1", "MEMBERSHIP", "id1", None, "program" if listed else None)
    (answer,) = answers(await client().read_metadata([recipient]))
    assert answer.verdict is Verdict.REJECTED
    assert answer.detail.endswith(f'its metaData "stamps" is no text but {kind}')


@pytest.mark.parametrize(
    "value",
    [0, "", 1.5, [], {}],
    ids=["zero", "an empty text", "a fraction", "an empty list", "an empty object"],
)
async def test_b9_one_odd_record_in_a_list_is_left_alone_and_the_others_are_read(
    client: MakeClient, server: Server, value: Any
) -> None:
    """Also a value that Python calls false: only an empty text is a text."""
    odd, plain = ({"id": f"id{n}", "metaData": {"a": "1", "x": value if n == 1 else "y"}} for n in (1, 2))
    server.script = lambda _: Reply(body=lines({"result": odd}, {"result": plain}))
    maps = await client().read_metadata([member(1), member(2)])
    assert maps["pass2"] == {"a": "1", "x": "y"}
    if value == "":
        assert maps["pass1"] == {"a": "1", "x": ""}
    else:
        (answer,) = answers({"pass1": maps["pass1"]})
        assert answer.verdict is Verdict.REJECTED
        assert 'its metaData "x" is no text' in answer.detail


@pytest.mark.parametrize("key", ["points", "message.en", "ключ", ""])
async def test_b9_the_sentence_names_a_key_as_it_is(client: MakeClient, server: Server, key: str) -> None:
    """Dots, other letters, an empty name: the record is left alone, whatever its key is called."""
    server.script = lambda _: Reply(body=lines({"result": {"id": "id1", "metaData": {"a": "1", key: 7}}}))
    (answer,) = answers(await client().read_metadata([member(1)]))
    assert answer.verdict is Verdict.REJECTED
    assert f'its metaData "{key}" is no text but a number' in answer.detail


async def test_metadata_that_is_no_map_is_not_overwritten(client: MakeClient, server: Server) -> None:
    """If a record's metaData cannot be read, the record is tried again and not overwritten."""
    row = {"id": "id1", "metaData": [{"key": "a", "value": "1"}]}
    server.script = lambda request: Reply(body=lines({"result": row}) if request.method == "POST" else row)
    maps = await client().read_metadata([member(1)])
    assert [answer.verdict for answer in answers(maps)] == [Verdict.RETRY]


@pytest.mark.parametrize("body", [{}, {"id": "somebody else", "metaData": {"a": "1"}}, {"metaData": {}}])
async def test_b8_a_single_read_of_somebody_else(client: MakeClient, server: Server, body: Any) -> None:
    """A record that does not say that it is ours is not used."""
    server.script = lambda _: Reply(body=body)
    maps = await client().read_metadata([Recipient("p", "EVENT_TICKET", "t1", None, None)])
    assert [(answer.verdict, answer.http_status) for answer in answers(maps)] == [(Verdict.RETRY, 200)]


@pytest.mark.usefixtures("records")
async def test_two_passes_of_one_record(client: MakeClient) -> None:
    """Two of our passes may point to one record; each gets a map of its own."""
    twin = Recipient("twin", "MEMBERSHIP", "id1", None, "prog")
    maps = await client().read_metadata([member(1), twin])
    assert maps["twin"] == maps["pass1"]
    assert maps["twin"] is not maps["pass1"]


async def test_nobody_to_read(client: MakeClient, server: Server) -> None:
    """An empty chunk asks nothing."""
    assert await client().read_metadata([]) == {}
    assert server.requests == []
