"""procrastinate over psycopg's pool on uvloop, concurrency 100, finished jobs kept; one job per recipient."""

from __future__ import annotations

import asyncio
import logging

import procrastinate
import psycopg
import uvloop
from job import DATABASE_URL, IN_FLIGHT, RECIPIENTS, pusher, serve


async def main() -> None:
    """Install, then do as told."""
    logging.disable(logging.WARNING)  # procrastinate warns where the app is in the main module
    push = pusher()
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=DATABASE_URL, min_size=4, max_size=20)
    )

    @app.task(name="push")
    async def work(recipient: str) -> None:
        await push(recipient)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()

        async def enqueue() -> None:
            async with await psycopg.AsyncConnection.connect(DATABASE_URL) as reader:
                rows = await (await reader.execute(RECIPIENTS)).fetchall()
            for at in range(0, len(rows), 10_000):
                await work.batch_defer_async(*({"recipient": row[0]} for row in rows[at : at + 10_000]))

        tasks = []

        async def begin() -> None:
            tasks.append(
                asyncio.create_task(
                    app.run_worker_async(concurrency=IN_FLIGHT, install_signal_handlers=False)
                )
            )

        await serve({"enqueue": enqueue, "work": begin})


uvloop.run(main())
