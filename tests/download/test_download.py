"""Files that arrive, and files that do not: over TLS, with every cap and every kind of wrong answer."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import ssl
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from passbell.files.download import FetchError, FetchFailed, FetchPolicy, FetchRefused, download

if TYPE_CHECKING:
    from tests.fetch.conftest import Fetcher, FileHost, Internet

CSV = b"member_id,name\n" + b"".join(b"%d,Ada\n" % n for n in range(500))
LINK = "https://files.example.com/list.csv"


async def test_a_file_arrives_whole(fetch: Fetcher, host: FileHost, internet: Internet) -> None:
    """Bytes, number, hash and origin are reported; the server is asked and verified by its name."""
    host.answers("/list.csv?token=hush", CSV)
    done, body = await fetch(f"{LINK}?token=hush")
    assert body == CSV
    assert done.bytes == len(CSV)
    assert done.sha256 == hashlib.sha256(CSV).hexdigest()
    assert done.content_type == "text/csv"
    assert done.final_url_redacted == "https://files.example.com/list.csv?…"
    assert host.asked == ["files.example.com /list.csv?token=hush"]
    assert internet.connected == [f"{internet.public}:443"]
    assert "cookie" not in host.headers[0]
    assert "authorization" not in host.headers[0]


async def test_a_large_file_is_streamed(fetch: Fetcher, host: FileHost) -> None:
    """A file of several megabytes arrives unchanged."""
    body = b"member_id\n" + b"0123456789\n" * 400_000
    host.answers("/list.csv", body)
    done, received = await fetch(LINK)
    assert received == body
    assert done.bytes == len(body)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(CSV)),
        ("x-gzip", gzip.compress(CSV)),
        ("GZIP", gzip.compress(CSV)),
        ("deflate", zlib.compress(CSV)),
        ("identity", CSV),
    ],
)
async def test_a_compressed_transfer_is_unpacked(
    encoding: str, packed: bytes, fetch: Fetcher, host: FileHost
) -> None:
    """What the server packs for the way, as Google does, is unpacked."""
    host.answers("/list.csv", packed, content_encoding=encoding)
    done, body = await fetch(LINK)
    assert body == CSV
    assert done.bytes == len(CSV)


async def test_a_chunked_answer_without_length_arrives(fetch: Fetcher, host: FileHost) -> None:
    """Google Sheets sends no length: the chunks tell where the file ends."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CSV[:7], CSV[7:2000], CSV[2000:]))
    host.answers("/list.csv", chunks + b"0\r\n\r\n", content_length="", transfer_encoding="chunked")
    _, body = await fetch(LINK)
    assert body == CSV


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
async def test_redirects_are_followed(
    status: str, fetch: Fetcher, host: FileHost, internet: Internet
) -> None:
    """Relative and absolute redirects, each on a connection of its own, end at the file."""
    host.redirects("/go", "next?a=b", status)
    host.redirects("/next?a=b", "//other.example.com/list.csv", status)
    host.answers("/list.csv", CSV)
    done, body = await fetch("https://files.example.com/go")
    assert body == CSV
    assert done.final_url_redacted == "https://other.example.com/list.csv"
    assert internet.looked_up == ["files.example.com", "files.example.com", "other.example.com"]
    assert [header["host"] for header in host.headers] == internet.looked_up


async def test_a_google_sheet_arrives_with_only_docs_google_com_allowed(
    fetch: Fetcher, host: FileHost
) -> None:
    """The share link from the browser is enough, and its redirect to Google's store is implied."""
    sheet = "/spreadsheets/d/1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
    host.redirects(
        f"{sheet}/export?format=csv&gid=7",
        "https://doc-0s-sheets.googleusercontent.com/export/x/y?format=csv",
        "307 Temporary Redirect",
    )
    host.answers("/export/x/y?format=csv", CSV)
    _, body = await fetch(
        f"https://docs.google.com{sheet}/edit?usp=sharing#gid=7", hosts=("docs.google.com",)
    )
    assert body == CSV


async def test_a_signed_supabase_link_arrives(fetch: Fetcher, host: FileHost) -> None:
    """Supabase Storage gets its token back exactly as it was given."""
    path = "/storage/v1/object/sign/lists/vip%20list.csv?token=eyJhbGciOiJIUzI1NiJ9.eyJ1cmwiOiJ4In0.a-b_c"
    host.answers(path, CSV)
    _, body = await fetch(f"https://abc.supabase.co{path}", hosts=("*.supabase.co",))
    assert body == CSV


async def test_a_name_in_other_letters_arrives(fetch: Fetcher, host: FileHost) -> None:
    """An internationalised name is resolved, asked and verified in its ASCII form."""
    host.answers("/liste.csv", CSV)
    _, body = await fetch("https://mülLer.example/liste.csv")
    assert body == CSV


async def test_a_private_server_works_when_allowed(plain_host: FileHost) -> None:
    """With PASSBELL_CSV_ALLOW_PRIVATE, http, loopback and any port are fine, by name and by address."""
    plain_host.answers("/list.csv", CSV)
    for name in ("127.0.0.1", "localhost"):
        into = io.BytesIO()
        await download(f"http://{name}:{plain_host.port}/list.csv", into, FetchPolicy(allow_private=True))
        assert into.getvalue() == CSV


# --- caps


async def test_a_file_that_says_it_is_too_large_is_not_read(fetch: Fetcher, host: FileHost) -> None:
    """A declared length above the cap is enough; not one byte is taken."""
    host.answers("/list.csv", CSV, content_length="2000000000")
    with pytest.raises(FetchFailed, match=r"larger than 1 MB"):
        await fetch(LINK, max_bytes=1024 * 1024)
    assert fetch.into.getvalue() == b""


async def test_a_file_that_does_not_say_how_large_it_is_is_cut_off(fetch: Fetcher, host: FileHost) -> None:
    """An endless answer without a length ends at the cap."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\n\r\n")
        while True:
            writer.write(b"123456789\n" * 10_000)
            await writer.drain()

    host.routes["/list.csv"] = endless
    with pytest.raises(FetchFailed, match="larger"):
        await fetch(LINK, max_bytes=1024 * 1024)
    assert len(fetch.into.getvalue()) <= 1024 * 1024


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_does_not_go_off(encoding: str, fetch: Fetcher, host: FileHost) -> None:
    """100 KB that unpack to 100 MB are refused at the limit and do not fill the memory."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join(packer.compress(b"1,2\n" * 250_000) for _ in range(100)) + packer.flush()
    assert len(bomb) < 500_000
    host.answers("/list.csv", bomb, content_encoding=encoding)
    with pytest.raises(FetchFailed, match="larger"):
        await fetch(LINK, max_bytes=1024 * 1024)
    assert len(fetch.into.getvalue()) <= 1024 * 1024


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(CSV)[:-20]),
        ("gzip", gzip.compress(CSV)[:10] + b"\xff" * 50),
        ("gzip", gzip.compress(CSV[:900]) + gzip.compress(CSV[900:])),
        ("gzip", CSV),
        ("deflate", zlib.compress(CSV)[:-9]),
        ("gzip, gzip", gzip.compress(gzip.compress(CSV))),
        ("br", CSV),
    ],
)
async def test_a_damaged_compression_is_not_half_a_list(
    encoding: str, body: bytes, fetch: Fetcher, host: FileHost
) -> None:
    """Cut, broken, doubled or unknown compression is an error, never a shorter list."""
    host.answers("/list.csv", body, content_encoding=encoding)
    with pytest.raises(FetchFailed):
        await fetch(LINK)


async def test_a_cut_connection_is_not_half_a_list(fetch: Fetcher, host: FileHost) -> None:
    """Fewer bytes than declared is an error that may pass."""
    host.answers("/list.csv", CSV, content_length=str(len(CSV) + 1))
    with pytest.raises(FetchFailed, match="broke off") as failed:
        await fetch(LINK)
    assert failed.value.temporary


@pytest.mark.parametrize("where", ["before the answer", "in the headers", "in the body"])
async def test_a_slow_drip_ends_at_the_deadline(where: str, fetch: Fetcher, host: FileHost) -> None:
    """A server that always sends one more byte in time is stopped by the total time."""
    hung_up = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        try:
            if where == "in the headers":
                writer.write(b"HTTP/1.1 200 OK\r\n")
            if where == "in the body":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while not writer.transport.is_closing():
                if where != "before the answer":
                    writer.write(b"a")
                await asyncio.sleep(0.01)
        finally:
            hung_up.set()

    host.routes["/list.csv"] = drip
    with pytest.raises(FetchFailed, match=r"longer than 0\.5 seconds") as failed:
        await fetch(LINK, timeout=0.5)
    assert failed.value.temporary
    async with asyncio.timeout(10):
        await hung_up.wait()


async def test_a_name_server_that_never_answers_ends_at_the_deadline(fetch: Fetcher) -> None:
    """A look-up of a name counts for the time limit of the download."""
    from passbell.files.download.network import Network  # noqa: PLC0415

    async def silent(_name: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(FetchFailed, match="longer than"):
        await fetch(LINK, network=Network(resolve=silent), timeout=0.2)


async def test_a_redirect_loop_ends(fetch: Fetcher, host: FileHost) -> None:
    """The fourth redirect is refused."""
    host.redirects("/list.csv", "/list.csv")
    with pytest.raises(FetchFailed, match="more than 3 times"):
        await fetch(LINK)
    assert len(host.asked) == 4


async def test_the_number_of_redirects_can_be_set(fetch: Fetcher, host: FileHost) -> None:
    """With none allowed, the first one ends the download."""
    host.redirects("/list.csv", "/other.csv")
    host.answers("/other.csv", CSV)
    with pytest.raises(FetchFailed):
        await fetch(LINK, max_redirects=0)
    _, body = await fetch(LINK, max_redirects=1)
    assert body == CSV


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"x-fill: " + b"a" * 1_000_000 + b"\r\n\r\n" + CSV,
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: a\r\n" % n for n in range(100_000)) + b"\r\n" + CSV,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"a" * 1_000_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5_000 + b"\r\n\r\n" + CSV,
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + CSV,
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n" + CSV,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"f" * 1_000_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00" * 1000,
        b"",
    ],
    ids=[
        "long header",
        "many headers",
        "garbage",
        "huge length",
        "negative",
        "two lengths",
        "chunk",
        "zz",
        "ssh",
        "0",
        "-",
    ],
)
async def test_an_answer_that_is_no_http_is_refused(head: bytes, fetch: Fetcher, host: FileHost) -> None:
    """Headers without end and other nonsense are cut off with a sentence."""
    host.routes["/list.csv"] = head
    with pytest.raises(FetchFailed) as failed:
        await fetch(LINK)
    assert str(failed.value).endswith(".")


@pytest.mark.parametrize(
    "location", ["https://[", "https://a b/", "", "https://files.example.com:x/", "\u00ff" * 20, "//"]
)
async def test_a_broken_redirect_is_an_error_of_ours(location: str, fetch: Fetcher, host: FileHost) -> None:
    """Nonsense in Location is reported like any other trouble."""
    host.redirects("/list.csv", location)
    with pytest.raises(FetchError):
        await fetch(LINK)


# --- what the server says


@pytest.mark.parametrize(
    ("status", "words", "temporary"),
    [
        ("400 Bad Request", "expired", False),
        ("401 Unauthorized", "share it publicly", False),
        ("403 Forbidden", "share it publicly", False),
        ("404 Not Found", "no file behind the link", False),
        ("410 Gone", "no file behind the link", False),
        ("418 Teapot", "status 418", False),
        ("429 Too Many Requests", "come back later", True),
        ("500 Internal Server Error", "try again later", True),
        ("503 Service Unavailable", "try again later", True),
        ("204 No Content", "status 204", False),
        ("304 Not Modified", "status 304", False),
    ],
)
async def test_a_status_becomes_a_sentence(
    status: str,
    words: str,
    temporary: bool,  # noqa: FBT001
    fetch: Fetcher,
    host: FileHost,
) -> None:
    """An error of the file's server gives a sentence with the remedy, without the link's token."""
    host.answers("/list.csv?token=hush", b"", status)
    with pytest.raises(FetchFailed, match=words) as failed:
        await fetch(f"{LINK}?token=hush")
    assert failed.value.temporary is temporary
    assert "hush" not in str(failed.value)
    assert "93.184" not in str(failed.value)


def _zip(name: str) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr(name, "x" * 2000)
    return into.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "text/html; charset=utf-8", "web page"),
        (b"<!doctype HTML>" + b" " * 5000, "text/csv", "web page"),
        (b"\n\n  <html lang=en>", "application/octet-stream", "web page"),
        (b"\xef\xbb\xbf<HTML>", "", "web page"),
        ("<html>".encode("utf-16"), "text/csv", "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "application/xml", "web page"),
        (b"Please sign in", "text/html", "web page"),
        (b'{"statusCode":"404","error":"not_found"}', "application/json", "JSON"),
        (_zip("list.csv"), "application/zip", "unpack"),
        (_zip("[Content_Types].xml"), "text/csv", "Excel"),
        (_zip("xl/workbook.xml"), "application/octet-stream", "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "application/vnd.ms-excel", "Excel"),
        (gzip.compress(CSV), "text/csv", "unpack"),
        (b"%PDF-1.7\n", "application/pdf", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "image/png", "picture"),
        (b"", "text/csv", "empty"),
    ],
)
async def test_what_is_no_csv_is_said(
    body: bytes, content_type: str, words: str, fetch: Fetcher, host: FileHost
) -> None:
    """A login page, an archive or a workbook is named, and nothing of it is stored."""
    host.answers("/list.csv", body, content_type=content_type)
    with pytest.raises(FetchFailed, match=words):
        await fetch(LINK)
    assert fetch.into.getvalue() == b""


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"1", "text/csv"),
        (b"member_id\n1\n", ""),
        (b"member_id\n1\n", "application/vnd.ms-excel"),
        (b"member_id\n1\n", "text/plain; charset=windows-1252"),
        (b"member_id\n1\n", "binary/octet-stream"),
        ("member_id\tname\n1\tZo\u00eb\n".encode("utf-16"), "text/csv"),
        (b"\xef\xbb\xbfmember_id\n1\n", "text/csv"),
        (b"a<b\n<html>\n", "text/csv"),
    ],
)
async def test_what_may_be_csv_passes(body: bytes, content_type: str, fetch: Fetcher, host: FileHost) -> None:
    """Types that say nothing, and any encoding of text, are left to the reader."""
    host.answers("/list.csv", body, content_type=content_type)
    _, received = await fetch(LINK)
    assert received == body


# --- who the server is


async def test_a_name_that_does_not_exist_is_said(fetch: Fetcher) -> None:
    """A typing error in the server's name is called one."""
    with pytest.raises(FetchFailed, match=r"no server named typo\.example\.com") as failed:
        await fetch("https://typo.example.com/list.csv?token=hush")
    assert not failed.value.temporary


async def test_a_certificate_for_another_name_is_refused(
    fetch: Fetcher, host: FileHost, internet: Internet
) -> None:
    """The certificate must be for the name in the link, whatever address it has."""
    internet.zone["wrong.example.com"] = [internet.public]
    with pytest.raises(FetchFailed, match="belongs to another name"):
        await fetch("https://wrong.example.com/list.csv")
    assert host.asked == []


async def test_a_certificate_for_another_address_is_refused(
    fetch: Fetcher, host: FileHost, internet: Internet
) -> None:
    """A link by address needs a certificate for the address."""
    with pytest.raises(FetchFailed, match="belongs to another name"):
        await fetch(f"https://{internet.public}/list.csv")
    assert host.asked == []


async def test_an_unknown_authority_is_refused(fetch: Fetcher, host: FileHost) -> None:
    """A self-made certificate is refused by the default trust, and the request is not sent."""
    with pytest.raises(FetchFailed, match="unknown authority"):
        await fetch(LINK, tls=None)
    other = ssl.create_default_context()
    trustme.CA().configure_trust(other)
    with pytest.raises(FetchFailed, match=r"unknown authority|not valid"):
        await fetch(LINK, tls=other)
    assert host.asked == []


async def test_a_server_without_tls_is_said(fetch: Fetcher, host: FileHost) -> None:
    """Something else on the port of https is reported as TLS trouble, not as a stack trace."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        host.port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchFailed, match="No secure connection"):
            await fetch(LINK)


async def test_a_server_that_is_down_is_said(fetch: Fetcher, host: FileHost) -> None:
    """A closed port is temporary trouble, said without the address."""
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(FetchFailed, match="cannot be reached") as failed:
        await fetch(LINK)
    assert failed.value.temporary
    assert "127.0.0.1" not in str(failed.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
async def test_a_full_disk_is_said(host: FileHost, internet: Internet, fetch: Fetcher) -> None:
    """When the file cannot be stored, the person is told that it is not their fault."""
    host.answers("/list.csv", CSV * 100)
    with (
        Path("/dev/full").open("wb", buffering=0) as full,  # noqa: ASYNC230
        pytest.raises(FetchFailed, match="own disk") as failed,
    ):
        await download(LINK, full, FetchPolicy(tls=fetch.tls), network=internet.network)
    assert failed.value.temporary


async def test_a_refusal_is_told_apart_from_a_failure(fetch: Fetcher) -> None:
    """A refused link is never worth another try."""
    with pytest.raises(FetchRefused) as refused:
        await fetch("http://files.example.com/list.csv")
    assert not refused.value.temporary
