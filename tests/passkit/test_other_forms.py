"""Another PassKit than the sandbox: answers in every form that HTTP and the published types allow are read alike."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from passbell.passkit import Recipient, Verdict
from passbell.passkit.answers import http_date
from passbell.passkit.templates import read_template
from support.scripted import MakeClient, Reply, Server

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBER = Recipient("pass1", "MEMBERSHIP", "id1", "card-1", "prog")
OTHER = Recipient("pass2", "MEMBERSHIP", "id2", "card-2", "prog")
FOUND = {"pass1": {"seat": "window"}, "pass2": {}}
RECORDS: list[dict[str, Any]] = [
    # An unknown enum value by name and by number, numbers as texts, a field that no version here knows.
    {
        "id": "id1",
        "externalId": "card-1",
        "points": "7",
        "status": "STATUS_OF_TOMORROW",
        "optOut": 9,
        "created": "2026-01-01T00:00:00Z",
        "sequence": "9223372036854775807",
        "newField": {"deep": [None]},
        "metaData": {"seat": "window"},
    },
    # Nothing but what cannot be left out: proto3 omits every field that has its default.
    {"id": "id2"},
]


def lines(*rows: Any, end: bytes = b"\n") -> bytes:
    return b"".join(orjson.dumps({"result": row}) + end for row in rows)


def chunked(body: bytes, head: bytes = b"") -> bytes:
    """The body in chunks of seven bytes, with an extension, and a trailer behind it."""
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    coded = b"".join(b"%x;x=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n"
        + head
        + b"\r\n"
        + coded
        + b"0\r\nGrpc-Status: 0\r\n\r\n"
    )


WHOLE = lines(*RECORDS)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=WHOLE),
        Reply(body=WHOLE.rstrip()),
        Reply(body=lines(*RECORDS, end=b"\r\n\r\n")),
        Reply(body=b"\n" + lines(*reversed(RECORDS))),
        Reply(raw=chunked(WHOLE)),
        Reply(raw=b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE, cut=True),
        Reply(body=gzip.compress(WHOLE), headers={"Content-Encoding": "gzip"}),
        Reply(body=gzip.compress(WHOLE), headers={"content-encoding": "X-GZIP"}),
        Reply(body=zlib.compress(WHOLE), headers={"Content-Encoding": "deflate"}),
        Reply(raw=chunked(gzip.compress(WHOLE), b"Content-Encoding: gzip\r\n")),
        Reply(body=WHOLE, headers={"Content-Encoding": "identity"}),
    ],
    ids=[
        "lines",
        "no end",
        "blank lines",
        "other order",
        "chunks",
        "http 1.0",
        "gzip",
        "x-gzip",
        "deflate",
        "gzip chunks",
        "identity",
    ],
)
async def test_a_list_in_another_form_is_read(client: MakeClient, server: Server, reply: Reply) -> None:
    """NDJSON with any line end, chunks, trailers, compression, unknown fields and enums, missing optional fields."""
    server.script = lambda _: reply
    assert await client().read_metadata([MEMBER, OTHER]) == FOUND
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"\n", b"[]", b"{}", b'{"result":null}', b'{"result":{}}'])
async def test_an_empty_list_leaves_each_record_to_be_asked_for(
    client: MakeClient, server: Server, body: bytes
) -> None:
    """Nothing in any spelling is nothing: the records are read one by one."""
    by_path = {f"/members/member/id/id{n}": RECORDS[n - 1] for n in (1, 2)}
    server.script = lambda request: Reply(body=body if request.method == "POST" else by_path[request.path])
    assert await client().read_metadata([MEMBER, OTHER]) == FOUND


async def test_a_list_of_fewer_than_asked_for_is_filled_up(client: MakeClient, server: Server) -> None:
    """A page that PassKit cuts shorter than the limit: what is missing is read by itself."""
    server.script = lambda request: Reply(body=lines(RECORDS[0]) if request.method == "POST" else RECORDS[1])
    assert await client().read_metadata([MEMBER, OTHER]) == FOUND


@pytest.mark.parametrize(
    "code", [lambda body: body, gzip.compress, zlib.compress], ids=["plain", "gzip", "deflate"]
)
async def test_an_update_is_taken_in_any_coding(
    client: MakeClient, server: Server, code: Callable[[bytes], bytes]
) -> None:
    """A proxy that compresses although we ask it not to does not turn what was sent into a repeat."""
    coding = {gzip.compress: "gzip", zlib.compress: "deflate"}.get(code, "")
    server.script = lambda _: Reply(
        body=code(b'{"id":"id1","newField":1}'), headers={"Content-Encoding": coding}
    )
    passkit = client()
    assert (await passkit.push(MEMBER, "Hello", None)).verdict is Verdict.SENT
    server.script = lambda _: Reply(
        400,
        code(
            b'{"code":3,"message":"invalid metaData","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest"}]}'
        ),
        {"Content-Encoding": coding},
    )
    answer = await passkit.push(MEMBER, "Hello", None)
    assert (answer.verdict, answer.detail) == (Verdict.REJECTED, "PassKit answered 400: invalid metaData")


@pytest.mark.parametrize(
    "body", [gzip.compress(b'{"id":"id1"}')[:-9], b"no gzip", gzip.compress(b" " * 3_000_000), b""]
)
async def test_a_coding_that_breaks_off_or_explodes_is_no_answer(
    client: MakeClient, server: Server, body: bytes
) -> None:
    """Half an archive, none at all, and 3 MB out of 3 kB: asked again, nothing is believed and memory stays small."""
    server.script = lambda _: Reply(body=body, headers={"Content-Encoding": "gzip"})
    assert (await client().push(MEMBER, "Hello", None)).verdict is Verdict.RETRY


@pytest.mark.parametrize(
    "date",
    [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wednesday, 21-Oct-15 07:28:00 GMT",
        "Wed Oct 21 07:28:00 2015",
        "Wed, 21 Oct 2015 07:28:00 -0000",
        "Wed, 21 Oct 2015 09:28:00 +0200",
    ],
)
def test_a_date_is_the_same_moment_whatever_the_machines_zone(
    date: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three forms of RFC 9110; one without a zone is UTC, not the time of the machine."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert http_date(date) == 1_445_412_480
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", 8, "8"])
@pytest.mark.parametrize("shape", ["code", "grpc_code"])
async def test_a_stream_that_is_throttled_says_so(
    client: MakeClient, server: Server, code: str | int, shape: str
) -> None:
    """A list that ends in an error of gRPC, its code by number or by name, slows the account as a 429 does."""
    error = {shape: code, "http_code": 429, "message": "quota", "details": []}
    server.script = lambda _: Reply(body=orjson.dumps({"error": error}))
    read: Any = await client().read_metadata([MEMBER, OTHER])
    assert {answer.verdict for answer in read.values()} == {Verdict.THROTTLED}


@pytest.mark.parametrize("usage", ["USAGE_APPLE_WALLET", 1, [99, "USAGE_OF_TOMORROW", 1], [], None])
def test_a_field_whose_usage_is_written_otherwise_still_rings(usage: Any) -> None:
    """One value, a list with values nobody knows here, or none: the field is on the Apple pass."""
    field = {
        "uniqueName": "meta.marketingMessage",
        "usage": usage,
        "appleWalletFieldRenderOptions": {"changeMessage": "%@"},
    }
    body = orjson.dumps({"template": {"data": {"dataFields": [field]}}, "revision": "12"})
    assert read_template(body, "t", "marketingMessage").rings
