"""The Dockerfile without Docker: its steps, run as they stand, each stage in a root folder of its own.

    image = Image(folder)
    image.build()
    image.command("migrate", environment=…)      what `docker run --read-only --tmpfs /tmp passbell migrate` starts

In place of the base image stand this machine's /usr and Python, read-only, and in place of the package index what is
installed here (`wheels`), where that is all that is needed and in the versions of the lock. The long form takes the
index. Everything else is as the Dockerfile says: what it copies, working directories, environment, accounts, the entry
point.
As a script it is the inside: `python image.py ROOT OPTIONS PROGRAM ARGUMENT…` enters the root and becomes the program.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from support import confined

__all__ = ["Image", "why_not"]

ROOT: Final = Path(__file__).resolve().parents[2]
SYSTEM_PATH: Final = "/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of /etc, what a slim Debian image has and the steps or the network need.
OF_ETC: Final = (
    "passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf", "resolv.conf", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "ssl", "pip.conf", "alternatives",
)  # fmt: skip
# How this machine reaches its package index; a real build has its own.
OF_ENVIRONMENT: Final = re.compile(
    r"^(PIP_|SSL_CERT|REQUESTS_CA_BUNDLE|https?_proxy|no_proxy)", re.IGNORECASE
)
# Not compiled by pip, which takes longest: `Image.build` compiles what the services load.
PLAIN_PIP: Final = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_NO_COMPILE": "0",  # pip sets the option that `--no-compile` clears
}
SERVED: Final = (
    "uvloop, passbell.__main__, passbell.cli.migrate, passbell.cli.run, passbell.delivery.daemon,"
    " passbell.web.app, passbell.web.serve, passbell.devkit.sandbox.command, passbell.devkit.sandbox"
)


@functools.cache
def why_not() -> str:
    """Say what this machine lacks; empty if it can be done here."""
    if reason := confined.why_not():
        return reason
    probe = [Path(sys.base_prefix) / "bin" / "python3", "-c", "import ensurepip, venv"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "this Python cannot make environments with pip (Debian: python3-venv)"
    return ""


class Image:
    """What a build makes: the last stage's folder and what its instructions say about running it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stages: dict[str, Path] = {}
        self.root = folder
        self.environment: dict[str, str] = {}
        self.user = "0:0"
        self.workdir = "/"
        self.entrypoint: list[str] = []
        self.default: list[str] = []
        self.health: list[str] = []
        self.steps: list[str] = []
        self._index: dict[str, str] = {}

    def build(self) -> None:
        """Run every instruction."""
        for name, value in instructions((ROOT / "Dockerfile").read_text("utf-8")):
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise ValueError(f"{name} is not known here: {value}")
            handler(value)
        self._compile()

    def command(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        writable: bool = False,
        raw: bool = False,
    ) -> tuple[list[str], dict[str, str]]:
        """Return what to start, and with which environment; `raw` leaves the entry point out."""
        program = list(arguments) if raw else [*self.entrypoint, *(arguments or self.default)]
        options = {"user": self.user, "workdir": self.workdir, "writable": writable}
        command = [sys.executable, __file__, str(self.root), json.dumps(options), *program]
        return command, {"PATH": SYSTEM_PATH, "HOME": "/root"} | self.environment | (environment or {})

    def _compile(self) -> None:
        """Do for the modules that the services load what pip does for all: a read-only image could never do it."""
        user, self.user = self.user, "0:0"
        command, environment = self.command("python", "-c", f"import {SERVED}", writable=True, raw=True)
        self.user = user
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3_000:]

    # ── instructions ───────────────────────────────────

    def _from(self, value: str) -> None:
        name = value.split()[2] if " AS " in value else "final"
        self.root = self._folder / name
        self._stages[name] = self.root
        self.environment, self.user, self.workdir = {}, "0:0", "/"
        (self.root / "etc").mkdir(parents=True)
        for part in OF_ETC:
            source = Path("/etc") / part
            if source.is_dir():
                shutil.copytree(
                    source, self.root / "etc" / part, symlinks=True, ignore_dangling_symlinks=True
                )
            elif source.exists():
                shutil.copy(source, self.root / "etc" / part)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost db sandbox\n", "utf-8")
        (self.root / "tmp").mkdir(mode=0o1777)
        (self.root / "root").mkdir()
        if name != "final" and os.environ.get("PASSBELL_LONG") != "1" and locked_wheels(self.root / "wheels"):
            self._index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        python = self.root / "python/bin/python"  # as the official images have it
        python.parent.mkdir(parents=True)
        python.symlink_to(Path(sys.base_prefix) / "bin" / "python3")

    def _workdir(self, value: str) -> None:
        self.workdir = value
        (self.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _copy(self, value: str) -> None:
        words = value.split()
        stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
        base = ROOT if stage is None else self._stages[stage]
        target = self.root / (
            self.workdir + "/" + words[-1] if not words[-1].startswith("/") else words[-1]
        ).lstrip("/")
        for source in (base / word.lstrip("/") for word in words[:-1]):
            if source.is_dir():
                shutil.copytree(
                    source,
                    target,
                    symlinks=True,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__"),
                )
            else:
                shutil.copy(source, target / source.name if target.is_dir() else target)

    def _run(self, value: str) -> None:
        command, environment = self.command("/bin/sh", "-c", value, writable=True, raw=True)
        reach = {name: text for name, text in os.environ.items() if OF_ENVIRONMENT.match(name)}
        done = subprocess.run(
            command,
            env=reach | self._index | PLAIN_PIP | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"RUN {value}\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}")
        self.steps.append(value)

    def _env(self, value: str) -> None:
        for name, text in re.findall(r"(\w+)=(\S+)", value):
            self.environment[name] = text.replace("$PATH", self.environment.get("PATH", SYSTEM_PATH))

    def _user(self, value: str) -> None:
        self.user = value

    def _healthcheck(self, value: str) -> None:
        self.health = json.loads(value[value.index("CMD") + 3 :])

    def _entrypoint(self, value: str) -> None:
        self.entrypoint = json.loads(value)

    def _cmd(self, value: str) -> None:
        self.default = json.loads(value)

    def _label(self, value: str) -> None:
        """Words about the image."""

    def _stopsignal(self, value: str) -> None:
        """`docker stop` sends it."""


def locked_wheels(folder: Path) -> bool:
    """Write what the image needs as wheels, unless it is not all installed here, or not as the lock says."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - every program in the image begins here

    from support import wheels  # noqa: PLC0415

    try:
        found = wheels.needed("web")
    except PackageNotFoundError:
        return False
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    if any(versions.get(wheels.name(one), one.version) != one.version for one in found):
        return False
    wheels.pack(found, folder)
    return True


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions with their lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name, value)
        for name, _, value in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def main(root: str, options: str, *program: str) -> None:
    """Enter the root, as the container's user, and become the program."""
    wanted: dict[str, Any] = json.loads(options)
    place = Path(root)
    libc = confined.libc
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    libc.unshare(confined.CLONE_NEWNS | confined.CLONE_NEWIPC)
    libc.mount("none", "/", None, confined.MS_REC | confined.MS_PRIVATE, None)
    libc.mount(place, place, None, confined.MS_BIND, None)
    confined.show_files(place, set())
    confined.show_devices(place)
    if not wanted["writable"]:
        confined.empty_folders(place, {"tmp": "1777"})
        flags = confined.MS_REMOUNT | confined.MS_BIND | confined.MS_RDONLY
        libc.mount("none", place, None, flags, None)
    confined.enter_root(place, library)
    uid, gid = (int(part) for part in wanted["user"].split(":"))
    if uid:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        libc.prctl(confined.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir(wanted["workdir"])
    os.execvpe(program[0], program, os.environ)  # noqa: S606 - the image's own program


if __name__ == "__main__":
    main(*sys.argv[1:])
