"""`passbell demo` as a newcomer runs it: a process, on a bare machine, with nothing prepared."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passbell.devkit.binaries import server_account
from support import forks
from support.kin import alive, family
from support.processes import OWN_SETTINGS, Command
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SHORT = ("demo", "--fast", "--passes", "600")
NO_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory whose name has spaces."""
    made = tmp_path / "my wallet passes"
    made.mkdir()
    return made


@contextmanager
def running(
    folder: Path, *arguments: str, fresh: bool = True
) -> Iterator[subprocess.Popen[bytes] | forks.Fork]:
    """A passbell command in `folder`, which also takes its temporary files; its output goes to `folder`/out."""
    clean = {name: value for name, value in os.environ.items() if not OWN_SETTINGS.match(name)}
    environment = clean | {"TMPDIR": str(folder), "PASSBELL_RATE_PER_SECOND": "nonsense"}
    program = ("-m", "passbell")
    process: subprocess.Popen[bytes] | forks.Fork
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        if fresh or Command.fresh:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        else:
            files = (out.fileno(), err.fileno())
            process = forks.fork(program, arguments, environment, files, str(folder))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def said(folder: Path) -> str:
    return (folder / "out").read_text() + (folder / "err").read_text()


def database_folder(processes: dict[int, str]) -> Path:
    """Where the demo's PostgreSQL keeps its data, read from its command line."""
    for pid in processes:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"-D" in words:
            return Path(words[words.index(b"-D") + 1].decode()).parent
    raise AssertionError("no PostgreSQL among the demo's processes")


def test_two_demos_at_once_end_well_and_say_only_what_is_true(folder: Path) -> None:
    """Side by side both end with 0, one with a summary for people, one with JSON whose numbers add up."""
    other = folder / "second"
    other.mkdir()
    with running(folder, *SHORT, "--json") as first, running(other, *SHORT) as second:
        assert first.wait(200) == 0, said(folder)
        assert second.wait(200) == 0, said(other)
    told: dict[str, Any] = json.loads((folder / "out").read_text())
    assert told["ok"] is True
    assert all(claim["ok"] for claim in told["claims"])
    assert told["double_buzzes"] == told["missing"] == told["unexpected"] == 0
    assert [one["name"].split()[0] for one in told["campaigns"]] == [
        "Pumpkin", "Coupon", "Doors", "West", "Birthdays",
    ]  # fmt: skip
    for one in told["campaigns"]:
        assert one["status"] == "COMPLETED"
        assert one["buzzed"] > 0
        assert one["buzzed"] + one["failed"] + one["skipped"] == one["recipients"]
        assert one["matched"] == one["recipients"] + one["not_in_wallet"] + one["opted_out"]
    assert sum(one["buzzed"] for one in told["campaigns"]) == told["buzzes"]
    assert told["campaigns"][2]["unknown"] == 7
    assert told["campaigns"][2]["twice"] == 3
    assert told["crash"]["taken"] >= told["crash"]["recorded"]
    assert 0 < told["busiest_second"] <= told["rate_per_second"] * 1.05
    assert told["records"] > told["phones"] > 0
    summary = (other / "out").read_text()
    assert "No phone buzzed twice" in summary
    assert "OFF" not in summary
    assert "What to try next" in summary


@NO_PROC
@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("private and temporary", signal.SIGINT, 130),
        ("restarted", signal.SIGINT, 130),
        ("kill -9", signal.SIGTERM, 143),
        ("restarted", signal.SIGKILL, -9),
    ],
)
def test_d10_an_interrupted_demo_leaves_nothing_behind(
    folder: Path, moment: str, number: signal.Signals, code: int
) -> None:
    """After Ctrl-C, a hang-up or kill -9 the demo leaves no process and no directory."""
    with running(folder, *SHORT, fresh=False) as demo:
        wait_until(lambda: moment in said(folder) or demo.poll() is not None, moment, 60)
        assert demo.poll() is None, said(folder)
        children = family(demo.pid)
        data = database_folder(children)
        assert data.exists()
        demo.send_signal(number)
        assert demo.wait(60) == code
    wait_until(lambda: not alive(children), "all processes are gone", 30)
    wait_until(lambda: not data.exists(), f"{data} is gone", 30)
    assert "Traceback" not in said(folder)
    assert {path.name for path in folder.iterdir()} == {"out", "err"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the account")
def test_an_ordinary_user_can_run_it_too() -> None:
    """Without any right but a temporary directory of their own."""
    account = server_account()
    assert account is not None
    who: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []}
    # pytest's own directories are for root alone.
    with tempfile.TemporaryDirectory(prefix="passbell demo ", dir="/tmp") as place:
        os.chown(place, account.uid, account.gid)
        command = [sys.executable, "-m", "passbell"]
        try:
            subprocess.run([*command, "--version"], cwd=place, check=True, capture_output=True, **who)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"{account.name} may not run {sys.executable}")
        done = subprocess.run(
            [*command, *SHORT],
            cwd=place,
            env={"PATH": os.environ["PATH"], "TMPDIR": place},
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
            **who,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ phones buzzed", done.stdout)


@pytest.mark.skipif(not LONG, reason="the long form; the short one shows everything but this")
def test_it_says_what_its_campaigns_brought(folder: Path) -> None:
    """`demo --results` says how many guests came anyway, and `more` of the campaign that brought some."""
    with running(folder, "demo", "--fast", "--passes", "4000", "--results", "--json") as process:
        assert process.wait(200) == 0
    dessert, wallpaper = json.loads((folder / "out").read_text())["results"]
    assert dessert["verdict"] == "more"
    assert dessert["planted"] > 50
    assert "came as well, so about" in dessert["beside"]
    assert wallpaper["planted"] == 0
    assert "came as well, so about" in wallpaper["beside"]
