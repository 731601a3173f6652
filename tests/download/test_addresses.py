"""Generated addresses in generated spellings, judged against Python's own tables."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from passbell.files.download import FetchError, FetchPolicy, FetchRefused
from passbell.files.download.links import check_link, redact
from passbell.files.download.policy import is_allowed, is_host_name, is_public

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = FetchPolicy()

# Many draws come from the corners, where the tables matter.
CORNERS_V4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
CORNERS_V6 = (
    "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32",
    "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip
STRICTER = (
    "192.88.99.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.175.48.0/24",
    "168.63.129.16/32",
    "192.0.0.0/24",
)


def _within(text: str) -> st.SearchStrategy[int]:
    network = ipaddress.ip_network(text)
    first = int(network.network_address)
    return st.integers(first, int(network.broadcast_address))


V4 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from(CORNERS_V4).flatmap(_within)).map(IPv4Address)
V6 = st.one_of(
    st.integers(0, 2**128 - 1),
    st.sampled_from(CORNERS_V6).flatmap(_within),
    st.integers(2 << 124, (4 << 124) - 1),
).map(IPv6Address)

PARTS: dict[str, Callable[[int], str]] = {
    "decimal": str,
    "octal": lambda n: f"0{n:o}",
    "padded octal": lambda n: f"000{n:o}",
    "hexadecimal": hex,
    "HEXADECIMAL": lambda n: f"0X{n:X}",
    "padded hexadecimal": lambda n: f"0x0000{n:x}",
}


@st.composite
def inet_aton_spellings(draw: st.DrawFn) -> tuple[IPv4Address, str]:
    """An address as inet_aton(3) accepts it: one to four parts, each in its own base."""
    address = draw(V4)
    count = draw(st.integers(1, 4))
    octets = list(address.packed)
    parts = [*octets[: count - 1], int.from_bytes(bytes(octets[count - 1 :]))]
    bases = draw(st.lists(st.sampled_from(sorted(PARTS)), min_size=count, max_size=count))
    text = ".".join(PARTS[base](part) for base, part in zip(bases, parts, strict=True))
    return address, text


@st.composite
def disguises(draw: st.DrawFn) -> str:
    """A spelling with other digits, other dots, percent signs, or a user in front."""
    _, text = draw(inet_aton_spellings())
    dot = draw(st.sampled_from(["\u3002", "\uff0e", "\uff61", "%2e", "%252e"]))
    return draw(
        st.sampled_from(
            [
                "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text),  # full-width digits
                "".join(chr(ord(c) - ord("0") + 0x660) if c.isdigit() else c for c in text),  # Arabic ones
                text.replace(".", dot),
                text + dot,
                "".join(f"%{ord(c):02x}" for c in text),
                f"files.example.com@{text}",
                f"[{text}]",
                f"{text}..",
            ]
        )
    )


@given(V4)
def test_an_ipv4_address_is_public_only_if_python_thinks_so(address: IPv4Address) -> None:
    """An address that Python calls private, reserved, loopback, link-local or multicast is not public."""
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
    elif address.is_global and not address.is_multicast:
        # Relays and cloud channels, which Python counts as global.
        assert any(address in ipaddress.IPv4Network(network) for network in STRICTER)


@given(V6)
def test_an_ipv6_address_is_public_only_if_python_thinks_so(address: IPv6Address) -> None:
    """The same for IPv6; with DNS64's prefix the IPv4 address inside decides."""
    if address in ipaddress.IPv6Network("64:ff9b::/96"):
        assert is_public(address) == is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    elif is_public(address):
        assert address.is_global
        assert {address.is_multicast, address.is_reserved, address.is_site_local} == {False}
        assert (address.ipv4_mapped, address.sixtofour, address.teredo) == (None, None, None)


@given(st.one_of(V4, V6))
def test_private_networks_are_a_superset(address: IPv4Address | IPv6Address) -> None:
    """PASSBELL_CSV_ALLOW_PRIVATE takes nothing away, and never adds link-local or multicast ones."""
    if is_public(address):
        assert is_allowed(address, allow_private=True)
    if is_allowed(address, allow_private=True):
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_unspecified


@given(inet_aton_spellings())
@example((IPv4Address("127.0.0.1"), "127.1"))
@example((IPv4Address("169.254.169.254"), "0xa9.0376.43518"))
def test_a_numeric_spelling_is_refused_or_means_what_it_says(spelled: tuple[IPv4Address, str]) -> None:
    """What the system would read as an address is refused, unless it is that address, plainly, and public."""
    address, text = spelled
    assert socket.inet_aton(text) == address.packed
    assert not is_host_name(text.lower())
    plain = text == str(address)
    try:
        target = check_link(f"https://{text}/list.csv", POLICY)
    except FetchRefused:
        assert not (plain and is_public(address))
    else:
        assert plain
        assert target.literal == address
        assert address.is_global


@given(disguises())
def test_a_disguise_never_yields_an_inner_address(host: str) -> None:
    """No spelling of an address, with other digits, dots, percent signs or users, reaches a private one."""
    try:
        target = check_link(f"https://{host}/list.csv", POLICY)
    except FetchRefused:
        return
    # Ideographic dots are dots (IDNA): what is left is the plain spelling of a public address.
    assert target.literal is not None
    assert is_public(target.literal)
    assert target.host == str(target.literal)


@given(V6, st.booleans(), st.sampled_from(["", "%lo", "%25lo", "%1"]))
def test_an_ipv6_literal_is_judged_in_every_spelling(address: IPv6Address, exploded: bool, zone: str) -> None:  # noqa: FBT001
    """Long or short, an IPv6 address is the same address; with a zone it is refused."""
    text = address.exploded.upper() if exploded else address.compressed
    try:
        target = check_link(f"https://[{text}{zone}]/list.csv", POLICY)
    except FetchRefused:
        assert zone or not is_public(address)
    else:
        assert target.literal == address
        assert not zone
        assert is_public(address)


@given(st.text(max_size=60), st.sampled_from(["", "https://", "https://files.example.com", "HTTPS:", "//"]))
def test_any_text_is_refused_with_a_sentence_or_leads_outside(text: str, start: str) -> None:
    """Whatever is pasted: a plain sentence, or a target whose parts agree with the request made of it."""
    try:
        target = check_link(start + text, POLICY)
    except FetchError as error:
        sentence = str(error)
        if not sentence.endswith(".") or "\n" in sentence:
            pytest.fail(f"not one sentence: {sentence!r}")
    else:
        assert target.url.scheme == "https"
        assert target.url.raw_host.decode() == target.host
        assert target.port == 443
        assert (target.literal is not None and is_public(target.literal)) or is_host_name(target.host)
        assert httpx.Request("GET", target.url).headers["host"].strip("[]") == target.host
        assert redact(target.url).startswith("https://")


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "[2606:4700:4700::1111]", "93.184.215.14."])
def test_a_plain_public_address_is_allowed(host: str) -> None:
    """A server without a name can be used; its certificate must then be for the address."""
    assert check_link(f"https://{host}/list.csv", POLICY).literal is not None
