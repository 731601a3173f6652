"""What a download may reach and use: hosts, addresses, ports, sizes, times.

The settings fill it from PASSBELL_CSV_HOSTS and PASSBELL_CSV_ALLOW_PRIVATE.

The tables of addresses are our own, not `ipaddress.is_global`: that property changed its answers within Python 3.11,
3.12 and 3.13, and a rule of security must not depend on the patch level. Sources: the IANA IPv4 and IPv6
Special-Purpose Address Registries (RFC 6890 and successors), the IANA IPv6 global unicast assignment (2000::/3), and
the providers' documentation of the metadata services.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeAlias

import httpx

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Address", "FetchPolicy", "is_allowed", "is_host_name", "is_public", "parse_address"]


Address: TypeAlias = IPv4Address | IPv6Address

_NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # "this network"; Linux connects 0.0.0.0 to itself
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure: looks public, is the channel to the host below
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT relays
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)

# Only 2000::/3 is handed out as global unicast. Everything else falls with this one rule: loopback,
# unspecified, IPv4-mapped and IPv4-compatible, unique local, link-local, site-local, multicast, and what is
# not assigned yet.
_GLOBAL_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo (2001::/32), benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address in disguise
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

# With DNS64 (networks with IPv6 only) every IPv4-only server is answered as 64:ff9b::a.b.c.d, so this one
# prefix is judged by the IPv4 address inside. The local-use prefix 64:ff9b:1::/48 is not public.
_NAT64 = IPv6Network("64:ff9b::/96")

# Refused even where private networks are allowed: no CSV is kept there, and the service behind it hands out
# credentials.
_NEVER_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "169.254.0.0/16",
            "192.0.0.192/32",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_ALLOWED_PRIVATE_V6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
_NEVER_V6 = tuple(
    map(
        IPv6Network,
        (
            "fd00:ec2::/32",  # Amazon: fd00:ec2::254 and its neighbours (DNS, time)
            "fd20:ce::254/128",  # Google
            "fd00:42::42/128",  # Scaleway
        ),
    )
)

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_NAME = 253  # RFC 1035, without the trailing dot


def parse_address(text: str) -> Address | None:
    """Read an address in its one proper spelling; None if it is a name or anything else.

    Octal, hexadecimal, decimal and short forms are deliberately not understood: see `is_host_name`.
    """
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_host_name(host: str) -> bool:
    """Whether `host` (lower-case ASCII, no trailing dot) is a name, and no program could take it for an address.

    The last label must not be a number, as in the WHATWG URL standard: inet_aton(3) and getaddrinfo(3) read
    2130706433, 0x7f.1, 0177.0.0.1 and 127.1 as 127.0.0.1, other programs do not.
    """
    labels = host.split(".")
    return (
        len(host) <= _LONGEST_NAME
        and all(map(_LABEL.fullmatch, labels))
        and not _NUMERIC_LABEL.fullmatch(labels[-1])
    )


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(_embedded(address))
    return address in _GLOBAL_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def is_allowed(address: Address, *, allow_private: bool) -> bool:
    """Whether a download may connect there.

    `allow_private` adds private, carrier-grade NAT and loopback addresses in their plain form. Metadata,
    link-local, multicast and reserved addresses, and IPv4 dressed up as IPv6, stay refused.
    """
    if is_public(address):
        return True
    if not allow_private:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NEVER_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_allowed(_embedded(address), allow_private=True)
    return any(address in network for network in _ALLOWED_PRIVATE_V6) and not any(
        address in network for network in _NEVER_V6
    )


def _embedded(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


# Where these services keep the bytes. Their share links redirect there, so naming the service on the
# allow-list must be enough. It holds for a redirect from the service only: a link straight to such a host is
# not implied.
_STORES = {
    "docs.google.com": ("*.googleusercontent.com",),
    "drive.google.com": ("drive.usercontent.google.com", "*.googleusercontent.com"),
    "dropbox.com": ("www.dropbox.com", "*.dl.dropboxusercontent.com"),
    "www.dropbox.com": ("dropbox.com", "*.dl.dropboxusercontent.com"),
}


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """The rules of one download.

    Args:
        hosts: allow-list of `files.example.com` and `*.example.com` (any depth below, not example.com
            itself); empty means any public host. A name on the list is still refused when it leads into a
            private network.
        allow_private: also loopback, private and carrier-grade NAT addresses, `http://`, and any port.
            Metadata services stay out of reach. For development, or a file server beside the daemon.
        max_bytes: of the file, both as transferred and as unpacked.
        max_redirects: how many times a server may send us elsewhere.
        timeout: seconds for everything together, from the first DNS question to the last byte.
        connect_timeout: seconds for each address of a name.
        ports: those allowed for public hosts. 443 only: other ports make the daemon a port scanner for hire.
        tls: trust other certificate authorities; it must verify certificates and names. Default: the bundle
            of certifi, or SSL_CERT_FILE / SSL_CERT_DIR if the operator has set them.

    Raises:
        ValueError: an entry of `hosts` is not a host, a cap is not positive, or `tls` does not verify.
    """

    hosts: tuple[str, ...] = ()
    allow_private: bool = False
    max_bytes: int = 50 * 1024 * 1024
    max_redirects: int = 3
    timeout: float = 60.0
    connect_timeout: float = 10.0
    ports: tuple[int, ...] = (443,)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", tuple(_host_pattern(host) for host in self.hosts))
        if self.max_bytes <= 0 or self.max_redirects < 0 or self.timeout <= 0 or self.connect_timeout <= 0:
            raise ValueError("caps on bytes, redirects and seconds must be positive")
        if self.tls is not None and not (
            self.tls.check_hostname and self.tls.verify_mode == ssl.CERT_REQUIRED
        ):
            raise ValueError("the TLS context must verify certificates and host names")

    def names(self, host: str, came_through: Collection[str] = ()) -> bool:
        """Whether the allow-list permits a host (lower case, ASCII, no trailing dot).

        Args:
            host: where the link, or a redirect, leads.
            came_through: the hosts that redirected us so far.
        """
        if not self.hosts or _matches(host, self.hosts):
            return True
        return any(_matches(host, _STORES.get(earlier, ())) for earlier in came_through)

    def tls_context(self) -> ssl.SSLContext:
        """The context to connect with; building the default one reads a 200 KB file."""
        return self.tls if self.tls is not None else httpx.create_ssl_context()


def _matches(host: str, patterns: tuple[str, ...]) -> bool:
    return any(host == p or (p.startswith("*.") and host.endswith(p[1:])) for p in patterns)


def _host_pattern(text: str) -> str:
    """Normalise one entry of the allow-list. A typing error must not end up as "allow everything"."""
    entry = text.strip().rstrip(".").lower()
    prefix, name = ("*.", entry[2:]) if entry.startswith("*.") else ("", entry)
    try:
        name = name if name.isascii() else httpx.URL(scheme="https", host=name).raw_host.decode("ascii")
    except httpx.InvalidURL:
        name = ""
    if not is_host_name(name) and (prefix or parse_address(name) is None):
        raise ValueError(f"{text!r} is not a host name; write files.example.com or *.example.com")
    return prefix + name
