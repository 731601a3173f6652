"""More daemons on one database: 1, 2 and 4 processes, and what limited them.

    .venv/bin/python bench/daemons.py [--passes 60000] [--runs 3] [--daemons 1 2 4]

Two tasks. With a sink that answers at once the processors are the limit, and the sink and PostgreSQL need their share
of them: the table says how many cores each kept busy. With a sink that takes 20 ms a daemon mostly waits (50 requests
in flight are at most 2,500 per second), as it would with PassKit; there a second daemon should nearly double the sum.
"""

from __future__ import annotations

import argparse
import os
import statistics
from contextlib import ExitStack

from stand.contestants import Passbell
from stand.costs import cpu_seconds
from stand.database import Databases
from stand.sink import Sink


def run(databases: Databases, sink: Sink, count: int, latency: float) -> tuple[float, list[float]]:
    """Deliver to all with so many daemons; deliveries per second, and cores busy: daemons, PostgreSQL, sink."""
    with databases.fresh() as url, ExitStack() as stack:
        daemons = [stack.enter_context(Passbell(url, sink.url, {})) for _ in range(count)]
        sink.reset(latency)

        def spent() -> list[float]:
            return [
                sum(cpu_seconds(daemon.pid) for daemon in daemons),
                cpu_seconds(databases.server.pid),
                cpu_seconds(sink.pid),
            ]

        before = spent()
        daemons[0].order()
        state = sink.wait(databases.passes, 120)
        took = state["last"] - state["first"]
        return state["distinct"] / took, [
            (now - then) / took for now, then in zip(spent(), before, strict=True)
        ]


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--daemons", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    print(f"{options.passes:,} members; this machine has {os.cpu_count()} cores")
    with Databases(options.passes) as databases, Sink() as sink:
        for latency in (0.0, 0.02):
            results: dict[int, list[tuple[float, list[float]]]] = {count: [] for count in options.daemons}
            for _ in range(options.runs):
                for count in options.daemons:
                    results[count].append(run(databases, sink, count, latency))
            print(f"\nthe sink answers after {latency * 1000:.0f} ms")
            first = results[options.daemons[0]]
            for count, runs in results.items():
                rate = statistics.median(rate for rate, _ in runs)
                against = statistics.median(
                    ours / base for (ours, _), (base, _) in zip(runs, first, strict=True)
                )
                cores = [
                    statistics.median(parts) for parts in zip(*(cores for _, cores in runs), strict=True)
                ]
                print(
                    f"  {count} daemon(s) {rate:8,.0f}/s {against:6.2f} x   cores busy: daemons {cores[0]:.2f},"
                    f" PostgreSQL {cores[1]:.2f}, sink {cores[2]:.2f}, together {sum(cores):.2f}"
                )


if __name__ == "__main__":
    main()
