"""The units, and what the daemon tells the service manager, over a real datagram socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from passbell.delivery.loops import Wakeup
from passbell.ops.liveness import Liveness
from passbell.settings import Settings
from support import confined
from support.pages import free_port, get
from support.plain import plain_client
from support.processes import Daemon, Sandbox
from support.wait import wait_until
from support.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import Shop

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = ("passbell.service", "passbell@.service", "passbell-web.service")
EXPOSURE = 1.5
PROGRAM = "/opt/passbell/bin/passbell"

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
    """The daemon tells systemd READY once, then WATCHDOG and STATUS, and STOPPING at the end."""
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
    """If systemd does not read its notifications, the daemon goes on sending."""
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
    wakeup = Wakeup()
    liveness = Liveness(Settings(dry_run=True), wakeup, {})
    assert liveness.chunk_loop_turns
    wakeup.beat = time.monotonic() - 61
    assert liveness.chunk_loop_turns  # nothing runs yet: waiting for the database is not hanging
    liveness.phase = "running"
    assert not liveness.chunk_loop_turns


# ── the units' sandbox, made by hand ────────────────────────────────────────────────

CONFINED = Path(confined.__file__)
confinable = pytest.mark.skipif(bool(confined.why_not()), reason=confined.why_not() or "possible here")


class ConfinedDaemon(Daemon):
    """`passbell run` under the restrictions of passbell.service, its secrets as credentials."""

    program = (str(CONFINED), str(UNITS / "passbell.service"), "-m", "passbell")
    fresh = True


class ConfinedWeb(Web):
    """`passbell web` under those of passbell-web.service."""

    program = (str(CONFINED), str(UNITS / "passbell-web.service"), "-m", "passbell")
    fresh = True


ATTEMPTS = """
import ctypes, errno, json, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
attempts = {
    "write where the program is": lambda: open(sys.executable, "r+b"),
    "write into /etc": lambda: open("/etc/passbell", "w"),
    "write into /": lambda: os.mkdir("/somewhere"),
    "write into /sys": lambda: open("/sys/kernel/mm/ksm/run", "w"),
    "see /home": lambda: os.listdir("/home"),
    "see another's process": lambda: os.listdir("/proc/1/fd"),
    "see a disk": lambda: open("/dev/vda", "rb"),
    "be root": lambda: os.setuid(0),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "make a namespace": lambda: call("unshare", 0x10000000),
    "write and run memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "listen to the kernel": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "send raw packets": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW),
    "set the clock": lambda: __import__("time").clock_settime(0, 1),
    "set the host name": lambda: socket.sethostname("mine"),
    "take priority": lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)),
    "trace": lambda: call("ptrace", 0, 0, None, None),
    "look like an old system": lambda: call("personality", 0x0400000),
    "leave a setuid file": lambda: (open("/tmp/x", "w").close(), os.chmod("/tmp/x", 0o4755)),
}
done = []
for name, attempt in attempts.items():
    try:
        attempt()
        done.append(name)
    except OSError:
        pass
open("/tmp/own", "w").write("this may be written")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "done": done,
    "tried": len(attempts),
    "uid": os.getuid(),
    "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "new privileges": status["NoNewPrivs"].strip(),
    "filters": int(status["Seccomp_filters"]),
    "credentials": {name: open(f"/run/credentials/{name}").read() for name in os.listdir("/run/credentials")},
    "environment": [name for name in os.environ if name.startswith("PASSBELL_")],
    "boot id": os.path.exists("/proc/sys/kernel/random/boot_id"),
}))
"""


@confinable
@pytest.mark.parametrize("name", ["passbell.service", "passbell-web.service"])
def test_the_restrictions_are_real(name: str) -> None:
    """Under each unit's sandbox nothing works that it is there to refuse, and what it must leave is left."""
    unit = confined.read_unit(UNITS / name)
    secrets = {value.partition(":")[0]: f"secret of {value}" for value in unit["LoadCredential"]}
    done = subprocess.run(
        [sys.executable, CONFINED, UNITS / name, "-c", ATTEMPTS],
        env=os.environ | {f"PASSBELL_{name.upper()}": secret for name, secret in secrets.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["done"] == []
    assert found["tried"] >= 19
    assert found["uid"] == confined.UID
    assert set(found["capabilities"]) == {"0000000000000000"}
    assert found["new privileges"] == "1"
    assert found["filters"] >= 2
    assert found["credentials"] == secrets
    assert not {f"PASSBELL_{name.upper()}" for name in secrets} & set(found["environment"])
    assert found["boot id"] is (name == "passbell.service")


@confinable
@pytest.mark.parametrize("client", ["httptools", "httpx"])
def test_the_daemon_works_under_its_unit(shop: Shop, client: str) -> None:
    """Under all restrictions of its unit the daemon reaches every member, with either HTTP client."""
    program = shop.program(passkit_program_id="pkTea")
    pass_ids = shop.members(program, 60)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    port = free_port()
    parts = urlsplit(shop.url)
    # By name, as in life: looking it up must work with no netlink socket to ask for addresses.
    url = urlunsplit(parts._replace(netloc=parts.netloc.replace("127.0.0.1", "localhost")))
    with listening, Sandbox() as sandbox, plain_client(base_url=sandbox.url) as remote:
        listening.bind(f"\0passbell-test-{os.getpid()}")
        listening.settimeout(30)
        records = [
            {"id": row["passkit_internal_id"], "externalId": row["external_id"], "owner": "pkTea"}
            for row in shop.rows("select passkit_internal_id, external_id from passes_master")
        ]
        remote.post("/sandbox/seed", json={"records": records}).raise_for_status()
        daemon = ConfinedDaemon(
            shop.url,
            sandbox.url,
            DATABASE_URL=url,
            HTTP_CLIENT=client,
            METRICS_PORT=port,
            RATE_PER_SECOND=500,
            POLL_SECONDS=0.2,
        )
        daemon.settings["NOTIFY_SOCKET"] = f"@passbell-test-{os.getpid()}"
        with daemon:
            assert listening.recv(4096).startswith(b"READY=1")
            campaign = shop.campaign(program, "Hello")
            wait_until(lambda: shop.status(campaign) == "COMPLETED")
            loaded = Path(f"/proc/{daemon.pid}/maps").read_text("utf-8")
            for library in ("uvloop", "orjson", "psycopg_binary"):
                assert library in loaded, library
            assert ("httptools" in loaded) is (client == "httptools")  # httpx has no library of its own in C
            assert get(port, "/ready").status == 200
            assert "process_resident_memory_bytes" in get(port, "/metrics").body
            assert daemon.terminate() == 0
        troubles = [event for event in daemon.events() if event.get("level") == "error"]
        assert troubles == []
    assert set(shop.ledger(campaign)) == set(pass_ids)
    assert set(shop.ledger(campaign).values()) == {"sent"}


@confinable
def test_the_page_works_under_its_unit(shop: Shop) -> None:
    """Under all restrictions of passbell-web.service the page orders a campaign and takes an upload."""
    program = shop.program()
    shop.member(program, external_id="A1", user={"first_name": "Ann"})
    with ConfinedWeb(shop.url) as web, web.client() as api:
        assert api.get("/ready").status_code == 200
        assert api.get("/login").status_code == 200
        body = {"programId": str(program), "message": "Hello {first_name}"}
        assert api.post("/api/notify/broadcast/test", body).status_code == 200
        assert api.post("/api/notify/broadcast", body).status_code == 202
        # More than a megabyte: the upload goes through a file in /tmp.
        rows = "email,city\n" + "".join(f"m{n}@example.com,{'x' * 500}\n" for n in range(2_500))
        upload = {"csvFile": ("members.csv", rows, "text/csv")}
        imported = api.post("/api/members/import", data={"programId": str(program)}, files=upload)
        assert imported.status_code in {200, 202}, imported.text
        assert web.terminate() == 0
        assert web.events("web_stopped")
    assert shop.value("select count(*) from users where email like 'm%%@example.com'") == 2_500
