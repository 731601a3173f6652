"""The units under a real systemd: a Debian booted in a container of systemd's own, passbell installed as documented.

Long (PASSBELL_LONG=1): a small Debian is installed first. Needs root, systemd-nspawn (Debian: systemd-container),
debootstrap and a mirror. tests/ops/test_systemd.py tries the same restrictions everywhere, made by hand.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from support.plain import plain_get, plain_post
from support.processes import SANDBOX_CREDENTIALS, Sandbox
from support.roles import role_url
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import Shop

ROOT = Path(__file__).parents[2]
MIRROR = "http://deb.debian.org/debian"
NEEDED = ("debootstrap", "systemd-nspawn")

pytestmark = [
    pytest.mark.skipif(not LONG, reason="long: PASSBELL_LONG=1"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot a container"),
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in NEEDED), reason=f"needs {' and '.join(NEEDED)}"
    ),
    pytest.mark.timeout(1800),
]

COLLECT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /collect.sh
[Install]
WantedBy=multi-user.target
"""
# Runs in the container once everything is up; its output is what the test looks at.
SCRIPT = """
until [ -e /go ]; do sleep 1; done
exec >/result 2>&1
show() { systemctl show "$1" -p "$2"; }
soon() { for _ in $(seq 90); do if "$@" >/dev/null; then return; fi; sleep 1; done; }
told() { show passbell StatusText | grep -q "100 sent since the start"; }
back() { [ "$(show passbell NRestarts)" = NRestarts=1 ] && systemctl is-active passbell; }
soon told
for name in ActiveState NRestarts StatusText DynamicUser Type; do show passbell $name; done
cat /proc/$(systemctl show -P MainPID passbell)/status
show passbell-web ActiveState
kill -KILL $(systemctl show -P MainPID passbell)
soon back
show passbell ActiveState; show passbell NRestarts
systemctl stop passbell passbell-web
for name in passbell passbell-web; do show $name Result; show $name ExecMainStatus; done
echo PASSBELL_RATE_PER_SECOND=fast >>/etc/passbell/passbell.env
systemctl start passbell
sleep 8
show passbell ActiveState; show passbell NRestarts; show passbell ExecMainStatus
systemctl poweroff --no-block
"""


def release() -> str:
    """This machine's own release where it is Debian: a newer systemd may not run on this kernel's cgroups."""
    found = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text("utf-8"), re.MULTILINE)
    return found[1] if found and Path("/etc/debian_version").exists() else "stable"


@pytest.fixture(scope="module")
def debian() -> Iterator[Path]:
    """A small Debian with passbell in /opt/passbell, as systemd/README.md installs it."""
    with tempfile.TemporaryDirectory(prefix="passbell-debian-") as folder:
        root = Path(folder) / "debian"
        packages = "systemd,dbus,python3,python3-venv,ca-certificates"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", release(), root, MIRROR],
            check=True,
            **quiet,
        )
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        authorities = "etc/ssl/certs/ca-certificates.crt"  # a mirror may have one of its own
        shutil.copy(f"/{authorities}", root / authorities)
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*build, "--wheel-dir", root, ROOT], check=True, cwd=ROOT)
        (wheel,) = root.glob("passbell-*.whl")
        locked = re.findall(
            r"^[A-Za-z0-9._-]+==[^ ;\\\n]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE
        )
        (root / "constraints.txt").write_text("\n".join(locked))
        for command in (
            ["python3", "-m", "venv", "/opt/passbell"],
            [
                "/opt/passbell/bin/pip",
                "install",
                "--constraint",
                "/constraints.txt",
                f"/{wheel.name}[web]",
            ],
        ):
            environment = os.environ | {"PIP_CERT": f"/{authorities}", "HOME": "/root"}
            subprocess.run(["chroot", root, *command], check=True, env=environment, **quiet)
        yield root


def install(root: Path, files: dict[str, str], settings: str) -> None:
    """Units, credentials and settings where the documents put them; everything enabled."""
    units = root / "etc/systemd/system"
    for unit in (ROOT / "systemd").glob("*.service"):
        shutil.copy(unit, units)
    (units / "collect.service").write_text(COLLECT)
    (root / "collect.sh").write_text(SCRIPT)
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    for name in ("passbell.service", "passbell-web.service", "collect.service"):
        (wanted / name).symlink_to(f"/etc/systemd/system/{name}")
    (root / "etc/passbell").mkdir(mode=0o700)
    for name, text in files.items():
        (root / "etc/passbell" / name).write_text(text)
        (root / "etc/passbell" / name).chmod(0o600)
    (root / "etc/passbell/passbell.env").write_text(settings)


def answers(url: str) -> bool:
    try:
        return plain_get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_a_real_systemd_runs_the_units(debian: Path, shop: Shop) -> None:
    """READY, status, dynamic account, no rights; sends; comes back after kill -9; stops cleanly; gives up on exit 2."""
    program = shop.program(passkit_program_id="pkTea")
    shop.members(program, 100)
    with (
        role_url(shop.url, "passbell_daemon") as daemon_url,
        role_url(shop.url, "passbell_web") as web_url,
        Sandbox() as sandbox,
    ):
        records = [
            {"id": row["passkit_internal_id"], "externalId": row["external_id"], "owner": "pkTea"}
            for row in shop.rows("select passkit_internal_id, external_id from passes_master")
        ]
        plain_post(f"{sandbox.url}/sandbox/seed", json={"records": records}).raise_for_status()
        files = {
            "database_url": daemon_url,
            "web_database_url": web_url,
            "passkit_api_key": SANDBOX_CREDENTIALS["PASSBELL_PASSKIT_API_KEY"],
            "passkit_api_secret": SANDBOX_CREDENTIALS["PASSBELL_PASSKIT_API_SECRET"],
            "api_keys": "me:correct-horse-battery",
        }
        install(debian, files, f"PASSBELL_PASSKIT_URL={sandbox.url}\n")
        boot = ["systemd-nspawn", "--quiet", "--directory", debian, "--boot", "--register=no", "--keep-unit"]
        machine = subprocess.Popen(boot, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: answers("http://127.0.0.1:9464/ready"), "the daemon is ready", 120)
            wait_until(lambda: answers("http://127.0.0.1:8080/ready"), "the page is ready", 120)
            campaign = shop.campaign(program, "Hello")
            wait_until(lambda: shop.status(campaign) == "COMPLETED", "everybody is buzzed", 60)
            (debian / "go").touch()
            assert machine.wait(400) == 0
        finally:
            machine.terminate()
            machine.wait(30)
    told = (debian / "result").read_text()
    values = re.findall(r"^(\w+)=(.*)$", told, re.MULTILINE)

    def all_of(name: str) -> list[str]:
        return [value for key, value in values if key == name]

    assert all_of("StatusText")[0].endswith("100 sent since the start"), told
    assert all_of("Type") == ["notify"]
    assert all_of("DynamicUser") == ["yes"]
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in told
    # Running; killed and there again by itself; stopped; not started again with a wrong setting.
    assert all_of("ActiveState") == ["active", "active", "active", "failed"], told
    assert all_of("NRestarts") == ["0", "1", "0"], told
    assert all_of("Result") == ["success", "success"], told
    assert all_of("ExecMainStatus") == ["0", "0", "2"], told
