"""Everything about a release that can be done without publishing it: `make release-check`.

    python tools/release_check.py

Builds sdist and wheel, lets twine judge them, installs the wheel with its run-time extras into an empty environment,
runs `passbell --help` and `passbell migrate --print` there, judges the licence of every package that came along, and
writes what a release has besides: the printed SQL and an SBOM. All of it is left in `dist/`. The release workflow runs
this same script and uploads that folder.

Exit code 1 if a step finds something; 3 where the tools cannot be installed, because no package index can be reached.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["licence_problems", "main"]

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
LOCK = ROOT / "requirements.lock"
# In an environment of their own: what they depend on is not what passbell depends on.
TOOLS = ("twine==7.0.0", "pip-licenses==5.5.5", "cyclonedx-bom==7.5.0")
EXTRAS = "web"
SECONDS = 600
UNAVAILABLE = 3

# A licence may be named by its SPDX identifier, by a classifier of the package index, or by both.
PERMISSIVE = re.compile(
    r"0?BSD([- ]\d-Clause)?( License)?|\d-Clause BSD License|MIT(-0)?( License)?|Apache([- ](License )?2\.0)?"
    r"( Software License)?|ISC( License( \(ISCL\))?)?|PSF-2\.0|Python Software Foundation License|Zlib|CC0-1\.0"
    r"|The Unlicense \(Unlicense\)|Unlicense",
    re.IGNORECASE,
)
EXCEPTIONS: Mapping[str, str] = {
    "certifi": "MPL-2.0: a list of certificates, used unchanged as a package of its own",
    "orjson": "MPL-2.0 AND (Apache-2.0 OR MIT): used unchanged as a package of its own",
    "psycopg": "LGPL-3.0-only: used unchanged as a library that can be exchanged",
    "psycopg-binary": "LGPL-3.0-only: used unchanged as a library that can be exchanged",
    "psycopg-pool": "LGPL-3.0-only: used unchanged as a library that can be exchanged",
}
"""Packages whose licence is not permissive, and why passbell may depend on them all the same."""


def licence_problems(found: Iterable[Mapping[str, str]], exceptions: Mapping[str, str]) -> list[str]:
    """Read pip-licenses' JSON, and return one sentence for each package that passbell must not depend on.

    A package passes if each part of its licence is permissive. Of parts joined by OR, one is enough. An exception that
    no package needs is a problem too: the list must not outlive its reason.
    """
    problems = []
    needed = set()
    for package in found:
        name, licence = package["Name"], package["License"]
        if _permissive(licence):
            continue
        if name in exceptions:
            needed.add(name)
            continue
        problems.append(f"{name} {package['Version']}: licence {licence!r} is not permissive")
    problems += [
        f"{name}: an exception is listed, but not needed" for name in sorted(exceptions.keys() - needed)
    ]
    return problems


def _permissive(licence: str) -> bool:
    alternatives = re.split(r"\s+OR\s+|;\s*", licence.replace("(Apache-2.0 OR MIT)", "MIT"))
    return any(
        all(PERMISSIVE.fullmatch(part.strip(" ()")) or PERMISSIVE.fullmatch(part.strip()) for part in parts)
        for parts in (re.split(r"\s+AND\s+", alternative) for alternative in alternatives)
    )


def main() -> int:
    """Return the exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tools = _environment(folder / "tools")
        try:
            _install(tools, *TOOLS)
        except subprocess.CalledProcessError as error:
            print(f"The release tools cannot be installed: {_last_line(error.stderr)}")
            return UNAVAILABLE
        try:
            problems = _check(folder, tools)
        except subprocess.CalledProcessError as error:
            print(f"{' '.join(str(word) for word in error.cmd)}\n{error.stdout}{error.stderr}")
            return 1
    for problem in problems:
        print(problem)
    if not problems:
        print(f"Ready to be released: {', '.join(sorted(file.name for file in DIST.iterdir()))} in dist/.")
    return 1 if problems else 0


def _check(folder: Path, tools: Path) -> list[str]:
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--target", "wheel")
    packages = sorted(DIST.iterdir())
    (wheel,) = DIST.glob("*.whl")
    _run(tools, "-m", "twine", "check", "--strict", *packages)
    clean = _environment(folder / "clean")
    constraints = folder / "constraints.txt"
    locked = re.findall(r"^[A-Za-z0-9._-]+==[^ ;\\\n]+", LOCK.read_text("utf-8"), re.MULTILINE)
    constraints.write_text("\n".join(locked), "utf-8")
    _install(clean, "--constraint", constraints, f"{wheel}[{EXTRAS}]")
    command = clean.with_name("passbell")
    _run(command, "--help", cwd=folder)
    printed = _run(command, "migrate", "--print", cwd=folder)
    (DIST / "passbell.sql").write_text(printed, "utf-8")
    sbom = DIST / "passbell.cdx.json"
    _run(tools, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--output-file", sbom, clean)
    listed = _run(
        tools, "-m", "piplicenses", "--python", clean, "--format", "json", "--ignore-packages", "passbell"
    )
    licences = json.loads(listed)
    (DIST / "licences.json").write_text(listed, "utf-8")
    problems = licence_problems(licences, EXCEPTIONS)
    if "create function passbell.claim_chunk(" not in printed:
        problems.append("`passbell migrate --print` does not print the functions")
    components = {component["name"] for component in json.loads(sbom.read_text("utf-8"))["components"]}
    problems += [
        f"{package['Name']} is not in the SBOM" for package in licences if package["Name"] not in components
    ]
    print(f"Licences of {len(licences)} packages; {len(EXCEPTIONS)} of them by an exception with a reason.")
    return problems


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def _install(python: Path, *what: str | Path) -> None:
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *what,
    )


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


if __name__ == "__main__":
    sys.exit(main())
