"""Fetch one wheel from a package index with nothing but the standard library.

The index, the certificates and the proxy are those that pip would use: its environment variables first, then
its configuration files. The page format is the HTML of PEP 503, which every index speaks.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html.parser
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DEFAULT_INDEX = "https://pypi.org/simple"
TIMEOUT = 60  # seconds without a byte


class NoWheelError(Exception):
    """No usable wheel; the message is for a person."""


def fetch_wheel(project: str, version: str, hashes: set[str], folder: Path) -> Path:
    """Download a pure-Python wheel into the folder and return its path.

    Args:
        project: normalized name.
        version: exactly this one.
        hashes: allowed sha256 sums, as hex. Nothing else is ever written or run.
        folder: an existing directory.
    """
    name = f"{project}-{version}-py3-none-any.whl"
    seen: list[str] = []
    for index in index_urls():
        page = index.rstrip("/") + f"/{project}/"
        try:
            link = find_link(page, name)
            if link is None:
                seen.append(f"{without_password(page)} does not offer {name}")
                continue
            content = get(link)
        except (OSError, ValueError) as error:
            seen.append(f"{without_password(page)}: {getattr(error, 'reason', None) or error}")
            continue
        if hashlib.sha256(content).hexdigest() not in hashes:
            seen.append(f"{name} at {without_password(page)} has another sha256 than requirements.lock names")
            continue
        target = folder / name
        target.write_bytes(content)
        return target
    raise NoWheelError("pip cannot be fetched: " + "; ".join(seen))


def index_urls() -> list[str]:
    """Return the indexes in the order pip would ask them."""
    main = os.environ.get("PIP_INDEX_URL") or pip_config("index-url") or DEFAULT_INDEX
    extra = os.environ.get("PIP_EXTRA_INDEX_URL") or pip_config("extra-index-url") or ""
    return [main.strip(), *extra.split()]


def pip_config(key: str) -> str | None:
    """Look a key up in pip's configuration files; [install] wins over [global], later files over earlier."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    files = [Path("/etc/pip.conf"), Path("~/.pip/pip.conf").expanduser(), home / "pip" / "pip.conf"]
    if named := os.environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    config = configparser.ConfigParser(interpolation=None)
    config.read(files)
    return config.get("install", key, fallback=None) or config.get("global", key, fallback=None)


def find_link(page: str, name: str) -> str | None:
    """Return the address of the file with this name on an index page; None when it is not there."""
    links = Links()
    if page.startswith("file:"):
        page += "index.html"
    links.feed(get(page).decode("utf-8", "replace"))
    for href in links.found:
        address = urllib.parse.urljoin(page, urllib.parse.urldefrag(href).url)
        if urllib.parse.unquote(address.rpartition("/")[2]) == name:
            return address
    return None


class Links(html.parser.HTMLParser):
    """Collects the address of every link of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the href of an anchor."""
        if tag == "a" and (href := dict(attrs).get("href")):
            self.found.append(href)


def get(address: str) -> bytes:
    """Read one address: http, https or file; credentials in the address become a header."""
    parts = urllib.parse.urlsplit(address)
    headers = {}
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        address = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - file: is a local mirror
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=tls_context(secret=bool(headers)))
    ]
    if proxy := os.environ.get("PIP_PROXY"):
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
        return bytes(answer.read())


def tls_context(*, secret: bool) -> ssl.SSLContext:
    """Trust what pip would trust.

    A bare Debian has no certificates at all. Then the connection is not verified, because the file is: its
    sha256 stands in requirements.lock. (pip brings its own certificates for all that follows.) This is
    never done when there is a password to lose.
    """
    named = os.environ.get("PIP_CERT") or pip_config("cert") or os.environ.get("SSL_CERT_FILE")
    if named and Path(named).exists():
        is_folder = Path(named).is_dir()
        return ssl.create_default_context(
            cafile=None if is_folder else named, capath=named if is_folder else None
        )
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    nothing_trusted = not context.cert_store_stats()["x509_ca"] and not (
        paths.capath and any(Path(paths.capath).iterdir())
    )
    if nothing_trusted and not secret:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def without_password(address: str) -> str:
    """Show an address without the user and password it may carry."""
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
