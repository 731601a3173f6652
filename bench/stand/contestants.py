"""Who takes part: passbell, and what a user would otherwise pick, each with the settings its documentation recommends.

A contestant is started by itself, does its preparations (schema, connections), takes the order when told, and is
done when its own tables say so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString, Protocol, Self

import psycopg

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from stand.database import TEXT
from stand.environment import FOLDER
from support.processes import Daemon

if TYPE_CHECKING:
    from types import TracebackType

    from stand.environment import Environment

__all__ = ["CONTESTANTS", "Contestant", "Passbell", "Running"]

PEERS = Path(__file__).parents[1] / "peers"


class Running(Protocol):
    """A contestant that has been started and is ready. A context manager."""

    pid: int

    def __enter__(self) -> Self:
        """Start it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""

    def order(self) -> None:
        """Put all recipients in the queue and begin."""


@dataclass(frozen=True)
class Contestant:
    """`settled`: a query that is true when the queue has recorded everything; None stores nothing.

    `program` is a file in bench/peers, "" for passbell itself; `settings` its environment.
    """

    title: str
    program: str = ""
    settled: LiteralString | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def possible(self, environment: Environment) -> bool:
        """Whether what it needs is installed."""
        needs = {
            "": "",
            "plain_loop.mjs": self.settings.get("BENCH_CLIENT", ""),
            "graphile_worker.mjs": "graphile-worker",
            "pg_boss.mjs": "pg-boss",
            "pgqueuer_worker.py": "pgqueuer",
            "procrastinate_worker.py": "procrastinate",
        }[self.program]
        return not needs or needs in environment.versions

    def start(self, environment: Environment, database: str, sink: str) -> Running:
        """The process that does the job; not yet started."""
        if not self.program:
            return Passbell(database, sink, self.settings)
        if self.program.endswith(".mjs"):
            command = [str(environment.node), str(FOLDER / "node" / self.program)]
        else:
            command = [str(environment.python), str(PEERS / self.program)]
        return Peer(
            command, {"DATABASE_URL": database, "SINK_URL": sink, "BENCH_TEXT": TEXT, **self.settings}
        )


class Peer:
    """A file of bench/peers as a process that obeys lines on its standard input."""

    def __init__(self, command: list[str], settings: dict[str, str]) -> None:
        self._command = command
        self._settings = {
            "BENCH_CLIENT": "undici" if command[-1].endswith(".mjs") else "aiohttp",
            "BENCH_IN_FLIGHT": "50",
            **settings,
        }

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self._settings | {"NODE_ENV": "production"},
            # As passbell's: Linux may share a busy machine out by session (autogroup), not by process.
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._hear("ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def order(self) -> None:
        """Put all recipients in the queue, then begin to deliver; returns when it has begun."""
        for command in ("enqueue", "work"):
            assert self._process.stdin is not None  # noqa: S101
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
            if command == "enqueue":
                self._hear(command)

    def _hear(self, word: str) -> None:
        assert self._process.stdout is not None  # noqa: S101
        while (line := self._process.stdout.readline().strip()) != word:
            if not line and self._process.poll() is not None:
                raise RuntimeError(f"{self._command[-1]} ended before it said {word}")
            print(f"  {line}", file=sys.stderr)


class Passbell:
    """`passbell run`, the real command, and one campaign to everybody."""

    def __init__(self, database: str, sink: str, settings: dict[str, str]) -> None:
        self._database = database
        self.daemon = Daemon(
            database,
            sink,
            **{
                "RATE_PER_SECOND": 100_000,
                "CHUNK_SIZE": 500,
                "METADATA": "replace",
                "LOG_LEVEL": "warning",
                **settings,
            },
        )

    def __enter__(self) -> Self:
        self.daemon.__enter__()
        self.pid = self.daemon.pid
        time.sleep(0.5)  # its first looks at an empty queue are over
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.daemon.__exit__(kind, error, trace)

    def order(self) -> None:
        """Insert a campaign, as a form does."""
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute(
                "insert into public.push_campaigns (program_id, name, message_text)"
                " select id, 'Bench', %s from public.programs",
                [TEXT],
            )


CONTESTANTS = {
    "passbell": Contestant(
        "passbell, chunks of 500",
        settled="select bool_and(status = 'COMPLETED') from public.push_campaigns",
    ),
    "plain-undici": Contestant(
        "plain Node loop, undici, no pause, stores nothing",
        "plain_loop.mjs",
        settings={"BENCH_CLIENT": "undici", "BENCH_PAUSE": "0"},
    ),
    "graphile-worker": Contestant(
        "graphile-worker, 50 at a time, local queue 500, undici",
        "graphile_worker.mjs",
        "select not exists (select from graphile_worker._private_jobs)",
    ),
    "pg-boss": Contestant(
        "pg-boss, batches of 2,000, 4 workers, undici",
        "pg_boss.mjs",
        "select not exists (select from pgboss.job where name = 'push' and state <> 'completed')",
    ),
    "pgqueuer": Contestant(
        "pgqueuer, batches of 100, 200 tasks, aiohttp",
        "pgqueuer_worker.py",
        "select not exists (select from pgqueuer)",
        {"BENCH_BATCH": "100"},
    ),
    "procrastinate": Contestant(
        "procrastinate, concurrency 100, aiohttp",
        "procrastinate_worker.py",
        "select not exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
        {"BENCH_IN_FLIGHT": "100"},
    ),
    "owner-loop": Contestant(
        "the owner's loop, axios, 200 ms pause, stores nothing",
        "plain_loop.mjs",
        settings={"BENCH_CLIENT": "axios", "BENCH_PAUSE": "200"},
    ),
    "plain-axios": Contestant(
        "the owner's loop, axios, without its pause",
        "plain_loop.mjs",
        settings={"BENCH_CLIENT": "axios", "BENCH_PAUSE": "0"},
    ),
    "passbell-httpx": Contestant(
        "passbell with the portable client, httpx",
        settled="select bool_and(status = 'COMPLETED') from public.push_campaigns",
        settings={"HTTP_CLIENT": "httpx"},
    ),
    "graphile-axios": Contestant(
        "graphile-worker with axios",
        "graphile_worker.mjs",
        "select not exists (select from graphile_worker._private_jobs)",
        {"BENCH_CLIENT": "axios"},
    ),
    "pgqueuer-pyreqwest": Contestant(
        "pgqueuer, the same, pyreqwest",
        "pgqueuer_worker.py",
        "select not exists (select from pgqueuer)",
        {"BENCH_BATCH": "100", "BENCH_CLIENT": "pyreqwest"},
    ),
}
