"""Clients for the control endpoint of a running sandbox: `Remote` for scripts, `AsyncRemote` for a loop."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import httpx
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

__all__ = ["AsyncRemote", "Remote", "SandboxError"]

Values = dict[str, Any]
_BATCH = 20_000
_TIMEOUT = httpx.Timeout(90.0)
# A sandbox speaks plain HTTP. By default httpx reads the certificates of all authorities, 20 ms for each client.
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class SandboxError(Exception):
    """The control endpoint refused a call; the text says why."""


def _read(answer: httpx.Response) -> Values:
    data: Values = orjson.loads(answer.content)
    if answer.is_error:
        raise SandboxError(str(data.get("error") or data.get("message") or answer.status_code))
    return data


def _batches(records: Iterable[Values]) -> Iterator[bytes]:
    rows = iter(records)
    while batch := list(islice(rows, _BATCH)):
        yield b"\n".join(map(orjson.dumps, batch))


def _query(values: Values) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def _request(name: str, values: Values) -> tuple[str, str, Values]:
    """Verb, path and arguments of httpx for a call by name."""
    verb, _, path = name.partition(" ")
    if verb in {"GET", "DELETE"}:
        return verb, f"/sandbox{path}", {"params": _query(values)}
    return verb, f"/sandbox{path}", {"content": orjson.dumps(_query(values))}


class Remote:
    """Client for scripts; a context manager. Each call answers the endpoint's JSON as a dict."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False, verify=_PLAIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(self, name: str, **values: Any) -> Values:
        """Any call, for example `call("GET /calls", status=503)`.

        Raises:
            SandboxError: it was refused.
        """
        verb, path, rest = _request(name, values)
        return _read(self._http.request(verb, path, **rest))

    def fault(self, kind: str, **values: Any) -> Values:
        """Switch a fault on; its number is in the answer."""
        return self.call("POST /faults", kind=kind, **values)

    def faults_off(self, number: int | None = None) -> Values:
        """Switch one fault or all of them off."""
        return self.call("DELETE /faults" if number is None else f"DELETE /faults/{number}")

    def options(self, **switches: Any) -> Values:
        """Change switches; all of them as they are now."""
        return self.call("PATCH /options", **switches)

    def overview(self) -> Values:
        """Numbers so far; costs nothing."""
        return self.call("GET ")

    def record(self, name: str) -> Values:
        """A record by either id, with what its phone shows."""
        return self.call(f"GET /records/{name}")

    def phone(self, record: str, *, installed: bool) -> Values:
        """Take the pass off its phone, or put it back."""
        return self.call("POST /phones", record=record, installed=installed)

    def summary(self, **values: Any) -> Values:
        """Who was buzzed, how often, with what."""
        return self.call("POST /summary", **values)

    def repeats(self, **values: Any) -> Values:
        """Records updated more than once, and whether with the same bytes."""
        return self.call("GET /repeats", **values)

    def window(self, **values: Any) -> Values:
        """The highest number of calls in a sliding second, and how full a limit was used."""
        return self.call("GET /window", **values)

    def reset(self, *what: str, seed: int = 0) -> Values:
        """Drop records (and history), history, or faults; all when none is named."""
        return self.call("POST /reset", what=list(what) or None, seed=seed)

    def seed(self, records: Iterable[Values] = (), owners: Iterable[Values] = ()) -> int:
        """Bring in owners, then records; how many records. A million take some seconds."""
        self.call("POST /seed", owners=list(owners))
        return sum(
            int(_read(self._http.post("/sandbox/seed", content=part))["records"])
            for part in _batches(records)
        )

    def buzzes(self, **values: Any) -> list[Values]:
        """All alerts from `after` on, page by page."""
        return self._pages("buzzes", **values)

    def calls(self, **values: Any) -> list[Values]:
        """All calls from `after` on, page by page."""
        return self._pages("calls", **values)

    def _pages(self, what: str, *, after: int = 0, **values: Any) -> list[Values]:
        found: list[Values] = []
        while True:
            page = self.call(f"GET /{what}", after=after, **values)
            found += page[what]
            after = page["next"]
            if after >= page["total"]:
                return found

    def wait(self, timeout: float = 30.0, **numbers: int) -> bool:
        """Until `calls`, `pushes`, `buzzes` or `recordsBuzzed` are reached; False when time ran out."""
        return bool(self.call("GET /wait", timeout=timeout, **numbers)["reached"])


class AsyncRemote:
    """The same for an event loop: each call of `Remote` can be awaited. An asynchronous context manager."""

    def __init__(self, url: str) -> None:
        self._remote = Remote(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remote.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A call of `Remote`, which waits for its answer in a thread."""
        return partial(asyncio.to_thread, getattr(self._remote, name))
