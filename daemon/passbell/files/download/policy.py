"""What a download may do: hosts, networks, ports, sizes, times.

Filled from PASSBELL_CSV_HOSTS and PASSBELL_CSV_ALLOW_PRIVATE by the settings.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from passbell.files.download.addresses import is_host_name, parse_address

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["FetchPolicy"]

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
