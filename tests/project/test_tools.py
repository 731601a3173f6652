"""The scripts beside the package: shell, and what the audit makes of an answer."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = (".ci/run", ".ci/packages")


def test_shellcheck_finds_nothing() -> None:
    """Our shell scripts hold no trap that a linter knows."""
    linter = shutil.which("shellcheck", path=str(ROOT / ".venv/bin")) or shutil.which("shellcheck")
    if linter is None:
        pytest.skip("no shellcheck: `make setup` brings it on Linux, x86_64")
    done = subprocess.run(
        [linter, *(ROOT / name for name in SCRIPTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KNOWN = {"name": "django", "version": "1.11.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.11.2"]}]}
GOOD = {"name": "click", "version": "8.1.8", "vulns": []}
BAD = {"name": "httpx", "version": "0.1", "vulns": [{"id": "GHSA-x", "fix_versions": ["0.2", "0.3"]}]}
UNKNOWN = {"name": "pip", "skip_reason": "Dependency not found"}


def test_no_news_is_good_news_only_from_who_knows() -> None:
    """A service that does not report the package with well-known holes was not asked; else everything counts."""
    judge = audit().judge
    assert not judge({"dependencies": [GOOD, UNKNOWN]}).asked
    assert not judge({"dependencies": [GOOD, {**KNOWN, "vulns": []}]}).asked
    good = judge({"dependencies": [GOOD, UNKNOWN, KNOWN]})
    assert (good.asked, good.vulnerable) == (True, False)
    assert good.lines == ["1 of 2 dependencies were looked up.", "Not known to the service: pip."]


def test_a_known_vulnerability_is_named_with_its_remedy() -> None:
    """One hole is enough; the line says which version mends it. The control package is not counted."""
    bad = audit().judge({"dependencies": [GOOD, BAD, KNOWN]})
    assert (bad.asked, bad.vulnerable) == (True, True)
    assert bad.lines[0] == "httpx 0.1: GHSA-x, mended in 0.2, 0.3"
    assert "django" not in "".join(bad.lines)


def test_packages_are_left_alone_on_request() -> None:
    """PASSBELL_CI_INSTALL=0 changes nothing on the machine, and is no failure."""
    done = subprocess.run(
        [ROOT / ".ci" / "packages"],
        env={"PATH": "/usr/bin:/bin", "PASSBELL_CI_INSTALL": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Nothing is installed here" in done.stdout
