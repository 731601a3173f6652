"""What processes cost: CPU seconds and memory, from /proc, with all their children."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_seconds", "descendants", "peak_megabytes", "resident_megabytes"]

TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """`pid` and all its descendants that still run."""
    found = [pid]
    for one in found:
        try:
            tasks = list(Path(f"/proc/{one}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children; those that ended count once their parent has taken note."""
    ticks = 0
    for one in descendants(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))  # own user and system time, then that of ended children
    return ticks / TICKS


def peak_megabytes(pid: int) -> float:
    """The sum of the peaks of memory of a process and its children."""
    return sum(_status(one, "VmHWM:") for one in descendants(pid))


def resident_megabytes(pid: int) -> float:
    """Memory that a process and its children hold now."""
    return sum(_status(one, "VmRSS:") for one in descendants(pid))


def _status(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)
