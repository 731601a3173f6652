"""Database and HTTP addresses as settings: checked with a sentence that helps, shown without passwords."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretStr

__all__ = [
    "DatabaseUrl",
    "check_database_url",
    "check_http_url",
    "is_local_name",
    "is_loopback",
    "redact_url",
]

# Parameters that other tools put into a PostgreSQL URL (Prisma's, as Supabase's dashboard shows them) and
# that libpq refuses to see.
_FOREIGN_PARAMETERS = {"pgbouncer", "connection_limit", "pool_timeout", "schema", "statement_cache_size"}


def check_database_url(value: object) -> object:
    """Return the URL as libpq takes it.

    Raises:
        ValueError: with what is wrong; the message never quotes the URL, which holds a password.
    """
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str):
        return value
    url = value.strip()
    if "[YOUR-PASSWORD]" in url.upper():
        raise ValueError("still holds the placeholder [YOUR-PASSWORD]: put the database password there")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("cannot be read; a password with @ : / ? # [ ] must be percent-encoded") from None
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ValueError("must start with postgresql:// (or postgres://)")
    if parts.fragment:
        raise ValueError("holds a # that is not percent-encoded; write %23 in the password")
    # By hand: urlunsplit would turn postgresql:///name, a Unix socket, into postgresql:/name.
    base, _, query = url.partition("?")
    kept = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in _FOREIGN_PARAMETERS)
    return f"{base}?{kept}" if kept else base


def check_http_url(value: object) -> object:
    """Return the base URL without a slash at its end; ValueError with what is wrong."""
    if not isinstance(value, str):
        return value
    url = value.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
        (parts.hostname or "").encode("idna")  # labels of more than 63 characters
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http(s) URL with a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a plain base URL: no user, no ?query, no #fragment")
    return url


def check_host_names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of an allow-list; ValueError for an entry that is the address of a page: no host is like it."""
    for host in hosts:
        name = host.removeprefix("*.")
        if re.search(r"[/@?#*\s]", name) or (":" in name and not _is_ipv6(name)):
            raise ValueError(
                "lists host names such as files.example.com or *.example.com: no https://, port or path"
            )
    return hosts


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether a host of a URL is this machine itself; the names are those that passbell.accounts takes."""
    return re.fullmatch(r"localhost|127(\.\d{1,3}){3}|::1", host.casefold()) is not None


def is_local_name(host: str) -> bool:
    """Tell whether a host is a name without a dot, such as a service of a compose file: no server of the internet's."""
    return re.fullmatch(r"(?=.*[a-z])(?!0x)[a-z0-9_-]+", host.casefold()) is not None


def redact_url(url: str) -> str:
    """Show a database URL with `***` for its password, in both places where libpq reads one."""
    base, _, query = url.partition("?")
    base = re.sub(r"^(\w+://[^:@/]*):.*@", r"\1:***@", base)
    shown = re.sub(r"\b((?:ssl)?password)=[^&]*", r"\1=***", query)
    return f"{base}?{shown}" if shown else base


DatabaseUrl = Annotated[SecretStr, BeforeValidator(check_database_url)]
