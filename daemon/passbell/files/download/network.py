"""The two steps to the outside, name to addresses and address to connection, and the check between them.

A name is resolved once, every answer is checked, and the connection goes to one of the checked addresses. No second
look-up could answer differently (DNS rebinding). The name of the link stays the TLS server name and the Host header.

httpx has no public way to hand a network backend to its own transport. So `PinnedTransport` drives httpcore's pool, the
layer below httpx that speaks HTTP, and `PinnedBackend` opens the sockets.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import httpcore
import httpx

from passbell.files.download.errors import FetchFailed
from passbell.files.download.links import Target, refuse_private
from passbell.files.download.policy import Address, is_allowed, parse_address

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from passbell.files.download.policy import FetchPolicy

__all__ = ["SYSTEM", "Network", "PinnedBackend", "PinnedTransport", "checked_addresses"]


_MOST_ADDRESSES_TRIED = 4

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
Connect: TypeAlias = Callable[[Address, int, float | None], Awaitable[httpcore.AsyncNetworkStream]]
_SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


async def _resolve(name: str) -> Sequence[str]:
    answers = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in answers]


async def _connect(address: Address, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:  # noqa: ASYNC109 - httpcore's interface
    return await httpcore.AnyIOBackend().connect_tcp(str(address), port, timeout=timeout)


@dataclass(frozen=True)
class Network:
    """How to reach the outside. It decides nothing: the check sits between the two and cannot be passed in.

    Args:
        resolve: host name → every address it has, as text. Raises OSError (`socket.gaierror`).
        connect: checked address, port, seconds → connection. Raises the errors of httpcore.
    """

    resolve: Resolve = _resolve
    connect: Connect = _connect


SYSTEM = Network()


async def checked_addresses(
    target: Target, policy: FetchPolicy, network: Network, subject: str
) -> tuple[Address, ...]:
    """Return the addresses that a connection to `target` may use, in the resolver's order.

    One forbidden address among many public ones is enough to refuse: otherwise the owner of the name could ask again
    until the forbidden one comes first.

    Raises:
        FetchRefused: an answer is not allowed.
        FetchFailed: the name has no address.
    """
    if target.literal is not None:
        return (target.literal,)
    try:
        answers = await network.resolve(target.host)
    except OSError as error:
        again = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        raise FetchFailed(_not_found(target.host, temporary=again), temporary=again) from error
    except UnicodeError as error:  # Python's own IDNA codec, which getaddrinfo passes names through
        raise FetchFailed(_not_found(target.host, temporary=False)) from error
    addresses = [parse_address(answer) for answer in dict.fromkeys(answers)]
    if not addresses:
        raise FetchFailed(_not_found(target.host, temporary=False))
    allowed = [a for a in addresses if a is not None and is_allowed(a, allow_private=policy.allow_private)]
    if len(allowed) != len(addresses):
        raise refuse_private(subject)
    return tuple(allowed)


def _not_found(host: str, *, temporary: bool) -> str:
    if temporary:
        return f"The address of {host} could not be looked up just now (DNS); try again in a few minutes."
    return f"There is no server named {host}; check the link for a typing error."


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the checked addresses of one target and to nothing else, whatever the client asks for.

    Args:
        target: the host and port that may be asked for.
        addresses: where they lead; tried in order, at most four.
        network: how to connect.
    """

    def __init__(self, target: Target, addresses: Sequence[Address], network: Network) -> None:
        self._target = target
        self._addresses = addresses[:_MOST_ADDRESSES_TRIED]
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[_SocketOption] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers; `timeout` is for each of them."""
        if (host, port) != (self._target.host, self._target.port):
            raise httpcore.ConnectError("the HTTP client asked for a place that was not checked")
        error: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                return await self._network.connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - httpcore's interface
        socket_options: Iterable[_SocketOption] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise httpcore.ConnectError(f"no unix sockets: {path}")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries (which are off)."""
        await asyncio.sleep(seconds)


class PinnedTransport(httpx.AsyncBaseTransport):
    """One connection, HTTP/1.1, no proxy, no retry. Raises the errors of httpcore, not of httpx.

    httpcore (h11) refuses a response whose headers, or one chunk header, exceed 100 KB.

    Args:
        backend: opens the connection.
        tls: verifies the certificate against the host of the URL, not against the address.
    """

    def __init__(self, backend: PinnedBackend, tls: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            network_backend=backend,
            max_connections=1,
            max_keepalive_connections=0,
            retries=0,
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._pool.__aexit__(exc_type, exc_value, traceback)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body of the answer is read later, as it comes."""
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._answer.stream
        if isinstance(stream, AsyncIterable):
            async for piece in stream:
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()
