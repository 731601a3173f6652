"""No link, however it is written, makes the daemon connect to the operator's own network."""

# ruff: noqa: RUF001, S104 - strange letters and 0.0.0.0 are what this file is about

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING

import httpcore
import pytest

from passbell.files.download import FetchFailed, FetchPolicy, FetchRefused
from passbell.files.download.links import check_link
from passbell.files.download.network import SYSTEM, Network, PinnedBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fetch.conftest import Canary, Fetcher, FileHost, Internet

    from passbell.files.download.policy import Address

# Hosts as an attacker would write them.
HOSTS = (
    # the plain ones
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1",
    "172.31.255.255", "192.168.0.1", "169.254.1.1", "100.64.0.1", "100.127.255.255",
    "198.18.0.1", "192.0.0.8", "192.0.2.1", "198.51.100.7", "203.0.113.7", "192.88.99.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    # metadata services: most clouds, Alibaba, Oracle, Azure
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16",
    "[fd00:ec2::254]", "[fd20:ce::254]", "metadata.google.internal", "metadata.goog",
    "metadata", "instance-data.ec2.internal",
    # decimal, octal, hexadecimal, mixed, short, padded, too long, too large
    "2130706433", "017700000001", "0x7f000001", "0X7F000001", "0x7f.1", "0177.0.0.1",
    "0177.0x0.0.1", "127.1", "127.0.1", "127.0.0.01", "127.0.0.0x1", "127.000.000.001",
    "0", "00", "0x0", "0x", "4294967297", "127.0.0.257", "1.127.0.0.1", "2852039166",
    "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.0xfe.43518", "169.254.43518",
    # IPv6: loopback, unspecified, mapped, compatible, NAT64, 6to4, Teredo, local, link-local, site-local,
    # multicast, documentation, unassigned
    "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::1]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[fc00::1]", "[fd12:3456::1]", "[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]",
    "[::1%25lo]", "[::1%lo]", "[2606:4700::1111%25lo]", "[fec0::1]", "[ff02::1]",
    "[2001:db8::1]", "[3fff::1]", "[4000::1]", "[::ffff:169.254.169.254]", "[v1.::1]",
    "[127.0.0.1]",
    # trailing dots, user info, several of them
    "127.0.0.1.", "127.0.0.1..", "[::1].", "2130706433.", "localhost.", "localhost..",
    "files.example.com@127.0.0.1", "files.example.com:443@127.0.0.1", "a:b@[::1]",
    "files.example.com%40127.0.0.1", "@127.0.0.1",
    # percent-encoding
    "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "%6cocalhost", "local%68ost",
    "127.0.0.1%00.example.com", "%5b::1%5d",
    # Unicode digits, letters, dots; invisible characters
    "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "①②⑦.⓪.⓪.①", "١٢٧.٠.٠.١",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loc\u00adalhost", "127.0.0\u200b.1",
    "localhost。", "［::1］",
    # names for inside
    "localhost", "LOCALHOST", "a.localhost", "localhost.localdomain", "printer.local",
    "db.internal", "nas.lan", "wiki.corp", "router.home.arpa", "postgres",
    "kubernetes.default.svc.cluster.local",
    # parsers that disagree
    "127.0.0.1\\@files.example.com", "127.0.0.1#@files.example.com",
    "127.0.0.1 .example.com", "127.0.0.1\t", "127.0.0.1\r\nHost: a", "\\\\127.0.0.1", "",
    ".", "..", "-", "a..b.com", "xn--a",
)  # fmt: skip


def test_the_list_is_long_enough() -> None:
    """At least sixty different spellings are tried."""
    assert len(set(HOSTS)) >= 60


@pytest.mark.parametrize("inner", HOSTS, ids=ascii)
async def test_a_spelling_of_an_inner_address_is_refused(inner: str, fetch: Fetcher, canary: Canary) -> None:
    """An inner address is refused in every spelling, with this machine's own resolver and sockets."""
    for link in (f"https://{inner}:{canary.port}/list.csv", f"https://{inner}/list.csv"):
        with pytest.raises(FetchRefused):
            await fetch(link, network=SYSTEM, ports=(canary.port, 443))
        assert canary.connections == 0


@pytest.mark.parametrize("inner", HOSTS, ids=ascii)
async def test_a_redirect_to_an_inner_address_is_refused(
    inner: str, fetch: Fetcher, host: FileHost, canary: Canary
) -> None:
    """A public server cannot send the daemon to an inner address, in whatever spelling."""
    host.redirects("/go", f"https://{inner}:{canary.port}/list.csv".replace("\r\n", "%0d%0a"))
    with pytest.raises(FetchRefused, match="redirect"):
        await fetch("https://files.example.com/go", ports=(canary.port, 443))
    assert host.asked == ["files.example.com /go"]
    assert canary.connections == 0
    assert len(fetch.internet.connected) == 1


@pytest.mark.parametrize("inner", ["127.0.0.1", "localhost", "[::1]"])
async def test_the_canary_is_alive(inner: str, fetch: Fetcher, canary: Canary) -> None:
    """With private networks allowed, the same links do connect: the tests above could fail."""
    if inner == "[::1]" and not await _answers("::1", canary.port):
        pytest.skip("no IPv6 on this machine")
    before = canary.connections
    with pytest.raises(FetchFailed):
        await fetch(f"https://{inner}:{canary.port}/list.csv", network=SYSTEM, allow_private=True)
    assert canary.connections > before


async def _answers(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["169.254.169.254"],
        ["10.1.2.3"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["93.184.215.14", "::1"],
        ["2606:4700::1111", "fd00::1"],
        ["93.184.215.14", "what is this"],
    ],
)
async def test_a_name_that_leads_inside_is_refused(
    addresses: Sequence[str], fetch: Fetcher, internet: Internet, canary: Canary
) -> None:
    """One inner address among a name's answers is enough to refuse it, and none is shown to the person."""
    internet.zone["rebind.example.com"] = addresses
    with pytest.raises(FetchRefused) as refused:
        await fetch("https://rebind.example.com/list.csv?token=hush")
    assert internet.connected == []
    assert canary.connections == 0
    assert not any(address in str(refused.value) for address in addresses)
    assert "hush" not in str(refused.value)


async def test_a_name_is_looked_up_once_per_connection(
    fetch: Fetcher, host: FileHost, internet: Internet, canary: Canary
) -> None:
    """A resolver that answers public first and private afterwards gets no second question."""
    answers = [[internet.public], ["127.0.0.1"]]

    async def rebinding(name: str) -> Sequence[str]:
        internet.looked_up.append(name)
        return answers.pop(0)

    host.answers("/list.csv", b"member_id\n1\n")
    network = Network(resolve=rebinding, connect=internet.network.connect)
    _, body = await fetch("https://files.example.com/list.csv", network=network)
    assert body == b"member_id\n1\n"
    assert internet.looked_up == ["files.example.com"]
    assert internet.connected == [f"{internet.public}:443"]
    assert canary.connections == 0


async def test_a_name_that_moves_inside_behind_a_redirect_is_refused(
    fetch: Fetcher, host: FileHost, internet: Internet, canary: Canary
) -> None:
    """A redirect to the same name is a new connection: its new address is checked, and refused."""
    answers = [[internet.public], ["127.0.0.1"]]

    async def rebinding(_name: str) -> Sequence[str]:
        return answers.pop(0)

    host.redirects("/go", "/list.csv")
    host.answers("/list.csv", b"member_id\n1\n")
    network = Network(resolve=rebinding, connect=internet.network.connect)
    with pytest.raises(FetchRefused, match="redirect"):
        await fetch("https://files.example.com/go", network=network)
    assert host.asked == ["files.example.com /go"]
    assert canary.connections == 0


async def test_the_system_resolver_cannot_lead_inside(fetch: Fetcher, canary: Canary) -> None:
    """A name that passes the spelling rules, but that getaddrinfo turns into loopback, is not connected to."""

    async def resolve(_name: str) -> Sequence[str]:
        return await SYSTEM.resolve("localhost")

    network = Network(resolve=resolve)
    with pytest.raises(FetchRefused):
        await fetch(f"https://files.example.com:{canary.port}/", network=network, ports=(canary.port,))
    assert canary.connections == 0


@pytest.mark.parametrize(
    "link",
    [
        "https://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://2852039166/",
        "http://metadata.google.internal/",
        "http://metadata/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
async def test_metadata_stays_out_of_reach_with_private_networks_allowed(
    link: str, fetch: Fetcher, internet: Internet
) -> None:
    """PASSBELL_CSV_ALLOW_PRIVATE opens the office network, not the cloud's credentials."""
    with pytest.raises(FetchRefused):
        await fetch(link, allow_private=True)
    assert internet.connected == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_never_leaves_https(
    status: int, fetch: Fetcher, host: FileHost, internet: Internet
) -> None:
    """From https to http is refused for every redirect status, even where plain http links are allowed."""
    host.redirects("/go", "http://files.example.com/list.csv", f"{status} Elsewhere")
    for allow_private in (False, True):
        internet.connected.clear()
        with pytest.raises(FetchRefused, match="https"):
            await fetch("https://files.example.com/go", allow_private=allow_private)
        assert internet.connected == [f"{internet.public}:443"]


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://files.example.com/", "javascript:alert(1)", "data:text/csv,a"]
)
async def test_a_redirect_to_another_scheme_is_refused(to: str, fetch: Fetcher, host: FileHost) -> None:
    """Only web addresses are followed."""
    host.redirects("/go", to)
    with pytest.raises(FetchRefused):
        await fetch("https://files.example.com/go")


@pytest.mark.parametrize("port", [22, 25, 80, 5432, 6379, 8080, 8443, 65535])
async def test_only_the_port_of_https_is_used(port: int, fetch: Fetcher, internet: Internet) -> None:
    """A link cannot make the daemon try other ports of a public server."""
    with pytest.raises(FetchRefused, match=str(port)):
        await fetch(f"https://files.example.com:{port}/list.csv")
    assert internet.looked_up == []


async def test_proxies_of_the_environment_are_not_used(
    fetch: Fetcher, host: FileHost, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve the name again, out of our sight: HTTPS_PROXY changes nothing."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    host.answers("/list.csv", b"member_id\n1\n")
    _, body = await fetch("https://files.example.com/list.csv")
    assert body == b"member_id\n1\n"
    assert canary.connections == 0


async def test_the_next_address_is_tried_when_one_is_dead(
    fetch: Fetcher, host: FileHost, internet: Internet
) -> None:
    """A server with several public addresses is reached although the first refuses connections."""

    async def connect(address: Address, port: int, seconds: float | None) -> httpcore.AsyncNetworkStream:
        if str(address) == "93.184.215.99":
            raise httpcore.ConnectError
        return await internet.network.connect(address, port, seconds)

    internet.zone["files.example.com"] = ["93.184.215.99", internet.public]
    host.answers("/list.csv", b"member_id\n1\n")
    _, body = await fetch(
        "https://files.example.com/list.csv", network=Network(internet.network.resolve, connect)
    )
    assert body == b"member_id\n1\n"


async def test_a_connection_goes_to_the_checked_place_or_nowhere(internet: Internet) -> None:
    """Whatever the HTTP client asks for, only the checked name, port and addresses are connected to."""
    target = check_link("https://files.example.com/list.csv", FetchPolicy())
    backend = PinnedBackend(target, [ip_address(internet.public)], internet.network)
    for host, port in (("other.example.com", 443), ("files.example.com", 80), ("127.0.0.1", 443)):
        with pytest.raises(httpcore.ConnectError):
            await backend.connect_tcp(host, port)
    with pytest.raises(httpcore.ConnectError):
        await backend.connect_unix_socket("/run/docker.sock")
    assert internet.connected == []
    stream = await backend.connect_tcp("files.example.com", 443)
    await stream.aclose()
    assert internet.connected == [f"{internet.public}:443"]
