"""`make` of the documents: looks whether the target is there, and runs nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

TARGETS = set(
    re.findall(r"^([a-z]+):", (Path(__file__).parents[3] / "Makefile").read_text("utf-8"), re.MULTILINE)
)

unknown = {word for word in sys.argv[1:] if "=" not in word and not word.startswith("-")} - TARGETS
if unknown:
    sys.exit(f"make: no target {', '.join(sorted(unknown))}")
