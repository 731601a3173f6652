"""A command as a person sees it: on a pseudo terminal of a given width."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from typing import NamedTuple

from . import forks
from .processes import Command

__all__ = ["Screen", "on_a_terminal"]


class Screen(NamedTuple):
    """What a person saw, and how the command ended."""

    text: str
    code: int


def on_a_terminal(url: str, *arguments: str, answer: str = "", columns: int = 80) -> Screen:
    """Run a command on a pseudo terminal; `answer` is typed when a question stands there."""
    ours, theirs = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "PASSBELL_DATABASE_URL": url,
        "COLUMNS": str(columns),
        "TERM": "xterm",
        "TZ": "UTC",
    }
    program = ("-m", "passbell")
    process: subprocess.Popen[bytes] | forks.Fork
    if Command.fresh:
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
        )
    else:
        process = forks.fork(program, arguments, environment, [theirs] * 3)
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        seen += part
        if answer and b"[y/N]" in seen:
            os.write(ours, f"{answer}\n".encode())
            answer = ""
    code = process.wait(timeout=60)
    os.close(ours)
    return Screen(seen.decode().replace("\r\n", "\n"), code)
