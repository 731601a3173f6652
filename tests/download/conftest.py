"""A web server that plays file host, and a canary that must never be reached."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import httpcore
import pytest
import trustme

from passbell.files.download import Downloaded, FetchPolicy, download
from passbell.files.download.network import SYSTEM, Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from passbell.files.download.policy import Address

PUBLIC = "93.184.215.14"  # any public address: the test network below never sends a packet there
Route: TypeAlias = "bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]"


@dataclass
class FileHost:
    """Answers by path (with query); remembers what it was asked, as `host path`."""

    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    def answers(self, path: str, body: bytes, status: str = "200 OK", **headers: str) -> None:
        """Put `body` under `path`; a header given as "" is left out."""
        lines = {"content-type": "text/csv", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        self.routes[path] = f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body

    def redirects(self, path: str, to: str, status: str = "302 Found") -> None:
        self.answers(path, b"", status, location=to)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in request[1:] if line)
            path = request[0].split(" ")[1]
            self.asked.append(f"{headers['host']} {path}")
            self.headers.append(headers)
            route = self.routes.get(path, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            if callable(route):
                await route(writer)
            else:
                writer.write(route)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):  # the client hung up: several tests are about that
            return
        finally:
            writer.close()


@dataclass
class Canary:
    """Listens on 127.0.0.1 and, where there is IPv6, on [::1], both on one port; counts connections."""

    port: int
    connections: int = 0


@dataclass
class Internet:
    """A resolver with a given zone, and a connector that leads every public address to the file host.

    An address that is not public is really connected to, as production would do: if the guard lets one
    through, the canary sings.
    """

    host: FileHost
    zone: dict[str, Sequence[str]]
    canary: Canary
    public: str = PUBLIC
    looked_up: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)

    @property
    def network(self) -> Network:
        return Network(resolve=self._resolve, connect=self._connect)

    async def _resolve(self, name: str) -> Sequence[str]:
        self.looked_up.append(name)
        if name not in self.zone:
            raise socket.gaierror(socket.EAI_NONAME, "not in the zone of this test")
        return self.zone[name]

    async def _connect(
        self, address: Address, port: int, seconds: float | None
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append(f"{address}:{port}")
        if str(address) == PUBLIC:
            return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.host.port, timeout=seconds)
        return await SYSTEM.connect(address, self.canary.port, seconds)


@dataclass
class Fetcher:
    """`await fetch(url)` → (report, bytes), in the test internet unless `network` says otherwise."""

    internet: Internet
    tls: ssl.SSLContext
    into: io.BytesIO = field(default_factory=io.BytesIO)

    async def __call__(
        self, url: str, network: Network | None = None, **rules: object
    ) -> tuple[Downloaded, bytes]:
        policy = FetchPolicy(**{"tls": self.tls, "timeout": 20.0} | rules)  # type: ignore[arg-type]
        self.into = io.BytesIO()
        done = await download(url, self.into, policy, network=network or self.internet.network)
        return done, self.into.getvalue()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


NAMES = (
    "files.example.com",
    "other.example.com",
    "docs.google.com",
    "doc-0s-sheets.googleusercontent.com",
    "abc.supabase.co",
    "xn--mller-kva.example",
)


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*NAMES).configure_cert(context)
    return context


@pytest.fixture
async def host(certificate: ssl.SSLContext) -> AsyncIterator[FileHost]:
    """The file host behind TLS, with a certificate for NAMES."""
    host = FileHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=certificate)
    host.port = server.sockets[0].getsockname()[1]
    async with server:
        yield host


@pytest.fixture
async def plain_host() -> AsyncIterator[FileHost]:
    """The same without TLS, for `allow_private`."""
    host = FileHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    async with server:
        yield host


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary(0)

    async def sing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        canary.connections += 1
        writer.close()

    server = await asyncio.start_server(sing, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    servers = [server]
    if socket.has_ipv6:
        with contextlib.suppress(OSError):  # a machine without IPv6
            servers.append(await asyncio.start_server(sing, "::1", canary.port))
    yield canary
    for each in servers:
        each.close()
        await each.wait_closed()


@pytest.fixture
def zone() -> dict[str, Sequence[str]]:
    return dict.fromkeys(NAMES, (PUBLIC,))


@pytest.fixture
def internet(host: FileHost, zone: dict[str, Sequence[str]], canary: Canary) -> Internet:
    return Internet(host, zone, canary)


@pytest.fixture
def fetch(internet: Internet, trusting: ssl.SSLContext) -> Fetcher:
    return Fetcher(internet, trusting)
