"""Runs what a page of the documents says, from top to bottom, in one shell, as a reader would.

`passbell` is the real command line. psql, curl, openssl and sleep are small programs of our own (tests/docs/commands),
so that a machine needs none of them; make only looks whether the target is there. SQL blocks go through psql in
between. What stands for the reader's own things, such as `<program>`, is replaced by those of a prepared shop.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from .exchange import Exchange
from .markdown import ROOT
from .processes import OWN_SETTINGS, SANDBOX_CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .markdown import Block

__all__ = ["RUNNABLE", "Reader", "script"]

RUNNABLE = frozenset({"sh", "sql"})
COMMANDS = ROOT / "tests" / "docs" / "commands"
PROGRAMS = {
    "passbell": ["-m", "passbell"],
    **{tool.stem: [str(tool)] for tool in COMMANDS.glob("*.py")},
}
SECONDS = 100
URL = re.compile(r"postgresql://[^\s'\"]+")
PLACEHOLDER = re.compile(r"<[a-z][a-z _]*>")
HEREDOC = re.compile(r"<<'(\w+)'")


def filled(block: Block, values: Mapping[str, str]) -> str:
    """The text of a block with the reader's own things in it. An unknown placeholder is an error."""
    text = URL.sub(values["database url"], block.text)
    text = text.replace("https://api.pub1.passkit.io", values.get("passkit", ""))
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
    # A number of the page that would be taken on a busy machine.
    for port in ("8090", "8080"):
        text = re.sub(rf"(?<=[ :]){port}\b", values[port], text)
    unknown = PLACEHOLDER.findall(text)
    assert not unknown, f"{block}: unknown placeholder {unknown}"
    return text


def script(blocks: Iterable[Block], values: Mapping[str, str]) -> str:
    """One shell script of all blocks that are run."""
    lines = ["set -eE", "at() { here=$1; }", "trap 'echo \"FAILED at $here: $BASH_COMMAND\" >&2' ERR"]
    for block in blocks:
        if block.static is None and block.language in RUNNABLE:
            text = filled(block, values)
            lines.append(f"at {block}")
            if block.language == "sql":
                text = f"psql \"$PASSBELL_DATABASE_URL\" <<'END_OF_SQL'\n{text}\nEND_OF_SQL"
            if block.code:
                text = f"set +e +E\n{text}\n[ $? = {block.code} ] || exit 99\nset -eE"
            lines.append(text)
    return "\n".join(lines) + "\n"


class Reader:
    """A person at a shell, in a folder that looks like a checkout."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self._tools = folder / ".tools"
        self._tools.mkdir()
        for name in ("sql", "systemd", "docs", "tests"):
            (folder / name).symlink_to(ROOT / name)
        self._environment = {
            name: value for name, value in os.environ.items() if not OWN_SETTINGS.match(name)
        }
        self._environment |= {
            "PATH": f"{self._tools}:{os.environ['PATH']}",
            "PASSBELL_LOG_FORMAT": "json",
            "PASSBELL_METRICS_PORT": "0",
            **SANDBOX_CREDENTIALS,
            **settings,
        }

    def run(self, text: str) -> str:
        """Run a script; what it said, on both streams. A failed command fails the test, with its place."""
        file = self.folder / "page.sh"
        file.write_text(text, "utf-8")
        said = self.folder / "said"
        with Exchange() as exchange, said.open("wb") as output:
            for name, call in PROGRAMS.items():
                program = self._tools / name
                program.write_text(exchange.shim(*call), "utf-8")
                program.chmod(0o755)
            shell = subprocess.Popen(
                [shutil.which("bash") or "/bin/bash", str(file)],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = shell.wait(SECONDS)
            except subprocess.TimeoutExpired:
                code = -1
            finally:
                with suppress(ProcessLookupError):  # what it left in the background
                    os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
        words = said.read_text("utf-8", "replace")
        assert code == 0, f"ended with {code}:\n{words[-6_000:]}"
        return words
