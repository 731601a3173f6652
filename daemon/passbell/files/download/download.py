"""Fetch a CSV file from a link that a stranger may have written.

One loop over the hops: check the link, resolve and check the addresses, connect to one of them, and either
follow one redirect (back to the start) or stream the body. Every cap of `FetchPolicy` is kept here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import httpcore
import httpx

from passbell import __version__
from passbell.files.download.content import SNIFF_BYTES, Unpacker, refuse_unless_csv
from passbell.files.download.errors import FetchFailed, for_network, for_status
from passbell.files.download.links import Target, check_link, redact, subject_of
from passbell.files.download.network import SYSTEM, Network, PinnedBackend, PinnedTransport, checked_addresses

if TYPE_CHECKING:
    from passbell.files.download.policy import FetchPolicy

__all__ = ["Downloaded", "download"]

_HEADERS = {
    "Accept": "text/csv, text/plain;q=0.9, */*;q=0.5",
    "Accept-Encoding": "gzip",
    "User-Agent": f"passbell/{__version__}",
}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Downloaded:
    """A finished download.

    Args:
        final_url_redacted: where the bytes came from, without query and long path segments: fit for a log.
        bytes: how many were written, unpacked.
        content_type: as the server said, perhaps empty.
        sha256: hexadecimal, of the bytes written.
    """

    final_url_redacted: str
    bytes: int
    content_type: str
    sha256: str


async def download(url: str, into: BinaryIO, policy: FetchPolicy, *, network: Network = SYSTEM) -> Downloaded:
    """Stream the file behind `url` into `into` (a file opened for writing in binary mode).

    Nothing is written before the first bytes look like a text file. After an error `into` may hold a part of
    the file and must be thrown away. Proxies, netrc and cookies of the environment are not used: a proxy
    would resolve the name again.

    Args:
        url: as it was pasted; share links of Google Sheets, Google Drive and Dropbox are understood.
        into: where the bytes go; writes block, as they do on a local file.
        policy: the rules.
        network: other ways to resolve and connect. What they return is checked all the same.

    Raises:
        FetchRefused: the link, or where it leads, is not allowed.
        FetchFailed: no file came, or it is no CSV, too large or too slow.
    """
    trail: list[httpx.URL] = []
    try:
        async with asyncio.timeout(policy.timeout):
            tls = policy.tls_context()
            target = check_link(url, policy)
            while True:
                addresses = await checked_addresses(target, policy, network, subject_of(trail))
                transport = PinnedTransport(PinnedBackend(target, addresses, network), tls)
                answer = await _ask(target, transport, into, policy)
                if isinstance(answer, Downloaded):
                    return answer
                trail.append(target.url)
                if len(trail) > policy.max_redirects:
                    raise FetchFailed(
                        f"The link redirects more than {policy.max_redirects} times; use the final link."
                    )
                target = check_link(answer, policy, trail)
    except TimeoutError:
        raise FetchFailed(
            f"The download took longer than {policy.timeout:g} seconds and was stopped.", temporary=True
        ) from None


async def _ask(
    target: Target, transport: PinnedTransport, into: BinaryIO, policy: FetchPolicy
) -> Downloaded | str:
    """Ask one place. Returns the finished download, or the Location of a redirect.

    The transport is driven without an `httpx.AsyncClient`: a client parses Location itself, even when it is
    not to follow it, and brings proxies, cookies and netrc, none of which has a place here.
    """
    seconds = httpx.Timeout(policy.timeout, connect=policy.connect_timeout).as_dict()
    request = httpx.Request("GET", target.url, headers=_HEADERS, extensions={"timeout": seconds})
    try:
        async with transport, contextlib.aclosing(await transport.handle_async_request(request)) as response:
            if response.status_code in _REDIRECTS and response.headers.get("location"):
                return str(response.headers["location"])
            if response.status_code != httpx.codes.OK:
                raise for_status(response.status_code, target.host)
            return await _save(response, target, into, policy)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise for_network(error, target.host) from error


async def _save(response: httpx.Response, target: Target, into: BinaryIO, policy: FetchPolicy) -> Downloaded:
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > policy.max_bytes:
        raise _too_large(policy)
    unpacker = Unpacker(response.headers.get("content-encoding", ""))
    sink = _Sink(into, policy, str(response.headers.get("content-type", "")))
    transferred = 0
    async for data in response.aiter_raw():
        transferred += len(data)
        if transferred > policy.max_bytes:
            raise _too_large(policy)
        for piece in unpacker.feed(data):
            sink.take(piece)
            await asyncio.sleep(0)  # 64 KB can unpack to 64 MB: the daemon's other loops run in between
    if not unpacker.complete:
        raise FetchFailed(f"{target.host} broke off in the middle of the file; try again.", temporary=True)
    return sink.finish(target.url)


class _Sink:
    """Counts, hashes and writes; holds the first bytes back until it is clear that they are no web page."""

    def __init__(self, into: BinaryIO, policy: FetchPolicy, content_type: str) -> None:
        self._into = into
        self._policy = policy
        self._content_type = content_type
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._head: bytes | None = b""

    def take(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes > self._policy.max_bytes:
            raise _too_large(self._policy)
        if self._head is None:
            self._write(piece)
            return
        self._head += piece
        if len(self._head) >= SNIFF_BYTES:
            self._release(self._head)

    def finish(self, url: httpx.URL) -> Downloaded:
        if self._head is not None:
            self._release(self._head)
        return Downloaded(redact(url), self._bytes, self._content_type, self._digest.hexdigest())

    def _release(self, head: bytes) -> None:
        refuse_unless_csv(head[:SNIFF_BYTES], self._content_type)
        self._head = None
        self._write(head)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        try:
            self._into.write(data)
        except OSError as error:
            raise FetchFailed(
                "The file could not be stored on the daemon's own disk.", temporary=True
            ) from error


def _too_large(policy: FetchPolicy) -> FetchFailed:
    return FetchFailed(
        f"The file is larger than {policy.max_bytes / _MEGABYTE:g} MB; split it, or send fewer columns."
    )
