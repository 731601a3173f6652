"""Deliveries per second and their cost, passbell beside the queues that a user would otherwise pick.

    .venv/bin/python bench/deliveries.py [--quick] [--passes 50000] [--runs 5] [--only NAME …] [--seconds 60]

One job for all: 50,000 members in PostgreSQL (one server, fsync on, over TCP), one PUT of 250 bytes to each, to the
same fast sink on the same machine, no rate limit. Contestants take turns, a fresh database each time; the order of
each round is drawn anew. Printed are medians over the rounds, and ratios as medians of the ratios within a round,
since the machine's speed changes between rounds.

* per second: distinct members at the sink, from the first PUT to the last one.
* whole job: seconds from the order (insert of a campaign; enqueueing of all jobs) until the queue's own tables say
  that all is done. CPU: that of the contestant and of PostgreSQL together, meanwhile.
* A run ends after `--seconds`; then the rate is what was reached until then, and there is no time for the whole job.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from stand.contestants import CONTESTANTS
from stand.costs import cpu_seconds, peak_megabytes
from stand.database import Databases
from stand.environment import prepare
from stand.plot import bars
from stand.sink import Sink

if TYPE_CHECKING:
    from stand.contestants import Contestant
    from stand.environment import Environment

QUICK = ("passbell", "plain-undici", "graphile-worker", "pg-boss", "pgqueuer", "procrastinate")
GOALS = {
    "plain-undici": 0.7,
    "graphile-worker": 1.1,
    "pg-boss": 1.3,
    "pgqueuer": 3.0,
    "procrastinate": 20.0,
}
POLL_SECONDS = 0.02


@dataclass
class Result:
    """One run. `whole` is None if it was cut short."""

    per_second: float
    whole: float | None
    cpu: float  # seconds per 10,000 deliveries, contestant and PostgreSQL
    own_cpu: float  # the contestant's part of it
    memory: float  # MB at its peak, the contestant's processes
    calls: int
    distinct: int


Results = dict[str, dict[int, Result]]
"""Runs by contestant and round."""


def main() -> int:
    """Measure and print; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 passes, one round, six contestants")
    parser.add_argument("--passes", type=int)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seconds", type=float, help="longest run")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--chunk-size", type=int, help="passbell's; up to 1,000")
    parser.add_argument("--save", type=Path, help="write every run as JSON")
    parser.add_argument("--load", type=Path, nargs="+", help="report saved runs instead of measuring")
    parser.add_argument("--plot", type=Path, help="folder for two plots")
    options = parser.parse_args()
    if options.load:
        return told_again(options.load, options.plot)
    passes = options.passes or (20_000 if options.quick else 50_000)
    rounds = options.runs or (1 if options.quick else 5)
    seconds = options.seconds or (8 if options.quick else 60)
    names = options.only or (list(QUICK) if options.quick else list(CONTESTANTS))
    if options.chunk_size:
        for name in ("passbell", "passbell-httpx"):
            CONTESTANTS[name].settings["CHUNK_SIZE"] = str(options.chunk_size)
    environment = prepare()
    for line in environment.missing:
        print(line)
    print("versions: " + ", ".join(f"{name} {version}" for name, version in environment.versions.items()))
    names = [name for name in names if CONTESTANTS[name].possible(environment)]
    results: Results = {name: {} for name in names}
    with Databases(passes) as databases, Sink() as sink:
        print(f"PostgreSQL {databases.server.version}, {passes:,} members, rounds: {rounds}")
        for turn in range(rounds):
            order = list(names)
            random.shuffle(order)
            for name in order:
                result = run(CONTESTANTS[name], environment, databases, sink, seconds)
                results[name][turn] = result
                print(f"  {turn + 1} {name:<18} {result.per_second:8,.0f}/s", file=sys.stderr, flush=True)
    report(results)
    if options.plot:
        plot(results, options.plot)
    if options.save:
        options.save.write_text(
            json.dumps({n: {turn: asdict(r) for turn, r in runs.items()} for n, runs in results.items()})
        )
    return verdict(results)


def run(
    contestant: Contestant, environment: Environment, databases: Databases, sink: Sink, seconds: float
) -> Result:
    """One contestant, once, in a database of its own."""
    server = databases.server.pid
    with databases.fresh() as url, contestant.start(environment, url, sink.url) as running:
        sink.reset()
        own, all_cpu = cpu_seconds(running.pid), cpu_seconds(running.pid) + cpu_seconds(server)
        begun = time.monotonic()
        running.order()
        state = sink.wait(databases.passes, seconds)
        complete = state["distinct"] >= databases.passes
        if complete and contestant.settled:
            complete = settle(url, contestant, begun + seconds + 10)
        whole = time.monotonic() - begun if complete else None
        if complete and contestant.settled is None:
            whole = state["last"] - begun
        state = sink.state() if complete else state
        delivered = max(state["distinct"], 2)
        cost = 10_000 / delivered
        return Result(
            per_second=delivered / (state["last"] - state["first"]),
            whole=whole,
            cpu=(cpu_seconds(running.pid) + cpu_seconds(server) - all_cpu) * cost,
            own_cpu=(cpu_seconds(running.pid) - own) * cost,
            memory=peak_megabytes(running.pid),
            calls=state["calls"],
            distinct=state["distinct"],
        )


def settle(url: str, contestant: Contestant, deadline: float) -> bool:
    """Wait until the queue has recorded everything; false if it does not in time."""
    assert contestant.settled is not None  # noqa: S101
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute(contestant.settled).fetchone()
            if row is not None and row[0]:
                return True
            time.sleep(POLL_SECONDS)
    return False


def report(results: Results) -> None:
    """Print the table."""
    print(
        f"\n{'':<56}{'per second':>11}{'passbell':>10}{'whole job':>11}{'CPU s per':>11}{'its own':>9}{'peak':>8}"
        f"{'calls per':>11}\n{'':<56}{'':>11}{'is':>10}{'s':>11}{'10,000':>11}{'part':>9}{'MB':>8}{'member':>11}"
    )
    ranked = sorted(results, key=lambda name: -median(results, name, "per_second"))
    for name in ranked:
        wholes = [result.whole for result in results[name].values() if result.whole is not None]
        print(
            f"{CONTESTANTS[name].title:<56}{median(results, name, 'per_second'):>11,.0f}"
            f"{ratio(results, name):>9.2f}x{statistics.median(wholes) if wholes else float('nan'):>11.2f}"
            f"{median(results, name, 'cpu'):>11.2f}{median(results, name, 'own_cpu'):>9.2f}"
            f"{median(results, name, 'memory'):>8.0f}"
            f"{sum(r.calls for r in results[name].values()) / sum(r.distinct for r in results[name].values()):>11.3f}"
        )


def told_again(files: list[Path], folder: Path | None) -> int:
    """Report runs that were saved, several files as one: the ratios are those within a round of a file."""
    results: Results = {}
    for number, file in enumerate(files):
        for name, runs in json.loads(file.read_text()).items():
            found = {number * 1_000 + int(turn): Result(**run) for turn, run in runs.items()}
            results.setdefault(name, {}).update(found)
    report(results)
    if folder:
        plot(results, folder)
    return verdict(results)


def plot(results: Results, folder: Path) -> None:
    """Draw deliveries per second and CPU per 10,000 deliveries."""
    ranked = sorted(results, key=lambda name: -median(results, name, "per_second"))
    bars(
        folder / "performance-rate.svg",
        "Deliveries per second, medians",
        [
            (CONTESTANTS[name].title, value, f"{value:,.0f}")
            for name in ranked
            for value in [median(results, name, "per_second")]
        ],
    )
    ranked = sorted(results, key=lambda name: median(results, name, "cpu"))
    bars(
        folder / "performance-cpu.svg",
        "CPU seconds per 10,000 deliveries, contestant and PostgreSQL",
        [
            (CONTESTANTS[name].title, value, f"{value:.2f}")
            for name in ranked
            for value in [median(results, name, "cpu")]
        ],
    )


def median(results: Results, name: str, what: str) -> float:
    """Median of one column over the rounds."""
    values: list[float] = [getattr(result, what) for result in results[name].values()]
    return statistics.median(values)


def ratio(results: Results, name: str, what: str = "per_second") -> float:
    """Median over the rounds of passbell's value divided by this contestant's in the same round."""
    ours, theirs = results.get("passbell", {}), results[name]
    both: list[float] = [
        getattr(ours[turn], what) / getattr(theirs[turn], what) for turn in ours if turn in theirs
    ]
    return statistics.median(both or [float("nan")])


def verdict(results: Results) -> int:
    """Say which goals were met."""
    if "passbell" not in results:
        return 0
    missed = 0
    print()
    for name, goal in GOALS.items():
        if name in results:
            reached = ratio(results, name)
            missed += reached < goal
            print(
                f"speed against {name:<18} {reached:6.2f} x   goal {goal:5.2f}   {told(met=reached >= goal)}"
            )
    for name in results:
        if CONTESTANTS[name].settled and not name.startswith("passbell"):
            reached = ratio(results, name, "cpu")
            missed += reached >= 1
            print(f"CPU against   {name:<18} {reached:6.2f} x   goal  < 1   {told(met=reached < 1)}")
    return 1 if missed else 0


def told(*, met: bool) -> str:
    """A word for the reader."""
    return "met" if met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
