"""Hit lists and member imports at full size, beside the same list done by hand in SQL.

    python bench/csv_files.py [--passes 1000000] [--members 100000] [--generation 2]

Prints seconds, the ratio to doing it by hand (COPY, join, array_agg; the goal is 3), and the peak memory of the
process that did the work (the goal is 150 MB). PostgreSQL is a private one, with fsync as in production.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from passbell.database.bundle import sql_root
from passbell.database.calls import Queue
from passbell.database.filequeue import ListLoad
from passbell.database.imports import ImportOrder, apply_import, open_import
from passbell.database.migrate import migrate
from passbell.database.pool import Database
from passbell.delivery.lists import ListLoader
from passbell.devkit.demo.members import DemoProgram, populate
from passbell.devkit.postgres import EmbeddedPostgres
from passbell.settings import Settings

BY_HAND = (
    "create temporary table hand_list (row_number integer, value text)",
    "create temporary table hand_chunks (chunk_no bigint, pass_ids uuid[])",
    """
    insert into hand_chunks
    select n.chunk_no, array_agg(n.id order by n.id)
      from (select p.id, (row_number() over (order by p.id) - 1) / 50 + 1 as chunk_no
              from hand_list l
              join public.passes_master p on lower(p.external_id) = lower(l.value)
              left join public.users u on u.id = p.user_id
             where p.status::text = 'INSTALLED' and p.is_active and coalesce(u.marketing_opt_in, true)) n
     group by n.chunk_no
    """,
)


def main() -> None:
    """Measure, in this order: by hand, the hit list, the member import."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--generation", default="2", choices=["1", "2", "3"])
    parser.add_argument("--only", choices=["list", "import"])
    parser.add_argument("--load", nargs=2, metavar=("DSN", "URL"), help=argparse.SUPPRESS)
    parser.add_argument("--import", nargs=3, dest="file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        import_file(*options.file)
        return
    if options.load:
        asyncio.run(load(*options.load))
        return
    with EmbeddedPostgres() as postgres, tempfile.TemporaryDirectory() as folder:
        dsn = postgres.url()
        program = fill(dsn, options.generation, options.passes)
        if options.only != "import":
            measure_list(dsn, program, Path(folder))
        if options.only != "list":
            measure_import(dsn, program, Path(folder), options.members)


def fill(dsn: str, generation: str, passes: int) -> UUID:
    """Create the host's tables with one program and install passbell; return the program's id."""
    begun = time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((sql_root() / "host" / f"generation_{generation}.sql").read_bytes())
        ids = populate(
            connection, generation, [DemoProgram("Bench", "MEMBERSHIP", "America/New_York")], passes=passes
        )
    migrate(dsn)
    print(f"{passes:,} passes created in {time.perf_counter() - begun:.0f} s (generation {generation})")
    return ids["Bench"]


# ── hit list ─────────────────────────────────────────────────────────────────────────────────────────────────


def measure_list(dsn: str, program: UUID, folder: Path) -> None:
    """Every pass of the program on one list, in random order, through the real download and claim."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute("select external_id from public.passes_master")]
        random.Random(1).shuffle(ids)  # noqa: S311 - an order, not a secret
        (folder / "list.csv").write_text("member_id,note\n" + "".join(f"{one},x\n" for one in ids))
        by_hand = min(hand(dsn, ids) for _ in range(2))
        connection.execute(
            "insert into public.push_campaigns (program_id, message_text, target_query) values (%s, 'Hi', 'CSV')",
            (program,),
        )
        with serving(folder) as url:
            connection.execute("update public.push_campaigns set csv_upload_url = %s", (f"{url}/list.csv",))
            output = subprocess.run(
                [sys.executable, __file__, "--load", dsn, url], check=True, capture_output=True, text=True
            ).stdout
        status = connection.execute(
            "select status, status_detail, recipient_count from push_campaigns"
        ).fetchone()
        connection.execute("delete from passbell.chunks")
    loaded, frozen, memory = map(float, output.splitlines()[-1].split())
    print(f"hit list of {len(ids):,} rows: {status}")
    print(f"  by hand                {by_hand:6.2f} s")
    print(f"  download, read, stage  {loaded:6.2f} s")
    print(f"  match, chunk           {frozen:6.2f} s")
    print(f"  ratio to by hand       {(loaded + frozen) / by_hand:6.2f}    goal 3")
    print(f"  peak memory            {memory:6.0f} MB goal 150")


def hand(dsn: str, ids: list[str]) -> float:
    """COPY, join, array_agg; returns seconds."""
    begun = time.perf_counter()
    with psycopg.connect(dsn) as connection:
        connection.execute(BY_HAND[0])
        with connection.cursor().copy("copy hand_list from stdin") as copy:
            for number, value in enumerate(ids):
                copy.write_row((number, value))
        for statement in BY_HAND[1:]:
            connection.execute(statement)
    return time.perf_counter() - begun


async def load(dsn: str, url: str) -> None:
    """As the daemon does it, alone in this process: claim, download, stage, claim again."""
    settings = Settings(database_url=dsn, csv_allow_private=True, dry_run=True)  # type: ignore[arg-type]
    async with Database(dsn) as database:
        queue = Queue(database, uuid4(), "bench")
        begun = time.perf_counter()
        claimed = await queue.claim_campaign(50, 60)
        assert claimed is not None, url  # noqa: S101
        assert claimed.claim_token is not None and claimed.csv_url is not None, claimed  # noqa: S101, PT018
        await ListLoader(settings, queue).work(
            ListLoad(claimed.campaign_id, claimed.claim_token, claimed.csv_url)
        )
        loaded = time.perf_counter()
        await queue.claim_campaign(50, 60)
        frozen = time.perf_counter()
    print(loaded - begun, frozen - loaded, peak_memory())


def peak_memory() -> float:
    """Megabytes. Not getrusage: a child's starts with what its parent held."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def cpu_seconds(pid: int) -> float:
    """CPU time of another process of this machine."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that does not print."""

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class serving:  # noqa: N801 - reads like contextlib's
    """Serve a folder on a loopback port: `with serving(folder) as url`."""

    def __init__(self, folder: Path) -> None:
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
        )
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# ── member import ────────────────────────────────────────────────────────────────────────────────────────────


def measure_import(dsn: str, program: UUID, folder: Path, members: int) -> None:
    """Half of the rows are members that exist, half are new; then the same file again."""
    draw = random.Random(2)  # noqa: S311 - made-up people
    with psycopg.connect(dsn, autocommit=True) as connection:
        known = connection.execute(
            "select p.external_id, u.email from public.passes_master p join public.users u on u.id = p.user_id"
            " order by p.id limit %s",
            (members // 2,),
        ).fetchall()
    people = [*known, *(("", f"new{number}@example.org") for number in range(members - len(known)))]
    draw.shuffle(people)
    file = folder / "members.csv"
    with file.open("w", encoding="utf-8") as out:
        out.write("Member ID,E-Mail,First Name,Last Name,Mobile,Birthday,ZIP,City,Newsletter\n")
        for external_id, email in people:
            born = f"{draw.randint(1, 12):02}/{draw.randint(1, 28):02}/{draw.randint(1940, 2005)}"
            phone = f"(212) 555-{draw.randint(0, 9999):04}"
            out.write(f"{external_id},{email},Jo,Doe,{phone},{born},10001,New York,yes\n")
    for again in ("first time", "again"):
        output = subprocess.run(
            [sys.executable, __file__, "--import", dsn, str(program), str(file)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        summary, staged, applied, cpu, memory = output.splitlines()[-1].split("|")
        print(f"member import, {again}: {summary}")
        print(f"  read, check, stage     {float(staged):6.2f} s")
        print(f"  apply                  {float(applied):6.2f} s")
        print(f"  together               {float(staged) + float(applied):6.2f} s  goal 30 for 100,000 rows")
        print(f"  CPU, client and server {float(cpu):6.2f} s  what a machine without other work would take")
        print(f"  peak memory            {float(memory):6.0f} MB goal 150")


def import_file(dsn: str, program: str, file: str) -> None:
    """As `passbell import` does it, alone in this process."""
    begun = time.perf_counter()
    with psycopg.connect(dsn, autocommit=True) as connection:
        held, _ = open_import(connection, ImportOrder(program=UUID(program)), file)
        staged = time.perf_counter()
        done = apply_import(connection, held)
        cpu = time.process_time() + cpu_seconds(connection.info.backend_pid)
    applied = time.perf_counter()
    print(done["status_detail"], staged - begun, applied - staged, cpu, peak_memory(), sep="|")


if __name__ == "__main__":
    main()
