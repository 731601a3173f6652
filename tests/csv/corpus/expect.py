"""Prints what is read from every file of the corpus, in the form of expected.txt, for a person to review."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Print the table."""
    render = runpy.run_path(str(HERE.parent / "render.py"))["render"]
    for name, how, nasty, _ in runpy.run_path(str(HERE / "make.py"))["CASES"]:
        sys.stdout.write("\n".join([f"{name} [{how}] {nasty}", *render(HERE / name, how), "", ""]))


if __name__ == "__main__":
    main()
