"""The scripts beside the package: shell, workflows, what the audit makes of an answer, licences of a release."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def tool(name: str) -> Any:
    folder = str(ROOT / "tools")
    if folder not in sys.path:  # as for a script that is run: it imports its neighbours
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


KNOWN = {"name": "django", "version": "1.11.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.11.2"]}]}
GOOD = {"name": "click", "version": "8.1.8", "vulns": []}
BAD = {"name": "httpx", "version": "0.1", "vulns": [{"id": "GHSA-x", "fix_versions": ["0.2", "0.3"]}]}
UNKNOWN = {"name": "pip", "skip_reason": "Dependency not found"}


def test_no_news_is_good_news_only_from_who_knows() -> None:
    """A service that does not report the package with well-known holes was not asked; else everything counts."""
    judge = tool("audit").judge
    assert not judge({"dependencies": [GOOD, UNKNOWN]}).asked
    assert not judge({"dependencies": [GOOD, {**KNOWN, "vulns": []}]}).asked
    good = judge({"dependencies": [GOOD, UNKNOWN, KNOWN]})
    assert (good.asked, good.vulnerable) == (True, False)
    assert good.lines == ["1 of 2 dependencies were looked up.", "Not known to the service: pip."]


def test_a_known_vulnerability_is_named_with_its_remedy() -> None:
    """One hole is enough; the line says which version mends it. The control package is not counted."""
    bad = tool("audit").judge({"dependencies": [GOOD, BAD, KNOWN]})
    assert (bad.asked, bad.vulnerable) == (True, True)
    assert bad.lines[0] == "httpx 0.1: GHSA-x, mended in 0.2, 0.3"
    assert "django" not in "".join(bad.lines)


def test_a_package_that_is_locked_twice_is_asked_about_twice() -> None:
    """Each list has every name once, no pin is left out, and one list without an answer is no good news."""
    audit = tool("audit")
    pins = re.findall(r"^([\w.-]+)==([^ ;\\]+)", audit.LOCK.read_text("utf-8"), re.MULTILINE)
    lists = audit.layers(audit.LOCK.read_text("utf-8"))
    assert sorted(pin for listed in lists for pin in listed) == sorted("==".join(pin) for pin in pins)
    assert all(len({pin.partition("==")[0] for pin in listed}) == len(listed) for listed in lists)
    good, bad = (audit.judge({"dependencies": [found, KNOWN]}) for found in (GOOD, BAD))
    assert audit.together([good, bad]).vulnerable
    assert not audit.together([good, audit.judge({"dependencies": [GOOD]})]).asked


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


def test_workflows_have_no_finding() -> None:
    """Actionlint has nothing to say about CI and release; a workflow that cannot run is named with its line."""
    workflows = tool("workflows")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert [file.name for file in files] == ["ci.yml", "release.yml"]
    try:
        assert workflows.lint(files) == []
    except workflows.Unavailable as error:
        pytest.skip(str(error))


def test_a_broken_workflow_is_found(tmp_path: Path) -> None:
    """A name that does not exist is reported, so silence is good news."""
    workflows = tool("workflows")
    broken = tmp_path / "ci.yml"
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    broken.write_text(text.replace("matrix.python", "matrix.pyton"), "utf-8")
    try:
        found = workflows.lint([broken])
    except workflows.Unavailable as error:
        pytest.skip(str(error))
    assert any("pyton" in line for line in found)


def test_ci_runs_on_every_python_that_is_supported() -> None:
    """CI runs `.ci/run` on each Python of the classifiers."""
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]["ci"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    versions = [name.rpartition(" ")[2] for name in project["classifiers"] if ":: 3." in name]
    assert job["strategy"]["matrix"]["python"] == versions
    assert job["steps"][-1]["run"] == ".ci/run"


def test_a_release_stores_no_token() -> None:
    """PyPI gets the packages by trusted publishing; the only secret is the one that GitHub makes for each run."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["pypi"]["permissions"] == {"id-token": "write"}
    assert jobs["pypi"]["environment"] == "pypi"
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"GITHUB_TOKEN"}


def licensed(name: str, licence: str) -> dict[str, str]:
    return {"Name": name, "Version": "1.0", "License": licence}


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "BSD License",
        "Apache Software License; MIT License",
        "Apache-2.0 OR GPL-3.0-only",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
    ],
)
def test_a_permissive_licence_passes(licence: str) -> None:
    """Each part of a licence is permissive, or one of those that may be chosen."""
    assert tool("release_check").licence_problems([licensed("it", licence)], {}) == []


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND GPL-3.0-only", "UNKNOWN", "", "LGPL-3.0-only"])
def test_another_licence_stops_the_release(licence: str) -> None:
    """The package is named with its licence, unless it is an exception with a reason."""
    problems = tool("release_check").licence_problems
    assert problems([licensed("it", licence)], {}) == [f"it 1.0: licence {licence!r} is not permissive"]
    assert problems([licensed("it", licence)], {"it": "a reason"}) == []


def test_an_exception_does_not_outlive_its_reason() -> None:
    """When a dependency has left, the list of exceptions is shortened too."""
    problems = tool("release_check").licence_problems([licensed("it", "MIT")], {"gone": "a reason"})
    assert problems == ["gone: an exception is listed, but not needed"]
