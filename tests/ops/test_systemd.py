"""The units, and what the daemon tells the service manager, over a real datagram socket."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passbell.engine.wakeups import Bell
from passbell.ops.watch import Watch
from passbell.settings import Settings
from support.pages import free_port, get
from support.processes import Daemon
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import Shop

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = ("passbell.service", "passbell@.service", "passbell-web.service")
EXPOSURE = 1.5
PROGRAM = "/opt/passbell/bin/passbell"
PR_SET_MDWE = 65  # Linux 6.3: what MemoryDenyWriteExecute= asks for, for a process and its children

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


@pytest.fixture(params=NAMES)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a unit whose program exists, as an instance where it is a template."""
    text = (UNITS / request.param).read_text("utf-8").replace(PROGRAM, "/bin/true")
    path = tmp_path / request.param.replace("@.", "@north.")
    path.write_text(text, "utf-8")
    return path


@analyze
def test_units_are_correct(unit: Path) -> None:
    """The service manager finds nothing to complain of."""
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    # systemd before 253 also prints what is wrong with other units of the machine.
    assert [line for line in done.stderr.splitlines() if "passbell" in line] == []
    assert done.returncode == 0, done.stderr


@analyze
def test_units_are_hardened(unit: Path) -> None:
    """The exposure that systemd computes is at most 1.5 of 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found.group(1)) <= EXPOSURE, done.stdout


def settings_of(name: str) -> list[str]:
    lines = (UNITS / name).read_text("utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_the_template_is_the_unit_with_names() -> None:
    """passbell@.service differs from passbell.service in the instance's name alone."""
    plain = settings_of("passbell.service")
    template = [
        line.replace("passbell %i:", "passbell:")
        .replace("/etc/passbell/%i.env", "/etc/passbell/passbell.env")
        .replace("/%i/", "/")
        for line in settings_of("passbell@.service")
    ]
    assert template == plain


def test_restarts_end_where_a_person_has_to_act() -> None:
    """Exit codes 2 and 4 are not restarted, others are for ever; the stop outlasts a request."""
    text = (UNITS / "passbell.service").read_text("utf-8")
    assert "RestartPreventExitStatus=2 4\n" in text
    assert "StartLimitIntervalSec=0\n" in text
    stop = int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[0])
    assert stop > 2 * Settings(dry_run=True).request_timeout
    assert "\nProcSubset=pid" not in text  # boot_id must be readable


# ── sd_notify ───────────────────────────────────────────────────


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.told: list[str] = []

    def lines(self) -> list[str]:
        """Every assignment so far, such as READY=1."""
        while True:
            try:
                self.told += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.told


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path / "notify")
    yield found
    found.socket.close()


def notifying(shop: Shop, manager: Manager, **settings: object) -> Daemon:
    daemon = Daemon(shop.url, "http://127.0.0.1:9", DRY_RUN=True, POLL_SECONDS=0.2, **settings)
    daemon.settings["NOTIFY_SOCKET"] = str(manager.socket.getsockname())
    daemon.settings["WATCHDOG_USEC"] = "200000"
    return daemon


def test_the_daemon_tells_its_life(shop: Shop, manager: Manager) -> None:
    """READY once, then WATCHDOG and a STATUS with campaign and pace, STOPPING at the end."""
    program = shop.program()
    shop.members(program, 200)
    campaign = shop.campaign(program, "Hello")
    with notifying(shop, manager, RATE_PER_SECOND=100) as daemon:
        wait_until(lambda: any(f"campaign {campaign}" in line for line in manager.lines()))
        wait_until(lambda: any(re.search(r"; [1-9]\d*\.\d a second", line) for line in manager.lines()))
        wait_until(lambda: any(line.endswith("200 sent since the start") for line in manager.lines()))
        assert daemon.terminate() == 0
    told = manager.lines()
    assert told[0] == "READY=1"
    assert told.count("READY=1") == told.count("STOPPING=1") == 1
    assert told.index("STOPPING=1") > told.index("READY=1")
    assert told.count("WATCHDOG=1") > 5


def test_not_ready_before_the_database(shop: Shop, manager: Manager) -> None:
    """Without a database there is no READY, and the stop is clean."""
    daemon = notifying(shop, manager, DATABASE_URL=f"postgresql://x@127.0.0.1:{free_port()}/x")
    try:
        daemon.start(wait=False)
        wait_until(lambda: daemon.events("database_unavailable"))
        assert daemon.terminate() == 0
    finally:
        daemon.close()
    assert "READY=1" not in manager.lines()


def test_a_manager_that_does_not_read_stops_nothing(shop: Shop, manager: Manager) -> None:
    """With the manager's queue full, the daemon goes on sending."""
    program = shop.program()
    shop.members(program, 150)
    campaign = shop.campaign(program, "Hello")
    with notifying(shop, manager, RATE_PER_SECOND=100) as daemon:
        wait_until(lambda: shop.status(campaign) == "COMPLETED")
        assert daemon.terminate() == 0


def test_an_abstract_socket_works_too(shop: Shop, manager: Manager) -> None:
    """Newer service managers listen on an abstract address, written with an @."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with listening:
        name = f"passbell-test-{os.getpid()}"
        listening.bind(f"\0{name}")
        listening.settimeout(20)
        daemon = notifying(shop, manager)
        daemon.settings["NOTIFY_SOCKET"] = f"@{name}"
        with daemon:
            assert listening.recv(4096).startswith(b"READY=1")


def test_the_watchdog_starves_when_the_chunk_loop_stands() -> None:
    """The dog is fed by the chunk loop's own turns: one that has not turned for a minute is not alive."""
    bell = Bell()
    watch = Watch(Settings(dry_run=True), bell, {})
    assert watch.chunk_loop_turns
    bell.beat = time.monotonic() - 61
    assert watch.chunk_loop_turns  # nothing runs yet: waiting for the database is not hanging
    watch.phase = "running"
    assert not watch.chunk_loop_turns


def test_the_daemon_lives_under_the_units_restrictions(shop: Shop) -> None:
    """No capabilities, no new privileges, nobody's account, no writable code: it sends all the same."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to take rights away")
    probe = f"import ctypes,sys; sys.exit(ctypes.CDLL(None).prctl({PR_SET_MDWE},1,0,0,0) != 0)"
    mdwe = subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
    program = shop.program()
    shop.members(program, 30)
    campaign = shop.campaign(program, "Hello")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PASSBELL_DATABASE_URL": shop.url,
        "PASSBELL_DRY_RUN": "true",
        "PASSBELL_METRICS_PORT": str(port),
        "PASSBELL_RATE_PER_SECOND": "500",
    }
    program_text = (
        "import ctypes; "
        + (f"ctypes.CDLL(None).prctl({PR_SET_MDWE},1,0,0,0); " if mdwe else "")
        + "from passbell.cli import main; main(['run'])"
    )
    poor = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    poor += ["--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c"]
    reachable = subprocess.run([*poor, "import passbell"], check=False, capture_output=True)
    if reachable.returncode != 0:
        pytest.skip("nobody's account cannot read this checkout")
    running = subprocess.Popen([*poor, program_text], env=environment, cwd="/", stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: shop.status(campaign) == "COMPLETED")
        status = Path(f"/proc/{running.pid}/status").read_text("utf-8")
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert get(port, "/ready").status == 200
        running.terminate()
        assert running.wait(20) == 0
    finally:
        running.kill()
        running.wait()
