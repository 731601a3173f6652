"""Tests as if it were another day: what they start reads the other date, and waits as long as ever."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "another_day.py"
SLEEPER = "import datetime, time; time.sleep(0.01); print(datetime.datetime.now(datetime.UTC).date())"


def moved(day: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, day, *command], check=False, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_what_is_started_reads_the_other_date() -> None:
    """A child of the command, and one of its children, take a leap day for today; the exit code is the command's."""
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}]); sys.exit(3)"
    answer = moved("2028-02-29 12:00", sys.executable, "-c", nested)
    assert (answer.stdout, answer.returncode) == ("2028-02-29\n", 3), answer.stderr


def test_a_day_that_cannot_be_read() -> None:
    """`make another-day` without DAY, or with words, says what it needs."""
    answer = moved("yesterday", "true")
    assert answer.returncode == 2
    assert "2028-02-29 13:00" in answer.stderr
