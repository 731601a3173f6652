from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from passbell.devkit.sandbox import Sandbox
from passbell.devkit.sandbox.remote import AsyncRemote
from support.plain import plain_async_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

PROGRAM = "program-1"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def remote(sandbox: Sandbox) -> AsyncIterator[AsyncRemote]:
    async with AsyncRemote(sandbox.url) as client:
        yield client


@pytest.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with the long-lived token."""
    headers = {"Authorization": "Bearer sandbox-token"}
    async with plain_async_client(base_url=sandbox.url, headers=headers) as client:
        yield client


@pytest.fixture
async def members(remote: AsyncRemote) -> Callable[[int], str]:
    """Three members M1 to M3 with an Apple phone each, metaData seat and 100 points; gives their ids."""
    records = [
        {
            "id": f"id-{number}",
            "externalId": f"M{number}",
            "owner": PROGRAM,
            "metaData": {"seat": f"{number}A"},
            "points": 100,
            "person": {"displayName": f"Ann {number}", "emailAddress": f"ann{number}@example.com"},
        }
        for number in (1, 2, 3)
    ]
    await remote.seed(records)
    return lambda number: f"id-{number}"


@pytest.fixture
def push(api: httpx.AsyncClient) -> Callable[..., Any]:
    """PUT a message to a member, keeping its seat."""

    async def put(record: str, message: str, **meta: str) -> httpx.Response:
        number = record.rpartition("-")[2]
        meta_data = {"seat": f"{number}A", "marketingMessage": message, **meta}
        return await api.put("/members/member", json={"id": record, "metaData": meta_data})

    return put
