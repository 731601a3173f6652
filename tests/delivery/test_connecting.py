"""Connections that take long to make do not bring the calls of a second together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from passbell.database.limits import Slots
from passbell.delivery.pacing import Pacer
from passbell.delivery.sending import PacedCaller
from passbell.passkit import Credentials, PassKit, Recipient, Verdict
from passbell.passkit.over_httptools import HttptoolsTransport

if TYPE_CHECKING:
    import pytest

RATE, HANDSHAKE = 100, 0.4
MEMBER = Recipient("p1", "MEMBERSHIP", "abc", None, None)
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"id":"abc"}'


async def test_the_first_calls_after_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, far away, nothing connected yet: a call that had to connect takes another slot."""
    arrivals: list[float] = []

    async def passkit_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                arrivals.append(time.monotonic())
                await asyncio.sleep(0.05)
                writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(passkit_answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connect = HttptoolsTransport._connect

    async def slow(self: HttptoolsTransport, deadline: float) -> object:
        await asyncio.sleep(HANDSHAKE)  # TCP and TLS, some ways there and back
        return await connect(self, deadline)

    monkeypatch.setattr(HttptoolsTransport, "_connect", slow)
    free_from = time.monotonic()

    async def take(count: int, *_: object) -> Slots:
        nonlocal free_from
        now = time.monotonic()
        start = max(free_from, now)
        free_from = start + count / RATE
        return Slots(start, now, 1 / RATE)

    pacer = Pacer(take, RATE)
    calls = iter(range(2 * RATE))
    async with PassKit(url, Credentials(token="t"), caller=PacedCaller(pacer)) as passkit:

        async def lane() -> None:
            for _ in calls:
                assert (await passkit.push(MEMBER, "Hello", None)).verdict is Verdict.SENT

        await asyncio.gather(*(lane() for _ in range(50)))
    server.close()
    await asyncio.sleep(0.1)  # its ends of the connections are closed as well
    most = max(sum(begin <= at < begin + 1 for at in arrivals) for begin in arrivals)
    assert len(arrivals) == 2 * RATE
    assert most <= 1.1 * RATE, "40 more if they are sent by the turns they had before the handshake"
