"""What a run in workers cost, by file: `make test ARGS=--durations=20` says which files to cut or to take first.

The last lines say how much earlier than the last worker each other one had nothing left to do.
"""

from __future__ import annotations

import collections
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

__all__ = ["Costs"]


class Costs:
    """A plugin of the process that hands out the tests."""

    def __init__(self) -> None:
        self._seconds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self._ended: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add the seconds of a setup, a call or a teardown to its file's."""
        self._seconds[report.nodeid.partition("::")[0]][report.when] += report.duration
        self._ended[getattr(report, "worker_id", "main")] = time.monotonic()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the longest files, as many as `--durations` asks for, and the idle ends of the workers."""
        wanted = terminalreporter.config.getoption("durations")
        if wanted is None or len(self._ended) < 2:
            return
        terminalreporter.section("longest files: setup, call, teardown")
        longest = sorted(self._seconds.items(), key=lambda item: -item[1].total())
        for file, parts in longest[: wanted or None]:
            each = "  ".join(f"{parts[when]:7.1f}" for when in ("setup", "call", "teardown"))
            terminalreporter.write_line(f"{parts.total():7.1f} s = {each}  {file}")
        last = max(self._ended.values())
        for worker, ended in sorted(self._ended.items()):
            terminalreporter.write_line(f"{worker} had nothing left {last - ended:.1f} s before the end")
