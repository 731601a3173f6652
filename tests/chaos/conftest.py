"""What a proof measured is printed at the end, promise beside figure; `make chaos` runs the long forms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from support.scenes import make_scene, sandbox, scene

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Report", "make_scene", "report", "sandbox", "scene"]


class Report(Protocol):
    """`report("kills", "double buzzes: 0", "0 of 10,000 passes, 1,000 kills")`."""

    def __call__(self, scenario: str, promise: str, measured: str) -> None: ...


KEY = "measured"


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Notes what was promised and what was seen; asserting is the test's own business."""

    def note(scenario: str, promise: str, measured: str) -> None:
        # A property of the test reaches the printing process from a worker, too.
        request.node.user_properties.append((KEY, (scenario, promise, measured)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        tuple(value)
        for kind in ("passed", "failed")
        for result in terminalreporter.stats.get(kind, ())
        for name, value in result.user_properties
        if name == KEY
    ]
    if not lines:
        return
    terminalreporter.section("what was measured")
    for scenario, promise, measured in lines:
        terminalreporter.write_line(f"{scenario}: {promise}: {measured}")
    _write(lines, os.environ)


def _write(lines: list[tuple[str, str, str]], environment: Mapping[str, str]) -> None:
    """As a Markdown table, to the file that PASSBELL_REPORT names."""
    if path := environment.get("PASSBELL_REPORT"):
        rows = [
            "| scenario | promised | measured |",
            "|---|---|---|",
            *(f"| {' | '.join(line)} |" for line in lines),
        ]
        Path(path).write_text("\n".join(rows) + "\n")
