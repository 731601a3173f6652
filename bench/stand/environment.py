"""The other queues in an environment of their own, `.bench` beside this folder: nothing of passbell's is touched.

Node's packages come from npm, at their newest version that can be installed, with Node 22 from npm's package `node`
if the system's own is older than they ask for. Python's come from PyPI into a venv. What cannot be had is left out,
with one line that says why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FOLDER", "Environment", "prepare"]

FOLDER = Path(__file__).parents[2] / ".bench"
NODE_PACKAGES = ("pg", "undici", "axios", "graphile-worker", "pg-boss")
NODE_NEEDED = (22, 19)
PYTHON_PACKAGES = ("pgqueuer[asyncpg]", "procrastinate", "aiohttp", "uvloop", "pyreqwest")
OLDER = 6
"""How many earlier releases are tried when the newest cannot be installed (a dependency may lag in a mirror)."""


@dataclass
class Environment:
    """What there is: programs to run peers with (None: not to be had), versions by package, complaints."""

    node: str | None = None
    python: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def prepare() -> Environment:
    """Install what is not installed yet and say what there is."""
    FOLDER.mkdir(exist_ok=True)
    found = Environment()
    _prepare_node(found)
    _prepare_python(found)
    return found


def _prepare_node(found: Environment) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        found.missing.append("no npm here (Debian: apt install npm): the peers from npm are left out")
        return
    home = FOLDER / "node"
    home.mkdir(exist_ok=True)
    if not (home / "package.json").exists():
        (home / "package.json").write_text('{"private": true}\n')
    if _node_version(node) < NODE_NEEDED:
        if not _version(home, "node"):
            _npm(npm, home, "node@22")
        own = home / "node_modules" / "node" / "bin" / "node"
        node = str(own) if own.exists() else node
    found.versions["node"] = _output([node, "--version"]).lstrip("v")
    found.node = node
    for package in NODE_PACKAGES:
        if not _version(home, package):
            complaint = _install_newest(npm, home, package)
            if complaint:
                found.missing.append(f"{package}: {complaint}")
        if version := _version(home, package):
            found.versions[package] = version
    # Modules are looked up from the folder of the file that imports them.
    for file in (Path(__file__).parents[1] / "peers").glob("*.mjs"):
        shutil.copy(file, home)


def _install_newest(npm: str, home: Path, package: str) -> str:
    """Install the newest release that can be; returns why none could."""
    complaint = _npm(npm, home, f"{package}@latest")
    if not complaint:
        return ""
    listed = json.loads(_output([npm, "view", package, "versions", "--json"], home) or "[]")
    for version in list(reversed(listed))[1 : OLDER + 1]:
        if not _npm(npm, home, f"{package}@{version}"):
            return ""
    return complaint


def _npm(npm: str, home: Path, what: str) -> str:
    print(f"installing {what} from npm ...", file=sys.stderr)
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", what],
        cwd=home,
        check=False,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if "ERR" in line or "error" in line]
    return "" if done.returncode == 0 else (lines or ["npm could not install it"])[0]


def _prepare_python(found: Environment) -> None:
    home = FOLDER / "venv"
    python = home / "bin" / "python"
    try:
        if not python.exists():
            print("installing the peers from PyPI ...", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True)
        if "pgqueuer" not in _pip_versions(python):
            subprocess.run(
                [python, "-m", "pip", "install", "-q", *PYTHON_PACKAGES], check=True, capture_output=True
            )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or b"").decode("utf-8", "replace").splitlines()
        found.missing.append(f"the peers from PyPI are left out: {lines[-1] if lines else error}")
        return
    versions = _pip_versions(python)
    found.versions |= {name: versions[name] for name in ("pgqueuer", "procrastinate") if name in versions}
    found.versions["python"] = sys.version.split()[0]
    found.python = str(python)


def _pip_versions(python: Path) -> dict[str, str]:
    listed = json.loads(_output([str(python), "-m", "pip", "list", "--format=json"]) or "[]")
    return {package["name"]: package["version"] for package in listed}


def _node_version(node: str) -> tuple[int, ...]:
    return tuple(
        int(part) for part in _output([node, "--version"]).lstrip("v").split(".")[:2] if part.isdigit()
    )


def _version(home: Path, package: str) -> str:
    """The installed version of a package of npm; empty without one."""
    try:
        described = json.loads((home / "node_modules" / package / "package.json").read_text())
    except OSError:
        return ""
    return str(described["version"])


def _output(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=os.environ)
    return done.stdout.strip()
