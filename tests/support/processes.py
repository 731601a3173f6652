"""Starting this project's own commands as processes of their own, and taking them away again.

Everything is ended by process id. A process that is still there at the end of its `with` block is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import psycopg

from . import forks
from .wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["SANDBOX_CREDENTIALS", "Command", "Daemon", "Sandbox"]

READY_SECONDS: Final = 30.0
# What `passbell sandbox` accepts by default.
SANDBOX_CREDENTIALS: Final = {
    "PASSBELL_PASSKIT_API_KEY": "sandbox-key",
    "PASSBELL_PASSKIT_API_SECRET": "sandbox-secret",
}
# A developer's own settings must not leak into a test.
OWN_SETTINGS = re.compile(
    r"^(PASSBELL_(?!TEST_)|PASSKIT_|DATABASE_URL$|SUPABASE_DB_URL$|CREDENTIALS_DIRECTORY$)"
)


class Command:
    """`python -m passbell ARGUMENTS…` as a child process with a clean environment plus `settings`.

    Use it as a context manager. Standard output and standard error go to files, read with `output` and `log`.
    """

    program: ClassVar[tuple[str, ...]] = ("-m", "passbell")
    """What Python is asked to run."""
    fresh: bool = os.environ.get("PASSBELL_LONG") == "1"
    """Whether a Python is started for it; else it is a fork of one that has passbell loaded (see `forks`)."""

    def __init__(self, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        self.arguments = arguments
        self.settings = dict(settings or {})
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | forks.Fork | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._show_log()
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._show_log()
        self.close()

    def start(self) -> None:
        """Start the process; a second time after it ended starts it again, with its logs appended."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="passbell-process-")
        folder = Path(self._folder.name)
        environment = {name: value for name, value in os.environ.items() if not OWN_SETTINGS.match(name)}
        with (folder / "output").open("ab") as output, (folder / "log").open("ab") as log:
            environment |= self.settings
            if self.fresh or forks.why_not(self.settings):
                self._process = subprocess.Popen(
                    [sys.executable, *self.program, *self.arguments],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    start_new_session=True,
                )
            else:
                files = (output.fileno(), log.fileno())
                self._process = forks.fork(self.program, self.arguments, environment, files)

    def close(self) -> None:
        """Kill the process if it still runs and remove its logs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def process(self) -> subprocess.Popen[bytes] | forks.Fork:
        """The child process itself."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """Everything written to standard output so far."""
        return self._read("output")

    @property
    def log(self) -> str:
        """Everything written to standard error so far."""
        return self._read("log")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the JSON log lines so far (either stream), or only those whose event is `name`."""
        found = []
        for line in (self.output + "\n" + self.log).splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and (name is None or event.get("event") == name):
                    found.append(event)
        return found

    def signal(self, number: int) -> None:
        """Send a signal: SIGTERM for a graceful stop, SIGSTOP and SIGCONT to freeze and thaw."""
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Stop the process without its noticing, as a suspended virtual machine would."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.signal(signal.SIGCONT)

    def terminate(self, deadline: float = READY_SECONDS) -> int:
        """Ask for a graceful stop and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def kill(self) -> int:
        """End it at once (kill -9), with all that it started, and return the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self, deadline: float = READY_SECONDS) -> int:
        """Wait until it ends by itself and return the exit code."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"passbell {' '.join(self.arguments)} did not end within {deadline:g} s"
            ) from None

    def _read(self, name: str) -> str:
        if self._folder is None:
            return ""
        return (Path(self._folder.name) / name).read_text(encoding="utf-8", errors="replace")

    def _show_log(self) -> None:
        # pytest shows this beside the failure.
        print(f"--- log of passbell {' '.join(self.arguments)} ---\n{self.log[-8_000:]}")  # noqa: T201

    def _check_alive(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise AssertionError(
                f"passbell {' '.join(self.arguments)} ended with {code} before it was ready:\n"
                f"{self.log[-4_000:]}"
            )


class Sandbox(Command):
    """`passbell sandbox` on a port of the system's choice; ready when the block is entered."""

    def __init__(self, *options: str, settings: Mapping[str, str] | None = None) -> None:
        super().__init__("sandbox", "--port", "0", *options, settings=settings)
        self.url = ""

    def start(self) -> None:
        """Start it and learn its address, `url`."""
        super().start()
        self.url = wait_until(self._announced, "the sandbox says where it listens", READY_SECONDS)

    def _announced(self) -> str:
        self._check_alive()
        lines = re.findall(r"sandbox listening on (http://\S+)", self.output)
        return lines[-1] if lines else ""


class Daemon(Command):
    """`passbell run` against a database and a sandbox; ready when the block is entered.

    `settings` are environment variables without prefix: `Daemon(url, sandbox.url, RATE_PER_SECOND=500)`.
    Metrics are off unless METRICS_PORT is given. Ready means: its row in passbell.workers is there.
    """

    def __init__(self, database_url: str, passkit_url: str, **settings: object) -> None:
        named = {f"PASSBELL_{name}": _text(value) for name, value in settings.items()}
        super().__init__(
            "run",
            settings={
                "PASSBELL_DATABASE_URL": database_url,
                "PASSBELL_PASSKIT_URL": passkit_url,
                "PASSBELL_METRICS_PORT": "0",
                "PASSBELL_LOG_FORMAT": "json",
                **SANDBOX_CREDENTIALS,
                **named,
            },
        )
        self._database_url = database_url

    def start(self, *, wait: bool = True) -> None:
        """Start it; `wait=False` returns before it is ready, for a daemon that is expected to refuse."""
        super().start()
        if wait:
            self.wait_ready()

    def wait_ready(self, deadline: float = READY_SECONDS) -> None:
        """Wait until the daemon has said in the database that it is there."""
        with contextlib.ExitStack() as stack:
            # A look costs a tenth of the connection for it, which is therefore kept.
            looker: psycopg.Connection[Any] | None = None

            def registered() -> bool:
                nonlocal looker
                self._check_alive()
                try:
                    if looker is None or looker.closed:
                        looker = psycopg.connect(self._database_url, autocommit=True, prepare_threshold=None)
                        stack.callback(looker.close)
                    found = looker.execute("select from passbell.workers where pid = %s", [self.pid])
                except psycopg.OperationalError:
                    looker = None
                    return False  # the database may be the very thing that a test has taken away
                return found.fetchone() is not None

            wait_until(registered, "the daemon is ready", deadline)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
