"""Bring .venv up to date with pyproject.toml and requirements.lock; quick when it already is.

    python3 tools/bootstrap.py

Needs nothing but Python's standard library and a package index. Debian and Ubuntu ship python3 without pip
and without ensurepip; there the pip wheel is fetched from the index that pip itself would use (see
`index.py`), and must have a sha256 that requirements.lock names.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from index import NoWheelError, fetch_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "passbell-setup"
VENV_PYTHON = VENV / "bin" / "python"


def main() -> int:
    """Return the exit code; every failure is one sentence."""
    try:
        with one_at_a_time():
            if up_to_date():
                return 0
            say("Preparing .venv (once; about a minute) ...")
            make_venv()
            install()
            STAMP.write_text(fingerprint())
    except (NoWheelError, OSError) as error:
        return fail(str(error))
    except subprocess.CalledProcessError as error:
        return fail(f"this step failed: {' '.join(map(str, error.cmd))}")
    say(f"Ready: {VENV_PYTHON.parent.relative_to(ROOT)}/passbell")
    return 0


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` in the same checkout must not install into one folder at once. Needs no lock file."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def fingerprint() -> str:
    """Name what .venv was made from: both files, and where it stands (an editable install has the path)."""
    digest = hashlib.sha256(str(ROOT).encode())
    for file in (ROOT / "pyproject.toml", LOCK):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def up_to_date() -> bool:
    """Tell whether the last run finished, from the same files, and its Python still starts."""
    return STAMP.is_file() and STAMP.read_text() == fingerprint() and works(VENV_PYTHON, "import passbell")


def works(python: Path, code: str) -> bool:
    """Tell whether this interpreter runs the code."""
    try:
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    """Create .venv with pip in it; keep one that works."""
    if not works(VENV_PYTHON, "import sys; sys.exit(sys.version_info < (3, 11))"):
        have_ensurepip = importlib.util.find_spec("ensurepip") is not None
        flags = [] if have_ensurepip else ["--without-pip"]
        run(sys.executable, "-m", "venv", "--clear", *flags, VENV)
    if not works(VENV_PYTHON, "import pip"):
        version, hashes = locked_pip()
        with tempfile.TemporaryDirectory() as folder:
            wheel = fetch_wheel("pip", version, hashes, Path(folder))
            # A wheel is a zip, and pip can run from inside its own.
            run(VENV_PYTHON, wheel / "pip", "install", "--quiet", "--no-index", wheel)


def locked_pip() -> tuple[str, set[str]]:
    """Read pip's version and the sha256 sums allowed for it from requirements.lock."""
    entry = re.search(r"^pip==(\S+)((?:[^\n]*\\\n)+[^\n]*)", LOCK.read_text(), re.MULTILINE)
    if entry is None:
        raise NoWheelError("requirements.lock names no pip; run `make lock` where .venv works.")
    return entry[1], set(re.findall(r"sha256:([0-9a-f]{64})", entry[2]))


def install() -> None:
    """Install the locked dependencies, then this checkout, without any unpinned download."""
    pip = (VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    root_user = ("--root-user-action=ignore",)
    run(*pip, *root_user, "--require-hashes", "-r", LOCK)
    run(*pip, *root_user, "--no-deps", "--no-build-isolation", "-e", ROOT)


def run(*command: str | Path) -> None:
    """Run one step from the top of the repository; show what it had to say only when it fails."""
    arguments = [str(part) for part in command]
    step = subprocess.run(
        arguments,
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if step.returncode != 0:
        sys.stderr.buffer.write(step.stdout[-4000:])
        raise subprocess.CalledProcessError(step.returncode, arguments)


def say(text: str) -> None:
    """Tell the person what happens."""
    print(text, flush=True)


def fail(reason: str) -> int:
    """Say why there is no .venv."""
    print(f"make setup: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
