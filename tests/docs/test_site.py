"""docs/ as a site: it builds, and a link that leads nowhere is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_site_has_every_page(tmp_path: Path) -> None:
    """Each page of docs/ is a page of the site, and a link to a file beside docs/ leads to no missing page."""
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        built = tmp_path / (name.with_name("index.html") if page.name == "README.md" else name)
        assert built.exists(), name
        assert 'href="../systemd' not in built.read_text("utf-8")


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    """A page or a heading that does not exist is named."""
    for name in ("docs", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    page = tmp_path / "docs" / "runbook.md"
    page.write_text(page.read_text("utf-8") + "\n[gone](gone.md) [astray](settings.md#astray)\n", "utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "gone.md" in done.stderr
    assert "astray" in done.stderr
