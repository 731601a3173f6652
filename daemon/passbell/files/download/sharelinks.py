"""Share links, as people copy them from a browser, turned into links that give the file itself.

Pure functions of the URL. Sources: Google's documented `export?format=csv&gid=` and `pub?output=csv` of
Sheets, `uc?export=download` of Drive, and Dropbox's help page "force a file to download" (`dl=1`). Supabase
Storage links, public and signed, already give the file and stay as they are.
"""

from __future__ import annotations

import re

import httpx

__all__ = ["direct_link"]

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
