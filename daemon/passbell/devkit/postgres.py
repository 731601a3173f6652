"""A private PostgreSQL server that lives exactly as long as its caller.

The demo and the tests must work on a bare machine, as root and as an ordinary user, and leave nothing behind.
So the server is a child of ours, listens on 127.0.0.1 alone with a random password, and hangs on a *leash*: a
small shell process whose standard input is a pipe from us. When we close the pipe, or die in any way (kill -9
included), the shell reads end-of-file and stops the server. A second one, the *guard*, removes a temporary directory
in the same way. No signal handler and no `atexit` could promise that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

import psycopg

from passbell.devkit.binaries import (
    Account,
    PostgresUnavailableError,
    copied_binaries,
    find_binaries,
    may_run,
    postgres_version,
    server_account,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["EmbeddedPostgres", "PostgresUnavailableError"]

SUPERUSER: Final = "postgres"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
PORT_ATTEMPTS: Final = 5
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
MEMORY_NEEDED: Final = 4 * 2**30  # bytes; containers often have 64 MB there

# The arguments are the server's command. SIGINT is PostgreSQL's "fast" stop: roll back, end connections, checkpoint.
# At the end of a session or a container all processes get a signal. The shell ignores it, because it has to stop the
# server when the pipe is closed: to the server a hang-up means "read the configuration again".
LEASH: Final = r"""
trap '' HUP INT TERM
exec 3<&0
"$@" 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -INT "$server" 2>/dev/null; } &
leash=$!
exec 3<&-
wait "$server"; code=$?
kill -KILL "$leash" 2>/dev/null
exit "$code"
"""

# Removes the temporary directory $1 once the pipe is closed and the server has gone; waits at most $2 seconds for that.
# It is started before the directory is filled, because initdb or a copy of the programs may be cut off, and goes on
# writing for a moment. After a server that ended by itself the directory stays: to read the log, to start it again.
GUARD: Final = r"""
trap '' HUP INT TERM
cat >/dev/null
turns=$(($2 * 10))
while [ -e "$1/data/postmaster.pid" ] && [ "$turns" -gt 0 ]; do sleep 0.1; turns=$((turns - 1)); done
turns=100
until rm -rf -- "$1" 2>/dev/null && [ ! -e "$1" ]; do
  [ "$turns" -gt 0 ] || exit 1
  sleep 0.1; turns=$((turns - 1))
done
"""

DURABLE_SETTINGS: Final = {"fsync": "on", "synchronous_commit": "on", "max_wal_size": "4GB"}
# For data that need not survive a power cut: tests.
FLEETING_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "30min",
}


class EmbeddedPostgres:
    """Context manager around one private server.

    Args:
        directory: where the cluster is kept between runs; None takes a temporary one, removed at the end.
        durable: whether a commit survives a power cut (fsync); off only for tests.
        bin_directory: which installation to use; by default the wheel's newest, else Debian's newest.
        settings: further server settings, such as `{"max_connections": "50"}`.

    Raises:
        PostgresUnavailableError: no server can be started; says why in one plain sentence.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        durable: bool = True,
        bin_directory: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._kept_directory = directory
        self._durable = durable
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
            **(DURABLE_SETTINGS if durable else FLEETING_SETTINGS),
            **(settings or {}),
        }
        self._binaries = find_binaries(bin_directory)
        self._account: Account | None = None
        self._leash: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._password = ""
        self.directory = Path()
        self.port = 0

    @property
    def version(self) -> str:
        """The server's version, for example `18.4`; known before it starts."""
        return postgres_version(self._binaries)

    @property
    def log_path(self) -> Path:
        """The file the server writes its log to."""
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """Process id of the running server (the postmaster), to stop it or to take it away in a test."""
        return int((self.directory / "data" / "postmaster.pid").read_text().split("\n", 1)[0])

    def url(self, database: str = "postgres") -> str:
        """Return the libpq URL of one database, password included."""
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Create the cluster if need be, start the server, and return when it accepts connections."""
        self._account = server_account()
        self._prepare_directory()
        try:
            if not may_run(self._binaries, self._account):
                self._binaries = copied_binaries(self._binaries, self.directory)
                self._give_away(self.directory / "programs")
            self._create_cluster()
            self._run()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, wait until it is gone, and remove a temporary directory. May be called twice."""
        leash, self._leash = self._leash, None
        if leash is not None:
            if leash.stdin is not None:
                leash.stdin.close()
            try:
                leash.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError, ValueError):
                    os.kill(self.pid, signal.SIGQUIT)
                leash.wait(STOP_SECONDS)
        if self._kept_directory is None and self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)
        guard, self._guard = self._guard, None
        if guard is not None:
            if guard.stdin is not None:
                guard.stdin.close()
            guard.wait(STOP_SECONDS)

    def _run(self) -> None:
        # Another process may take the port between our look and the server's bind.
        for _ in range(PORT_ATTEMPTS):
            self.port = _free_port()
            self._leash = leash = self._launch()
            if self._wait_until_ready(leash):
                return
            if "Address already in use" not in self._log_tail():
                break
        raise PostgresUnavailableError(f"PostgreSQL did not start: {self._log_tail()}")

    def _prepare_directory(self) -> None:
        if self._kept_directory is not None:
            self.directory = self._kept_directory.absolute()
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._hand_over():
                return
        else:
            # A copy of the programs may have to live here too, and /dev/shm is often mounted noexec.
            in_memory = not self._durable and may_run(self._binaries, self._account)
            # Root's TMPDIR may be closed to the server's account; /tmp is open to all.
            for parent in (_memory_folder() if in_memory else None, "/tmp"):  # noqa: S108
                self.directory = Path(tempfile.mkdtemp(prefix="passbell-postgres-", dir=parent))
                if self._hand_over():
                    self._guard = self._watch_over(self.directory)
                    return
                self.directory.rmdir()
        raise PostgresUnavailableError(
            f"PostgreSQL refuses root and runs as {self._account and self._account.name}, who cannot enter"
            f" {self.directory}: choose a directory outside of root's home, or run as a user."
        )

    def _hand_over(self) -> bool:
        """Give the directory to the server's account; false if the account cannot enter it."""
        if self._account is None:
            return True
        os.chown(self.directory, self._account.uid, self._account.gid)
        return self._as_server("/bin/sh", "-c", 'cd "$0"', str(self.directory), cwd=Path("/")).returncode == 0

    def _give_away(self, folder: Path) -> None:
        """Let the server's account own a folder and all in it: a umask may have closed it to all but its owner."""
        if self._account is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _watch_over(self, directory: Path) -> subprocess.Popen[bytes]:
        """Let a process with our own rights remove the directory when we are gone."""
        return subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", GUARD, "passbell-postgres-guard", str(directory), f"{STOP_SECONDS:.0f}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _create_cluster(self) -> None:
        password_file = self.directory / "password"
        if (self.directory / "data" / "PG_VERSION").exists():
            self._password = password_file.read_text()
            return
        # Loopback is open to every user of the machine, and a superuser of PostgreSQL may run programs.
        self._password = secrets.token_hex(16)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._account is not None:
            os.chown(password_file, self._account.uid, self._account.gid)
        command = [
            str(self._binaries / "initdb"),
            f"--pgdata={self.directory / 'data'}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        done = self._as_server(*command, *([] if self._durable else ["--no-sync"]))
        if done.returncode != 0:
            raise PostgresUnavailableError(
                f"PostgreSQL could not create its data directory: {done.stderr.strip()}"
            )

    def _launch(self) -> subprocess.Popen[bytes]:
        flags = [
            f"--{name.replace('_', '-')}={value}"
            for name, value in (self._settings | {"port": str(self.port)}).items()
        ]
        command = [str(self._binaries / "postgres"), "-D", str(self.directory / "data"), *flags]
        with self._open_log() as log:
            # A session of its own: Ctrl-C in the terminal is for us, and the server goes when we say so.
            return subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", LEASH, "passbell-postgres", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
            )

    def _wait_until_ready(self, leash: subprocess.Popen[bytes]) -> bool:
        """Return True when the server answers, False when it ended instead; raise when it does neither."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if leash.poll() is not None:
                return False
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        raise PostgresUnavailableError(
            f"PostgreSQL was not ready within {START_SECONDS:.0f} s: {self._log_tail()}"
        )

    def _as_server(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            command,
            cwd=cwd or self.directory,
            check=False,
            capture_output=True,
            text=True,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )

    def _open_log(self) -> IO[bytes]:
        log = self.log_path.open("ab")
        if self._account is not None:
            os.chown(self.log_path, self._account.uid, self._account.gid)
        return log

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return " | ".join(self.log_path.read_text(errors="replace").splitlines()[-5:])
        return "it left no log"


def _memory_folder() -> Path | None:
    """Return a folder in memory with room for a test's data, if the system has one.

    Measured beside other work on one disk: copying an 8 MB database took 0.07 s here and 0.5 s there.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED:
        return MEMORY
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
