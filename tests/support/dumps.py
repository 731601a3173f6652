"""A database as text, to be compared with another."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from passbell.devkit.binaries import find_binaries

__all__ = ["client_program", "dump"]

RESTRICTION: Final = re.compile(r"^\\(?:un)?restrict.*\n?", re.MULTILINE)
VERSION: Final = re.compile(r"attver=\d+")


def client_program(name: str) -> str:
    """Path of one of PostgreSQL's client programs; skips where the installation brings none."""
    found = find_binaries() / name
    if not found.exists() and not (found := Path(shutil.which(name) or name)).exists():
        pytest.skip(f"no {name} on this machine")
    return str(found)


def dump(url: str, *options: str) -> str:
    """The whole database as text, without what pg_dump makes up anew at each run."""
    command = [client_program("pg_dump"), *options, "--dbname", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "server version mismatch" in done.stderr:
        pytest.skip("pg_dump is older than the server")
    assert done.returncode == 0, done.stderr
    # \restrict carries a random word, and Debian's 15.20 numbers columns by the moment they were made.
    return VERSION.sub("attver=…", RESTRICTION.sub("", done.stdout))
