"""Ask the advisory database about every locked dependency: `make audit`.

    python tools/audit.py

Exit code 1 if one of them has a known vulnerability. Where the service cannot be asked (no network, or an index that
mirrors files alone) it says why and ends with 0. A package with well-known holes
is asked about along with them, so that a service which knows nothing is not taken for good news.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Verdict", "judge", "layers", "main", "together"]

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
AUDITOR = "pip-audit==2.10.1"
SERVICES = ("pypi", "osv")
CONTROL = "django==1.11.1"  # more than fifty advisories; not a dependency of ours
SECONDS = 100
LAST_LINES = 1


class Verdict(NamedTuple):
    """What an answer means: `asked` False says that no advisory source answered; `lines` has the reason."""

    asked: bool
    vulnerable: bool
    lines: list[str]


def judge(report: dict[str, Any], control: str = CONTROL) -> Verdict:
    """Read pip-audit's JSON: `{"dependencies": [{name, version, vulns: [...]} | {name, skip_reason}]}`."""
    dependencies = report["dependencies"]
    name = control.partition("==")[0]
    if not any(found["name"] == name and found.get("vulns") for found in dependencies):
        return Verdict(
            asked=False, vulnerable=False, lines=[f"the service does not know the holes of {control}"]
        )
    ours = [found for found in dependencies if found["name"] != name]
    unknown = [found["name"] for found in ours if "skip_reason" in found]
    lines = [
        f"{found['name']} {found['version']}: {hole['id']}"
        + (f", mended in {', '.join(hole['fix_versions'])}" if hole.get("fix_versions") else "")
        for found in ours
        for hole in found.get("vulns", ())
    ]
    vulnerable = bool(lines)
    lines.append(f"{len(ours) - len(unknown)} of {len(ours)} dependencies were looked up.")
    if unknown:
        lines.append(f"Not known to the service: {', '.join(unknown)}.")
    return Verdict(asked=True, vulnerable=vulnerable, lines=lines)


def main() -> int:
    """Return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            python = _auditor(Path(folder))
        except subprocess.CalledProcessError as error:
            return _skip([f"{AUDITOR} cannot be installed: {_last_line(error.stderr)}"])
        lists = []
        for number, pins in enumerate(layers(LOCK.read_text("utf-8"))):
            lists.append(Path(folder) / f"requirements-{number}.txt")
            lists[-1].write_text("\n".join([*pins, CONTROL, ""]), "utf-8")
        reasons = []
        for service in SERVICES:
            verdict = together([_ask(python, pins, service) for pins in lists])
            if verdict.asked:
                print("\n".join(verdict.lines))
                return 1 if verdict.vulnerable else 0
            reasons += [f"{service}: {line}" for line in verdict.lines]
        return _skip(reasons)


def layers(lock: str) -> list[list[str]]:
    """Return the pins of a lock, each name once per list: the auditor refuses a list that has it twice.

    A package is locked twice where Pythons of different age take different versions.
    """
    found: list[dict[str, str]] = []
    for pin in re.findall(r"^[A-Za-z0-9._-]+==[^ ;\\\n]+", lock, re.MULTILINE):
        name = pin.partition("==")[0]
        free = next((layer for layer in found if name not in layer), None)
        if free is None:
            found.append(free := {})
        free[name] = pin
    return [list(layer.values()) for layer in found]


def together(verdicts: list[Verdict]) -> Verdict:
    """Make one verdict of those on several lists: asked only if each was."""
    silent = [verdict for verdict in verdicts if not verdict.asked]
    return Verdict(
        asked=not silent,
        vulnerable=any(verdict.vulnerable for verdict in verdicts),
        lines=silent[0].lines if silent else [line for verdict in verdicts for line in verdict.lines],
    )


def _auditor(folder: Path) -> Path:
    """Install the auditor into an environment of its own, because its dependencies are not passbell's."""
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", AUDITOR],
        check=True,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return python


def _ask(python: Path, requirements: Path, service: str) -> Verdict:
    command: list[str | Path] = [python, "-m", "pip_audit", "--disable-pip", "--no-deps", "-r", requirements]
    command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", "15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return Verdict(asked=False, vulnerable=False, lines=[f"no answer within {SECONDS} seconds"])
    try:
        return judge(json.loads(done.stdout))
    except (ValueError, KeyError):
        return Verdict(asked=False, vulnerable=False, lines=[_last_line(done.stderr)])


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines[-LAST_LINES:])[:300] or "no reason given"


def _skip(reasons: list[str]) -> int:
    print("Not audited, because no advisory source answered:")
    for reason in reasons:
        print(f"  {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
