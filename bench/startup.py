"""How long passbell takes to start, beside the bare interpreter on the same machine at the same time.

    .venv/bin/python bench/startup.py [--runs 15]

`passbell run` is ready when it says READY=1 to the service manager: database and schema checked, all loops started.
Goals: ready within 1 s, `--help` within 0.3 s. CPU seconds are printed too: on a busy machine they tell what an idle
one would take.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stand.database import Databases

BIN = Path(sys.executable).parent
HELP_GOAL, READY_GOAL = 0.3, 1.0


def ended(command: list[str]) -> tuple[float, float]:
    """Seconds and CPU seconds of a command that ends by itself."""
    before, begun = children_cpu(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun, children_cpu() - before


def ready(database: str) -> tuple[float, float]:
    """Seconds from exec to READY=1, and CPU seconds until the daemon, stopped right then, has ended."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
    ):
        path = f"{folder}/notify"
        listener.bind(path)
        listener.settimeout(30)
        before, begun = children_cpu(), time.monotonic()
        process = subprocess.Popen(
            [BIN / "passbell", "run"],
            env=os.environ
            | {
                "NOTIFY_SOCKET": path,
                "PASSBELL_DATABASE_URL": database,
                "PASSBELL_DRY_RUN": "true",
                "PASSBELL_METRICS_PORT": "0",
                "PASSBELL_LOG_LEVEL": "warning",
            },
        )
        while b"READY=1" not in listener.recv(4096):
            pass
        took = time.monotonic() - begun
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        return took, children_cpu() - before


def children_cpu() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure in turns; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    took: dict[str, list[tuple[float, float]]] = {
        "python -c pass": [],
        "passbell --help": [],
        "passbell run": [],
    }
    with Databases(passes=1_000) as databases, databases.fresh() as url:
        for _ in range(options.runs):
            took["python -c pass"].append(ended([sys.executable, "-c", "pass"]))
            took["passbell --help"].append(ended([str(BIN / "passbell"), "--help"]))
            took["passbell run"].append(ready(url))
    medians = {}
    for name, values in took.items():
        medians[name] = statistics.median(wall for wall, _ in values)
        cpu = statistics.median(cpu for _, cpu in values)
        print(f"{name:<18} {medians[name]:6.3f} s median {max(values)[0]:6.3f} s worst {cpu:6.3f} s CPU")
    goals = {"passbell --help": HELP_GOAL, "passbell run": READY_GOAL}
    for name, goal in goals.items():
        verdict = "met" if medians[name] < goal else "MISSED"
        against = medians[name] / medians["python -c pass"]
        print(f"{name:<18} {against:6.1f} x the bare interpreter   goal {goal:.1f} s   {verdict}")
    return int(any(medians[name] >= goal for name, goal in goals.items()))


if __name__ == "__main__":
    sys.exit(main())
