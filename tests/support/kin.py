"""The descendants of a process, found in /proc."""

from __future__ import annotations

from pathlib import Path

__all__ = ["alive", "family"]


def family(pid: int) -> dict[int, str]:
    """Every living descendant of a process: its id, and the start time that tells it from a later namesake."""
    parents: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in {"Z", "X"}:
            parents[int(stat.parent.name)] = int(fields[1]), fields[19]
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for child, (its_parent, started) in parents.items():
            if its_parent == parent:
                found[child] = started
                waiting.append(child)
    return found


def alive(processes: dict[int, str]) -> set[int]:
    """Those of them that have not ended."""
    left = set()
    for pid, started in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in {"Z", "X"} and fields[19] == started:
            left.add(pid)
    return left
