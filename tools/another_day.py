"""Run a command as if it were another day: `make another-day DAY="2028-02-29 13:00"` runs the tests that way.

    python tools/another_day.py DAY COMMAND [ARGUMENT …]

DAY is a time in UTC. The command and all that it starts, PostgreSQL included, read a wall clock that was moved. Waits
are as long as ever. Needs Linux, glibc and a C compiler. Ends with the command's exit code; 2 if DAY cannot be read.

What passes today may fail before nine in the morning, on a leap day, or in a year that a test takes for the future.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["main", "seconds_until"]

SOURCE = Path(__file__).with_suffix(".c")


def seconds_until(day: str, now: datetime) -> int:
    """Whole seconds from now to a time in UTC; negative if it is over.

    Raises:
        ValueError: `day` is not in ISO 8601.
    """
    moment = datetime.fromisoformat(day)
    return round(((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


def main(arguments: list[str]) -> int:
    """Compile the library, and run the command with it."""
    day, *command = arguments or [""]
    if not command:
        sys.exit(__doc__)
    try:
        shift = seconds_until(day, datetime.now(UTC))
    except ValueError as error:
        print(f"DAY is a time like 2028-02-29 13:00: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="passbell-another-day-") as folder:
        library = Path(folder) / "another_day.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)  # noqa: S607 - the machine's
        Path(folder).chmod(0o755)  # PostgreSQL does not run as root
        moved = {**os.environ, "LD_PRELOAD": str(library), "ANOTHER_DAY": str(shift)}
        return subprocess.run(command, check=False, env=moved).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
