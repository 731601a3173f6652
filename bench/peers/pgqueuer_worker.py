"""pgqueuer over asyncpg on uvloop, one job per recipient; the batch size comes from BENCH_BATCH."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import asyncpg
import uvloop
from job import DATABASE_URL, RECIPIENTS, pusher, serve
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job  # noqa: TC002 - the decorator reads the annotation
from pgqueuer.queries import Queries

BATCH = int(os.environ["BENCH_BATCH"])


async def main() -> None:
    """Install, then do as told."""
    push = pusher()
    pool = await asyncpg.create_pool(DATABASE_URL, min_size=2, max_size=10)
    connection = await asyncpg.connect(DATABASE_URL)
    driver = AsyncpgPoolDriver(pool) if os.environ.get("BENCH_POOL") else AsyncpgDriver(connection)
    queries = Queries(driver)
    await queries.install()
    queue = PgQueuer(driver)

    @queue.entrypoint("push")
    async def work(job: Job) -> None:
        await push((job.payload or b"").decode())

    async def enqueue() -> None:
        async with pool.acquire() as reader:
            ids = [row["id"].encode() for row in await reader.fetch(RECIPIENTS)]
        for at in range(0, len(ids), 10_000):
            part = ids[at : at + 10_000]
            await queries.enqueue(["push"] * len(part), part, [0] * len(part))

    tasks = []

    async def begin() -> None:
        tasks.append(
            asyncio.create_task(
                queue.run(
                    batch_size=BATCH,
                    # Without a cap it takes all jobs at once, and its heartbeats take all of the time.
                    max_concurrent_tasks=int(os.environ.get("BENCH_TASKS", 2 * BATCH)),
                    dequeue_timeout=timedelta(seconds=1),
                )
            )
        )

    await serve({"enqueue": enqueue, "work": begin})


uvloop.run(main())
