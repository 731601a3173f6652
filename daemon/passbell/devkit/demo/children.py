"""This program's own commands as child processes that cannot outlive us.

A child hangs on a leash like the database's (see `postgres`): a small shell whose standard input is a pipe
from us. If we die in any way, the shell reads end-of-file and kills the child. No signal handler could
promise that.

They are processes and not threads, because drawing on the screen must not hold up the sandbox, and because the
daemon is killed in the middle.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from passbell.errors import PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Child", "ChildFailed"]

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
PAUSE: Final = 0.02
LOG_TAIL: Final = 600  # characters

# $1 is the file for the child's process id, the rest is its command.
LEASH: Final = r"""
pid_file=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
echo "$child" >"$pid_file"
{ cat <&3 >/dev/null; kill -KILL "$child" 2>/dev/null; } &
leash=$!
exec 3<&-
wait "$child"; code=$?
kill "$leash" 2>/dev/null
exit "$code"
"""

# Settings in the environment belong to the user's own daemon. The demo's processes do not get them.
_OWN_SETTINGS: Final = re.compile(
    r"^(PASSBELL_|PASSKIT_|DATABASE_URL$|SUPABASE_DB_URL$|CREDENTIALS_DIRECTORY$|NOTIFY_SOCKET$|WATCHDOG_|PG[A-Z])"
    r"|_proxy$",
    re.IGNORECASE,
)


class ChildFailed(PassbellError):
    """A process of the demo did not start, or ended when it should not have; says what it wrote last."""


class Child:
    """`passbell NAME …` with a clean environment plus `settings`; its output goes to files in `folder`."""

    def __init__(self, folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        self._name = arguments[0]
        self._arguments = arguments
        self._output = folder / f"{self._name}.output"
        self._log = folder / f"{self._name}.log"
        self._pid_file = folder / f"{self._name}.pid"
        self._settings = dict(settings or {})
        self._leash: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def start(self) -> None:
        """Start it, also again after it has ended, and learn its process id."""
        self._pid_file.unlink(missing_ok=True)
        clean = {name: value for name, value in os.environ.items() if not _OWN_SETTINGS.search(name)}
        command = [sys.executable, "-m", "passbell", *self._arguments]
        with self._output.open("ab") as output, self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for us, and children go when we say so.
            self._leash = subprocess.Popen(  # noqa: S603 - our own program
                ["/bin/sh", "-c", LEASH, "passbell-demo", str(self._pid_file), *command],
                env=clean | self._settings,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
        self.pid = int(self.wait_for(self._read_pid, "its process id"))

    def wait_for(self, find: Callable[[], str | None], what: str) -> str:
        """Wait until `find` returns something, and return it.

        Raises:
            ChildFailed: the process has ended, or it takes longer than a minute.
        """
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            found = find()
            if found:
                return found
            self.check()
            time.sleep(PAUSE)
        raise ChildFailed(
            f"passbell {self._name} was not ready within {READY_SECONDS:g} s ({what} is missing)."
        )

    def check(self) -> None:
        """Raise ChildFailed if it does not run."""
        if self._leash is None or self._leash.poll() is not None:
            raise ChildFailed(f"passbell {self._name} ended when it should not have: {self._tail()}")

    @property
    def output(self) -> str:
        """What it has written to standard output so far."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def kill(self) -> None:
        """End it at once (kill -9) and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to stop, wait until it has, kill it if it does not. May be called twice."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        leash, self._leash = self._leash, None
        if leash is None:
            return
        try:
            if leash.poll() is None:
                self._signal(number)
            leash.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        finally:
            # End-of-file: whatever is still there now is killed by the leash.
            if leash.stdin is not None:
                leash.stdin.close()
            leash.wait(STOP_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(self.pid or int(self._read_pid() or ""), number)

    def _read_pid(self) -> str | None:
        with contextlib.suppress(OSError):
            text = self._pid_file.read_text()
            return text.strip() if text.endswith("\n") else None
        return None

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(errors="replace").strip()[-LOG_TAIL:] or "it left no log"
        return "it left no log"
