"""From a link that was pasted into a form to a place that a download may connect to.

Everything that can be decided without a network is decided here, for the first link and again for each redirect. The
host is reduced to a lower-case ASCII name or one proper IP address. Any other spelling is refused, not decoded, because
two programs rarely decode it alike.

`direct_link` turns a share link, as a browser shows it, into one that gives the file itself. Sources: Google's
documented `export?format=csv&gid=` and `pub?output=csv` of Sheets, `uc?export=download` of Drive, and Dropbox's help
page "force a file to download" (`dl=1`). Links of Supabase Storage, public and signed, give the file already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from passbell.files.download.errors import FetchFailed, FetchRefused
from passbell.files.download.policy import Address, is_allowed, is_host_name, parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passbell.files.download.policy import FetchPolicy

__all__ = ["Target", "check_link", "direct_link", "redact", "refuse_private", "subject_of"]


_SHEET = re.compile(r"(?:/a/[^/]+)?/spreadsheets/(?:u/\d+/)?d/([A-Za-z0-9_-]{10,})(?:/([a-z]*))?/?")
_PUBLISHED_SHEET = re.compile(
    r"(?:/a/[^/]+)?/spreadsheets/(?:u/\d+/)?d/e/([A-Za-z0-9_-]{10,})/pub(?:html)?/?"
)
_DRIVE_FILE = re.compile(r"(?:/a/[^/]+)?/file/(?:u/\d+/)?d/([A-Za-z0-9_-]{10,})(?:/[a-z]*)?/?")
_DROPBOX_FILE = re.compile(r"/(?:s|scl/fi)/.+")
_DIGITS = re.compile(r"\d{1,20}")
_ID = re.compile(r"[A-Za-z0-9_-]{10,}")
_SHEET_PAGES = {None, "", "edit", "view", "preview", "htmlview", "htmlembed", "copy", "template"}


def direct_link(url: httpx.URL) -> httpx.URL:
    """Return the download link behind a share link of Google Sheets, Drive or Dropbox; else `url` itself.

    The sheet is the one named by `gid` in the fragment, else in the query, else the first. Scheme and host
    never change, so whatever was true of the link for the rules of a download stays true.
    """
    match url.raw_host.decode("ascii"):
        case "docs.google.com":
            return _google_sheet(url)
        case "drive.google.com":
            return _drive_file(url)
        case "dropbox.com" | "www.dropbox.com" if _DROPBOX_FILE.fullmatch(url.path):
            return url.copy_remove_param("raw").copy_set_param("dl", "1")
        case _:
            return url


def _google_sheet(url: httpx.URL) -> httpx.URL:
    if published := _PUBLISHED_SHEET.fullmatch(url.path):
        wanted = {"output": "csv"}
        if gid := _gid(url):
            wanted |= {"gid": gid, "single": "true"}
        return url.copy_with(path=f"/spreadsheets/d/e/{published[1]}/pub", params=wanted, fragment=None)
    sheet = _SHEET.fullmatch(url.path)
    if sheet is None or sheet[2] not in _SHEET_PAGES:
        return url  # an export link is already what we want; anything else is not for us to guess
    wanted = {"format": "csv"}
    if gid := _gid(url):
        wanted["gid"] = gid
    if key := url.params.get("resourcekey"):  # part of links to files shared before September 2021
        wanted["resourcekey"] = key
    return url.copy_with(path=f"/spreadsheets/d/{sheet[1]}/export", params=wanted, fragment=None)


def _drive_file(url: httpx.URL) -> httpx.URL:
    file = _DRIVE_FILE.fullmatch(url.path)
    identifier = file[1] if file else url.params.get("id", "") if url.path in {"/open", "/uc"} else ""
    if not _ID.fullmatch(identifier):
        return url
    wanted = {"export": "download", "id": identifier}
    if key := url.params.get("resourcekey"):
        wanted["resourcekey"] = key
    return url.copy_with(path="/uc", params=wanted, fragment=None)


def _gid(url: httpx.URL) -> str | None:
    """The number of the sheet (tab): `#gid=0` is what the browser shows, `?gid=0` may be an older one."""
    gid = httpx.QueryParams(url.fragment).get("gid") or url.params.get("gid")
    return gid if gid and _DIGITS.fullmatch(gid) else None


_LONGEST_LINK = 8_000  # a signed S3 link with a session token has about 2,000 characters

# What comes along when a link is pasted from a mail or a spreadsheet: spaces, no-break and zero-width ones, a
# BOM.
_PASTED_AROUND = " \t\r\n\u00a0\u200b\u200c\u200d\u2060\ufeff"
# Inside a link these make parsers disagree about where the host ends.
_FORBIDDEN_INSIDE = re.compile(r"[\s\\\x00-\x20\x7f]")
_LONGEST_SHOWN = 24

# Names that mean "inside" wherever they are asked: RFC 6761, 6762, 7686, 8375, 9476, ICANN's `.internal`, and
# the top-level names that ICANN does not delegate because private networks use them.
_INSIDE = frozenset(
    {
        "alt",
        "corp",
        "home",
        "internal",
        "intranet",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
    }
)
_INSIDE_SUFFIX = ".home.arpa"
# Metadata services by name. Their addresses are refused anyway; this one does not even ask.
_NEVER = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.tencentyun.com",
    }
)
# Where a share link leads that is not shared with everyone.
_SIGN_IN = frozenset({"accounts.google.com", "login.live.com", "login.microsoftonline.com"})


@dataclass(frozen=True)
class Target:
    """A checked link.

    Args:
        url: what to ask for; its host is `host`, without user, password and fragment.
        host: lower-case ASCII name without trailing dot, or an IP address without brackets.
        port: 1 to 65535.
        literal: the address, if the link names one instead of a host name.
    """

    url: httpx.URL
    host: str
    port: int
    literal: Address | None


def check_link(link: str, policy: FetchPolicy, trail: Sequence[httpx.URL] = ()) -> Target:
    """Check a link, or the place a redirect leads to, by everything but DNS.

    Args:
        link: as it was written; behind a redirect, as the Location header says (it may be relative).
        policy: the rules.
        trail: the places that redirected us so far, oldest first; empty for the link itself.

    Raises:
        FetchRefused: with the sentence for the person.
        FetchFailed: the redirect asks for a sign-in.
    """
    subject = subject_of(trail)
    url = _parse(link, subject, trail)
    _check_scheme(url, policy, subject, trail)
    if url.userinfo:
        raise FetchRefused(f"{subject} contains a user name or password (a part before @); use one without.")
    host = _host(url, subject)
    literal = parse_address(host)
    if literal is None:
        _check_name(host, policy, subject)
    elif not is_allowed(literal, allow_private=policy.allow_private):
        raise refuse_private(subject)
    port = url.port or (443 if url.scheme == "https" else 80)
    if not policy.allow_private and port not in policy.ports:
        raise FetchRefused(f"{subject} uses port {port}; only the usual port of https is allowed.")
    if trail and host in _SIGN_IN:
        raise FetchFailed(
            'The link asks for a sign-in; share the file so that "anyone with the link" can view it.'
        )
    if not policy.names(host, [earlier.raw_host.decode("ascii") for earlier in trail]):
        raise FetchRefused(
            f"{subject} leads to {host}, which is not on the list of allowed hosts (PASSBELL_CSV_HOSTS)."
        )
    return Target(direct_link(url.copy_with(host=host)).copy_with(fragment=None), host, port, literal)


def subject_of(trail: Sequence[httpx.URL]) -> str:
    """What a sentence talks about: the link itself, or where it was redirected."""
    return "The redirect behind the link" if trail else "The link"


def refuse_private(subject: str) -> FetchRefused:
    """The one sentence for every address that is out of bounds; it does not say which address, nor why."""
    return FetchRefused(
        f"{subject} leads into a private or reserved network, which is not allowed;"
        " put the file where everybody on the internet could open the link."
    )


def redact(url: httpx.URL) -> str:
    """Show a URL without what would let a reader fetch the file: query, fragment, long path segments."""
    path, _, query = url.raw_path.decode("ascii").partition("?")
    short = "/".join(part if len(part) <= _LONGEST_SHOWN else f"{part[:4]}…" for part in path.split("/"))
    name = url.raw_host.decode("ascii")
    host = f"[{name}]" if ":" in name else name
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{host}{port}{short}{'?…' if query else ''}"


def _parse(link: str, subject: str, trail: Sequence[httpx.URL]) -> httpx.URL:
    text = link.strip(_PASTED_AROUND)
    if len(text) > _LONGEST_LINK:
        raise FetchRefused(f"{subject} is longer than {_LONGEST_LINK:,} characters.")
    if not text or _FORBIDDEN_INSIDE.search(text):
        raise FetchRefused(f"{subject} is not one web address; copy the whole link, without spaces.")
    try:
        return trail[-1].join(text) if trail else httpx.URL(text)
    except (httpx.InvalidURL, ValueError):  # ValueError: a host that Python's IP parser or codec rejects
        raise FetchRefused(
            f"{subject} is not a web address that can be understood; copy it once more."
        ) from None


def _check_scheme(url: httpx.URL, policy: FetchPolicy, subject: str, trail: Sequence[httpx.URL]) -> None:
    # A redirect never takes the encryption away, even where plain http is allowed.
    plain = policy.allow_private and not any(earlier.scheme == "https" for earlier in trail)
    if url.scheme != "https" and not (plain and url.scheme == "http"):
        raise FetchRefused(f"{subject} must start with https://.")


def _host(url: httpx.URL, subject: str) -> str:
    """Return the host that httpx will use, or refuse a spelling that could be read in two ways."""
    host = url.raw_host.decode("ascii").removesuffix(".")
    if is_host_name(host) or (parse_address(host) is not None and "%" not in host):
        return host
    raise FetchRefused(
        f"{subject} names its server in a form that is not allowed; use the server's ordinary name."
    )


def _check_name(host: str, policy: FetchPolicy, subject: str) -> None:
    inside = "." not in host or host.rpartition(".")[2] in _INSIDE or host.endswith(_INSIDE_SUFFIX)
    if host in _NEVER or (inside and not policy.allow_private):
        raise refuse_private(subject)
