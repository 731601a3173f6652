"""systemd/README.md and docs/howto/upgrade.md, followed word for word in a folder that stands for the machine's root.

sudo, sudoedit, systemctl and journalctl are small programs of ours; `/opt` and `/etc` lie in the folder. What pip loads
besides passbell is there already.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from passbell.database.migrate import BUILD_SECONDS, INDEXES, LARGE_BYTES, PATIENCE_SECONDS
from support.markdown import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeDatabase

SITE: Final = sysconfig.get_path("purelib")
PROGRAMS: Final = {
    "sudo": 'exec "$@"',
    # As a person's editor would, with what the test has put into `secrets`.
    "sudoedit": 'cp "$GUIDE/secrets/$(basename "$1")" "$1.new" && cat "$1.new" >"$1" && rm "$1.new"',
    "systemctl": 'echo "$@" >>"$GUIDE/systemctl"; test "$1" != status || echo active',
    "journalctl": "echo '{}'",
    # An environment that sees what is installed here, pip as well: pip loads nothing, and is not installed anew.
    "python3": f"""{sys.executable} "$@" --without-pip || exit
test "$1 $2" = "-m venv" || exit
echo {SITE} >"$(echo "$3"/lib/python*/site-packages)/here.pth"
printf '#!/bin/sh\\nexec "%s/bin/python" -m pip "$@"\\n' "$3" >"$3/bin/pip"
chmod +x "$3/bin/pip\"""",
}


class Guide:
    """The machine's root, and a shell in a copy of the checkout."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.checkout = root / "checkout"
        for folder in ("opt", "etc/systemd/system", "programs", "secrets"):
            (root / folder).mkdir(parents=True)
        for name, text in PROGRAMS.items():
            program = root / "programs" / name
            program.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
            program.chmod(0o755)
        for name in ("database_url", "web_database_url"):
            (root / "secrets" / name).write_text(url + "\n", "utf-8")
        for name in ("passkit_api_key", "passkit_api_secret", "api_keys"):
            (root / "secrets" / name).write_text("tester:a-secret-of-the-test-only\n", "utf-8")
        for name in ("daemon", "sql", "systemd", "pyproject.toml", "README.md", "LICENSE"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, self.checkout / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
                )
            else:
                shutil.copy(source, self.checkout / name)

    def follow(self, document: str, wanted: str = "") -> str:
        """Paste every shell block of a page that names `wanted`, one after the other, into one shell."""
        lines = [
            block.text for block in blocks(ROOT / document) if block.language == "sh" and wanted in block.text
        ]
        assert lines
        text = "\n".join(lines)
        for folder in ("/opt/", "/etc/"):
            text = text.replace(folder, f"{self.root}{folder}")
        environment = {
            "PATH": f"{self.root / 'programs'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.root),
            "GUIDE": str(self.root),
            # What stands for the index: nothing is loaded.
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            # Not compiled (0 says so): what is started compiles what it loads.
            "PIP_NO_COMPILE": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        done = subprocess.run(
            # As a terminal does: the shell reads what was pasted from the same input as the programs it starts.
            ["bash", "-e"],
            cwd=self.checkout,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
        return text

    def asked(self) -> list[str]:
        """What systemctl was asked for."""
        return (self.root / "systemctl").read_text("utf-8").splitlines()

    def passbell(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The installed command."""
        program = self.root / "opt/passbell/bin/passbell"
        environment = {"PASSBELL_DATABASE_URL_FILE": str(self.root / "etc/passbell/database_url")}
        return subprocess.run(
            [program, *arguments],
            env=environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def guide(tmp_path: Path, database: MakeDatabase) -> Guide:
    return Guide(tmp_path, database("2", migrated=False))


@pytest.mark.timeout(
    600
)  # two environments are made and two wheels built, which a busy machine does in minutes
def test_d6_installing_and_upgrading_as_it_is_written(guide: Guide) -> None:
    """The pasted lines leave a migrated database, secrets for root alone, and the units; an upgrade takes hold."""
    text = guide.follow("systemd/README.md")

    assert "[web]'" in text
    assert guide.passbell("migrate", "--check").returncode == 0
    for name in ("database_url", "passkit_api_key", "passkit_api_secret", "web_database_url", "api_keys"):
        file = guide.root / "etc/passbell" / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text("utf-8").splitlines()) == 1, name
    units = {file.name for file in (guide.root / "etc/systemd/system").iterdir()}
    assert units == {file.name for file in (ROOT / "systemd").glob("*.service")}
    assert "enable --now passbell" in guide.asked()

    module = guide.checkout / "daemon/passbell/__init__.py"
    module.write_text(
        module.read_text("utf-8").replace('__version__ = "', '__version__ = "9.', 1), encoding="utf-8"
    )
    with psycopg.connect(guide.url, autocommit=True) as connection:
        connection.execute("drop function passbell.thousands(numeric) cascade")
    guide.follow("docs/howto/upgrade.md", "systemctl")

    assert guide.passbell("--version").stdout.split()[-1].startswith("9.")
    assert guide.passbell("migrate", "--check").returncode == 0
    asked = guide.asked()
    assert asked.index("stop passbell passbell-web") < asked.index("start passbell passbell-web")


def test_what_the_upgrade_guide_says_of_migrate() -> None:
    """The minute, the 32 MB, the half hour and the indexes of upgrade.md are those of the program."""
    text = (ROOT / "docs/howto/upgrade.md").read_text("utf-8")
    assert PATIENCE_SECONDS == 60
    assert "tries for a minute to get its locks" in text
    assert f"({LARGE_BYTES // 2**20} MB and more)" in text
    assert BUILD_SECONDS == 1800
    assert "for half an hour at most" in text
    written = {
        name
        for block in blocks(ROOT / "docs/howto/upgrade.md")
        for name in re.findall(r"create index concurrently if not exists (\w+)", block.text)
    }
    assert written == {index[0] for index in INDEXES}
