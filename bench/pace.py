"""How well 50 per second are used, and never exceeded, at 100 ms API latency; the owner's original loop beside it.

    .venv/bin/python bench/pace.py [--seconds 30] [--rate 50] [--latency 0.1] [--daemons 1 2] [--busy 2]

Counted at the sink: calls per second from the first to the last one as a share of the limit, the most calls in any
second, wherever it begins, and by how much the closest rate + 1 calls are more than a second apart. `--busy` keeps so
many processors busy beside it. The sink runs at real-time priority where that is allowed: a server that has to wait
for a processor sees calls late that left in time.

The original loop (50 at once, 200 ms pause) has no notion of a rate. Goals for
passbell: at least 99 % used, never more than the limit.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from stand.contestants import CONTESTANTS, Passbell
from stand.database import Databases
from stand.environment import prepare
from stand.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GOAL = 0.99


def most_in_a_second(times: Sequence[float]) -> int:
    """The most calls in any window of one second."""
    most = begin = 0
    for end, at in enumerate(times):
        while at - times[begin] >= 1.0:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def told(name: str, times: Sequence[float], rate: float) -> tuple[float, int]:
    """Print what the sink saw; the share of the limit and the peak."""
    share = (len(times) - 1) / (times[-1] - times[0]) / rate
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
    peak = most_in_a_second(times)
    size = round(rate)
    air = min((times[k + size] - times[k] - 1 for k in range(len(times) - size)), default=0.0)
    print(
        f"{name:<26} {len(times):6,} calls {share:8.1%} of the limit {peak:5} at most in a second;"
        f" {size + 1} calls in 1 s {air * 1000:+.1f} ms;"
        f" gaps {statistics.median(gaps) * 1000:5.1f} ms median {gaps[int(len(gaps) * 0.99)] * 1000:6.1f} ms p99"
    )
    return share, peak


def prefer(pid: int) -> str:
    """Let a process run as soon as it can; in words, whether that was allowed."""
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return "the sink has normal priority: what it sees late may have left in time"
    return "the sink has real-time priority"


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that do nothing as fast as they can."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> int:
    """Measure one after the other; 1 if passbell missed a goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument("--daemons", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    environment = prepare()
    loop = CONTESTANTS["owner-loop"]
    passes = round(options.rate * options.seconds)
    missed = 0
    with Databases(passes) as databases, Sink() as sink:
        print(prefer(sink.pid))
        for count in options.daemons:
            with databases.fresh() as url, ExitStack() as stack:
                settings = {
                    "RATE_PER_SECOND": str(options.rate),
                    "CHUNK_SIZE": str(max(1, round(options.rate))),
                }
                daemons = [stack.enter_context(Passbell(url, sink.url, settings)) for _ in range(count)]
                sink.reset(options.latency)
                stack.enter_context(busy_loops(options.busy))
                daemons[0].order()
                sink.wait(passes, options.seconds * 2 + 30)
                share, peak = told(f"passbell, {count} daemon(s)", sink.arrivals(), options.rate)
                missed += share < GOAL or peak > options.rate
        if loop.possible(environment):
            with databases.fresh() as url, loop.start(environment, url, sink.url) as running:
                sink.reset(options.latency)
                running.order()
                sink.wait(passes, options.seconds * 2)
                told("the owner's original loop", sink.arrivals(), options.rate)
        else:
            print("the owner's original loop: no Node here")
        time.sleep(options.latency)
    print(f"goal: at least {GOAL:.0%} used, never above the limit   {'MISSED' if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
