"""What a process holds: descriptors, memory, threads, tasks, connections; and whether that grows."""

from __future__ import annotations

import re
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from .pages import get

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Vitals", "growth", "vitals"]


class Vitals(NamedTuple):
    """One look; `rss` in MB."""

    at: float
    descriptors: int
    rss: float
    threads: int
    tasks: int
    connections: int


def vitals(pid: int, metrics_port: int, url: str) -> Vitals:
    """Look at a daemon; the connections are those that this process has to the database at `url`."""
    status = Path(f"/proc/{pid}/status").read_text()
    numbers = {
        name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)
    }
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Vitals(
        time.monotonic(),
        descriptors,
        numbers["VmRSS"] / 1024,
        numbers["Threads"],
        int(get(metrics_port, "/metrics").value("passbell_tasks") or 0),
        connections(pid, url),
    )


def connections(pid: int, url: str) -> int:
    """How many of the sessions in the database come from a socket of this process."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
        if found:
            inodes.add(found[1])
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    with psycopg.connect(url) as conn:
        rows = conn.execute("select client_port from pg_stat_activity where datname = current_database()")
        return sum(port in ports for (port,) in rows)


def growth(times: Sequence[float], values: Sequence[float]) -> float:
    """How much `values` grow over the whole time, by the median of all slopes: single peaks do not count."""
    slopes = [
        (later - sooner) / (times[n] - times[m])
        for m, sooner in enumerate(values)
        for n, later in list(enumerate(values))[m + 1 :]
    ]
    assert all(a < b for a, b in pairwise(times))
    return statistics.median(slopes) * (times[-1] - times[0])
