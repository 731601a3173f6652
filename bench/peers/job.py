"""What the Python contestants share: the recipients, the one PUT per recipient, and the harness's commands.

Environment: DATABASE_URL, SINK_URL, BENCH_TEXT, BENCH_CLIENT (aiohttp or pyreqwest), BENCH_IN_FLIGHT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DATABASE_URL = os.environ["DATABASE_URL"]
IN_FLIGHT = int(os.environ["BENCH_IN_FLIGHT"])
RECIPIENTS = (
    "select passkit_internal_id as id from public.passes_master where status = 'INSTALLED' order by id"
)
HEADERS = {"authorization": "token", "accept": "application/json", "content-type": "application/json"}

Push = "Callable[[str], Awaitable[None]]"


def body(recipient: str) -> bytes:
    """The update of one record."""
    return json.dumps(
        {"id": recipient, "metaData": {"marketingMessage": os.environ["BENCH_TEXT"]}}, separators=(",", ":")
    ).encode()


def pusher() -> Callable[[str], Awaitable[None]]:
    """A function that pushes one recipient."""
    url = os.environ["SINK_URL"] + "/members/member"
    if os.environ["BENCH_CLIENT"] == "pyreqwest":
        from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - only one of the two is loaded

        client = (
            ClientBuilder()
            .max_connections(IN_FLIGHT)
            .pool_max_idle_per_host(IN_FLIGHT)
            .error_for_status(True)
            .build()
        )

        async def fast(recipient: str) -> None:
            answer = await client.put(url).headers(HEADERS).body_bytes(body(recipient)).build().send()
            await answer.bytes()

        return fast
    import aiohttp  # noqa: PLC0415 - as above

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=IN_FLIGHT),
        cookie_jar=aiohttp.DummyCookieJar(),
        raise_for_status=True,
    )

    async def usual(recipient: str) -> None:
        async with session.put(url, data=body(recipient), headers=HEADERS) as answer:
            await answer.read()

    return usual


async def serve(commands: dict[str, Callable[[], Awaitable[Any]]]) -> None:
    """Obey the harness: a line is answered with the same word; the end of input ends the process."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    print("ready", flush=True)
    while line := (await reader.readline()).decode().strip():
        await commands[line]()
        print(line, flush=True)
    os._exit(0)
