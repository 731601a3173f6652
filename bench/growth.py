"""Does a delivery cost the same in a campaign of a million? What does the daemon hold meanwhile, and when idle?

    .venv/bin/python bench/growth.py [--passes 10000 100000 1000000] [--waiting 10 1000] [--only passes …]

Four parts. `passes`: one campaign of growing size, chunks of 500, to a sink that answers at once; time and CPU (daemon
and PostgreSQL) per delivery, and the daemon's memory from the first delivery to the last. `waiting`: one campaign of
50,000 passes, chunks of 100, alone and while others wait behind it: frozen and waiting for their turn in the same
program, or scheduled for tomorrow. `own`: the same passes in 1,000 campaigns of as many programs; what a campaign
costs of its own is told, and judged by nothing. `idle`: a daemon with its defaults beside an empty queue: CPU, and
queries per poll. Goals: ratios at most 1.2, memory below 80 MB, idle below 1 % CPU and at most one query per poll.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from stand.contestants import Passbell
from stand.costs import cpu_seconds, peak_megabytes, resident_megabytes
from stand.database import TEXT, Databases
from stand.sink import Sink

RATIO_GOAL, MEMORY_GOAL, IDLE_GOAL = 1.2, 80.0, 0.01
QUERY_GOAL = 1.5  # one, and what the loops ask by themselves twice a minute
IDLE_SECONDS = 60
POLL_SECONDS = 2.0
BUFFERS = "1GB"
"""Of the server in `passes`: a million members with users and indexes are 500 MB, and a platform's server is made to
hold its members. With PostgreSQL's default of 128 MB every delivery fetches two pages that had been there before."""
PARTS = ("passes", "waiting", "own", "idle")
CHUNK = 100
"""Of the campaigns in `waiting` and `own`."""
# Made, not ordered: what is asked is what they cost while they wait, not what it costs to freeze them.
BEHIND: dict[str, tuple[LiteralString, ...]] = {
    "of the same program": (
        "select passbell.as_engine()",
        """
        insert into push_campaigns (program_id, name, message_text, status, started_at, recipient_count)
        select g.id, 'Behind ' || n, 'Behind ' || n, 'PROCESSING', now() + interval '1 day', 1
          from programs g cross join generate_series(1, %(waiting)s::int) as n
        """,
        """
        insert into passbell.chunks (campaign_id, chunk_no, program_id, pass_ids, not_before)
        select c.id, 1, c.program_id, array[p.id], now() + interval '3 seconds'
          from push_campaigns c cross join (select id from passes_master limit 1) p
         where c.status = 'PROCESSING'
        """,
        "insert into passbell.turns (program_id) select id from programs on conflict do nothing",
    ),
    "scheduled for tomorrow": (
        """
        insert into push_campaigns (program_id, name, message_text, scheduled_at)
        select g.id, 'Later ' || n, 'Later ' || n, now() + interval '1 day'
          from programs g cross join generate_series(1, %(waiting)s::int) as n
        """,
        "select passbell.explain_waiting()",  # their words are written once, which is not waiting
    ),
}


@dataclass
class Cost:
    """What a run took; `wall` and `cpu` in microseconds per delivery, memory in MB."""

    wall: float
    cpu: float
    first: float
    last: float
    peak: float


def deliver(databases: Databases, sink: Sink, chunk_size: int, behind: str = "", waiting: int = 0) -> Cost:
    """Everybody once, with so many campaigns waiting behind."""
    with (
        databases.fresh() as url,
        Passbell(url, sink.url, {"CHUNK_SIZE": str(chunk_size)}) as daemon,
        psycopg.connect(url) as connection,
    ):
        sink.reset()
        # The order, and what waits behind it, become visible together.
        connection.execute(
            "insert into push_campaigns (program_id, name, message_text) select id, 'Bench', %s from programs",
            [TEXT],
        )
        for statement in BEHIND.get(behind, ()):
            connection.execute(statement, {"waiting": waiting} if "%" in statement else None)
        server = databases.server.pid
        before = cpu_seconds(daemon.pid) + cpu_seconds(server)
        memory: list[float] = []
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                memory.append(resident_megabytes(daemon.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        connection.commit()
        state = sink.wait(databases.passes, 900)
        ended.set()
        watcher.join()
        if state["distinct"] < databases.passes:
            raise SystemExit(f"only {state['distinct']:,} of {databases.passes:,} within 15 minutes")
        tenth = max(1, len(memory) // 10)
        return Cost(
            wall=(state["last"] - state["first"]) / databases.passes * 1e6,
            cpu=(cpu_seconds(daemon.pid) + cpu_seconds(server) - before) / databases.passes * 1e6,
            first=max(memory[:tenth], default=0.0),
            last=max(memory[-tenth:], default=0.0),
            peak=peak_megabytes(daemon.pid),
        )


def row(title: str, cost: Cost, against: Cost) -> None:
    """Print one line of a table."""
    print(
        f"{title:<28} {cost.wall:7.1f} µs {cost.wall / against.wall:5.2f} x {cost.cpu:9.1f} µs CPU"
        f" {cost.cpu / against.cpu:5.2f} x   memory {cost.first:5.1f} MB first {cost.last:5.1f} last"
        f" {cost.peak:5.1f} peak",
        flush=True,
    )


def cheapest(turns: list[Cost]) -> Cost:
    """The run that was disturbed least."""
    return min(turns, key=lambda cost: cost.cpu)


def table(sizes: list[int], runs: int) -> bool:
    """One campaign of each size, the best of some runs; whether ratios and memory are as wished."""
    costs: list[Cost] = []
    for passes in sizes:
        with Databases(passes, shared_buffers=BUFFERS) as databases, Sink() as sink:
            turns = [deliver(databases, sink, 500) for _ in range(1 if passes >= 1_000_000 else runs)]
        costs.append(cheapest(turns))
        row(f"{passes:,} passes", costs[-1], costs[0])
    # The very first ones pay for connecting and loading; compared is with the cheapest of the smaller ones.
    worst = max(
        later.cpu / min(earlier.cpu for earlier in costs[:number])
        for number, later in enumerate(costs)
        if number
    )
    memory = max(cost.peak for cost in costs)
    print(
        f"  CPU per delivery at most {worst:.2f} x, goal {RATIO_GOAL}: {told(met=worst <= RATIO_GOAL)};"
        f" memory {memory:.0f} MB, goal {MEMORY_GOAL:.0f}: {told(met=memory < MEMORY_GOAL)}"
    )
    return worst <= RATIO_GOAL and memory < MEMORY_GOAL


def waiting(passes: int, numbers: list[int], runs: int) -> bool:
    """One campaign, alone and before others; whether the others cost it nothing. All kinds take turns."""
    kinds = [("", 0), *((behind, number) for behind in BEHIND for number in numbers)]
    turns: dict[tuple[str, int], list[Cost]] = {kind: [] for kind in kinds}
    with Databases(passes) as databases, Sink() as sink:
        deliver(databases, sink, CHUNK)  # the first run of a server pays for it
        for _ in range(runs):
            for behind, number in kinds:
                turns[behind, number].append(deliver(databases, sink, CHUNK, behind, number))
    alone = cheapest(turns["", 0])
    worst = 0.0
    for (behind, number), costs in turns.items():
        best = cheapest(costs)
        row(f"{number:,} {behind}" if behind else f"{passes:,} passes alone", best, alone)
        worst = max(worst, best.cpu / alone.cpu)
    print(f"  CPU per delivery at most {worst:.2f} x, goal {RATIO_GOAL}: {told(met=worst <= RATIO_GOAL)}")
    return worst <= RATIO_GOAL


def own(passes: int, campaigns: int, runs: int) -> None:
    """What a campaign costs beyond its deliveries: order, audience, first claim, end, audit row."""
    costs = []
    for programs in (1, campaigns):
        with Databases(passes, programs) as databases, Sink() as sink:
            costs.append(cheapest([deliver(databases, sink, CHUNK) for _ in range(runs)]))
        row(f"{passes:,} in {programs:,} campaigns", costs[-1], costs[0])
    each = (costs[1].cpu - costs[0].cpu) * passes / (campaigns - 1) / 1000
    print(f"  a campaign of {passes // campaigns} passes costs {each:.1f} ms of CPU of its own")


def idle() -> bool:
    """A daemon with nothing to do."""
    with Databases(passes=1_000) as databases, Sink() as sink, databases.fresh() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("alter system set log_statement = 'all'")
            connection.execute("select pg_reload_conf()")
        with Passbell(url, sink.url, {"RATE_PER_SECOND": "50", "CHUNK_SIZE": "50"}) as daemon:
            time.sleep(20)  # a daemon that has just started looks more often
            before, begun = cpu_seconds(daemon.pid), time.monotonic()
            seen = databases.server.log_path.stat().st_size
            time.sleep(IDLE_SECONDS)
            took = time.monotonic() - begun
            share = (cpu_seconds(daemon.pid) - before) / took
            log = databases.server.log_path.read_text("utf-8", "replace")[seen:]
            memory = resident_megabytes(daemon.pid)
    statements = len(re.findall(r"LOG: +(?:execute|statement)", log))
    beats = len(re.findall(r"passbell\.(?:heartbeat|neighbours)\(", log))
    polls = took / POLL_SECONDS
    met = share < IDLE_GOAL and (statements - beats) / polls <= QUERY_GOAL
    print(
        f"idle: {share:.2%} CPU, goal {IDLE_GOAL:.0%}; {(statements - beats) / polls:.2f} queries per poll and"
        f" {beats / polls:.2f} for the heartbeat; {memory:.0f} MB   {told(met=met)}"
    )
    return met


def told(*, met: bool) -> str:
    """A word for the reader."""
    return "met" if met else "MISSED"


def main() -> int:
    """Measure what was asked for; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--waiting", type=int, nargs="+", default=[10, 1_000])
    parser.add_argument("--campaigns", type=int, default=1_000, help="of the part `own`")
    parser.add_argument("--spread", type=int, default=50_000, help="passes of the parts `waiting` and `own`")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    options = parser.parse_args()
    met = []
    if "passes" in options.only:
        met.append(table(options.passes, options.runs))
    if "waiting" in options.only:
        met.append(waiting(options.spread, options.waiting, options.runs))
    if "own" in options.only:
        own(options.spread, options.campaigns, options.runs)
    if "idle" in options.only:
        met.append(idle())
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
