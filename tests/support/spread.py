"""How a run is spread over worker processes (pytest-xdist), and what must not be disturbed meanwhile.

`make test` starts a worker per processor and two more when a folder, or everything, is asked for: half of the time
a test waits for a lease, a retry or a process, and the workers more make use of it. A single file runs in the
process that was started: the workers would take longer to start than it takes to run. Databases, servers and ports
belong to a process each, so tests of different workers do not meet.

* Tests of a file stay together, in one worker: they share servers and daemons (`--dist loadfile`).
* A test marked `quiet` measures time: while it runs, no other worker runs a test.
* The longest files come first, so that no worker is left with one of them at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = [
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_configure_node",
    "pytest_ignore_collect",
    "pytest_make_parametrize_id",
    "pytest_runtest_protocol",
    "pytest_unconfigure",
    "pytest_xdist_auto_num_workers",
]

TESTS: Final = Path(__file__).parents[1]
FIRST: Final = (
    "web/test_browser.py",
    "isolation/test_slow_rules.py",
    "ops/test_image_run.py",
    "chaos/test_wire.py",
    "chaos/test_pooler.py",
    "lists/test_daemon.py",
    "isolation/test_host_rules.py",
    "chaos/test_fairness.py",
    "chaos/test_kills.py",
    "sql/test_install.py",
    "docs/test_commands.py",
    "devkit/test_demo.py",
    "isolation",
    "delivery",
    "chaos",
    "birthdays",
    "ops/test_install_guide.py",
    "web/test_schema.py",
    "passkit/test_with_sandbox.py",
    "sql/test_plans.py",
    "ops",
)
"""Files that take longest, and folders of such, in the order in which workers take them."""
UNIT: Final = {"csv", "delivery", "download", "lists", "ops", "passkit", "project", "devkit/sandbox"}
"""Folders with tests that need neither PostgreSQL nor a process of passbell."""
TIME: Final = (
    "accounts/test_idle.py",
    "automations/",
    "birthdays/",
    "chaos/test_fairness.py",
    "chaos/test_hammer.py",
    "chaos/test_limiter.py",
    "chaos/test_stalled.py",
    "delivery/",
    "host/test_zones.py",
    "isolation/test_locks.py",
    "isolation/test_slow_rules.py",
    "ops/test_retention.py",
    "passkit/test_auth.py",
    "passkit/test_connections.py",
    "passkit/test_push.py",
    "sql/test_concurrency.py",
    "sql/test_queue.py",
    "sql/test_rate.py",
    "web/test_doors.py",
)
"""What has to do with time: pace, leases, turns, quiet hours, schedules, patience. `make repeat` runs these."""
NO_UNIT: Final = {
    "csv/test_limits.py",  # a million rows
    "ops/test_alerts.py",  # promtool
    "passkit/test_records.py",  # a sandbox that breaks off, and the waits after it
    "passkit/test_with_sandbox.py",
    "project/test_packaging.py",  # pip
    "project/test_tools.py",  # actionlint
}
"""Files in these folders that start another program, or send whole campaigns to a sandbox."""
NEEDS_MORE: Final = {"databases", "make_scene", "image", "root", "booted"}
"""Fixtures that start one of them."""
LONGEST_BYTES: Final = 16
ANY_UUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

_FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Say what `-n auto` means: nothing beside this process for single files, else two workers more than processors.

    Tests that are `unit` wait for nothing: a worker more would only collect them once more.
    """
    named = [Path(str(argument).partition("::")[0]) for argument in config.args]
    if named and not any(path.is_dir() for path in named):
        return 0
    return min((os.cpu_count() or 2) + (0 if config.option.markexpr == "unit" else 2), 8)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name random ids and long bytes alike in every worker (gzip writes the time): they must agree on the tests."""
    if isinstance(val, bytes) and len(val) > LONGEST_BYTES:
        return "bytes"
    text = str(val) if isinstance(val, UUID) else val
    return ANY_UUID.sub("UUID", text) if isinstance(text, str) and ANY_UUID.search(text) else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has no test that `-m unit` or `-m time` asks for: reading it takes longest."""
    wanted = {"unit": [f"{folder}/" for folder in UNIT], "time": TIME}.get(config.option.markexpr)
    if wanted is None or TESTS not in collection_path.parents or collection_path.name == "conftest.py":
        return None
    folder = collection_path if collection_path.is_dir() else collection_path.parent
    # A folder leads to what is wanted, or is inside it; a file of a folder that leads there is wanted itself.
    name = f"{folder.relative_to(TESTS).as_posix()}/"
    file = collection_path.relative_to(TESTS).as_posix()
    inside = any(name.startswith(place) or file == place for place in wanted)
    leads = folder == collection_path and any(place.startswith(name) for place in wanted)
    return None if inside or leads else True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from looking through what was collected: all of it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; mark what needs no server as `unit`, and what has to do with time as `time`."""
    items.sort(key=_rank)  # stable: within a rank the order of collection stays
    for item in items:
        file = _file(item.path)
        if file.startswith(TIME):
            item.add_marker(pytest.mark.time)
        if not NEEDS_MORE & set(getattr(item, "fixturenames", ())) and _is_unit(file):
            item.add_marker(pytest.mark.unit)


def _is_unit(file: str) -> bool:
    return file not in NO_UNIT and any(file.startswith(f"{folder}/") for folder in UNIT)


def _rank(item: pytest.Item) -> int:
    file = _file(item.path)
    return next((rank for rank, start in enumerate(FIRST) if file.startswith(start)), len(FIRST))


@functools.cache
def _file(path: Path) -> str:
    return path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else str(path)


# ── quiet ───────────────────────────────────────────────────────────


def pytest_configure_node(node: Any) -> None:
    """Tell a new worker where the workers' locks are."""
    if _FOLDER not in node.config.stash:
        node.config.stash[_FOLDER] = tempfile.TemporaryDirectory(prefix="passbell-tests-")
    node.workerinput["passbell_locks"] = node.config.stash[_FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the locks."""
    if _FOLDER in config.stash:
        config.stash[_FOLDER].cleanup()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test beside the other workers', or, if it is marked `quiet`, alone."""
    folder = getattr(item.config, "workerinput", {}).get("passbell_locks")
    if folder is None:
        return (yield)
    kind = fcntl.LOCK_EX if item.get_closest_marker("quiet") else fcntl.LOCK_SH
    # Who wants to be alone waits in the door, and no other test begins meanwhile.
    with contextlib.ExitStack() as room:
        with _locked(Path(folder, "door"), fcntl.LOCK_EX):
            room.enter_context(_locked(Path(folder, "room"), kind))
        return (yield)


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, kind)
        yield
