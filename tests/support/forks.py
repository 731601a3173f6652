"""Starting passbell without loading it anew: as a fork of a process that has its modules already.

Python takes half a second of processor time to load the daemon's modules and a second to load the page's, and the tests
start hundreds of both. So each worker keeps one process, the hearth, that loads the modules of a command when it is
started first. Every start is a fork of the hearth: a process with an id, a session, an environment, files and an end of
its own, which then runs the program as `python` would, `__main__` and the interpreter's own end included.

What only a start from nothing shows is started so: `Command.fresh`, and everything in the long forms.
As a script this file is the inside of the hearth.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Fork", "fork", "why_not"]

AT_START: Final = re.compile(r"^(PYTHON|LC_|LANG|LD_|MALLOC_)")
"""Variables that an interpreter or the C library reads when it starts, and never again."""
LOADED: Final = {
    # First: the command loads the logger without the pictures that it draws where `rich` is installed.
    "run": ("passbell.cli.run", "passbell.delivery.daemon", "uvloop"),
    "web": ("passbell.cli.run", "passbell.web.app", "passbell.web.serve"),
    "sandbox": ("passbell.devkit.sandbox.command", "passbell.devkit.sandbox"),
    "demo": ("passbell.devkit.demo.show",),
    "curl": ("httpx",),
}
"""What a command or a script loads before it is ready, beside what it needs to be called."""


def why_not(settings: Mapping[str, str]) -> str:
    """Say why a process with these further variables has to start from nothing; empty if it may be a fork."""
    if sys.platform != "linux":
        return "only Linux is known to fork well"
    named = [name for name in settings if AT_START.match(name)]
    return f"{named[0]} is read at the start" if named else ""


class Fork:
    """A process that was forked: what `subprocess.Popen` offers of one without pipes."""

    def __init__(self, hearth: Hearth, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(args)
        self._hearth = hearth

    @property
    def returncode(self) -> int | None:
        """How it ended (a signal's number is negative), as far as it was asked."""
        return self._hearth.ended.get(self.pid)

    def poll(self) -> int | None:
        """Ask whether it has ended, and how."""
        if self.returncode is None:
            self._hearth.listen(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        ends = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and timeout is not None and left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout)
            # Another thread may hear of the end first: ask again now and then.
            self._hearth.listen(min(0.1, left) if left is not None else 0.1)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def fork(
    program: Sequence[str],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    files: Sequence[int],
    folder: str | None = None,
) -> Fork:
    """Start `python PROGRAM ARGUMENT…` with an environment, and files as standard output and standard error.

    A third file is its standard input, which is empty otherwise.
    """
    return _hearth().start(program, arguments, environment, files, folder or str(Path.cwd()))


@functools.cache
def _hearth() -> Hearth:
    hearth = Hearth()
    atexit.register(hearth.close)
    return hearth


class Hearth:
    """The process that is forked, seen from outside: one message with two files a start, one message an end."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self._started: list[int] = []
        self._lock = threading.RLock()
        self._heard = b""
        self._wire, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=theirs,
                stdout=subprocess.DEVNULL,  # a file, as for the program: Python then writes in blocks
                start_new_session=True,  # Ctrl-C is for the tests
            )

    def start(
        self,
        program: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        files: Sequence[int],
        folder: str,
    ) -> Fork:
        """Fork it and return when it has an id."""
        request = Request(list(program), list(arguments), dict(environment), folder)
        body = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._wire, [len(body).to_bytes(4, "big")], files)
            self._wire.sendall(body)
            while not self._started:
                self.listen(None)
            pid = self._started.pop()
        return Fork(self, pid, [*program, *arguments])

    def listen(self, seconds: float | None) -> None:
        """Hear what is said within so many seconds."""
        select.select([self._wire], [], [], seconds)
        with self._lock:
            if not select.select([self._wire], [], [], 0)[0]:
                return  # another thread heard it
            said = self._wire.recv(65_536)
            if not said:
                raise RuntimeError("the process that is forked has ended")
            *lines, self._heard = (self._heard + said).split(b"\n")
            for line in lines:
                pid, code = json.loads(line)
                if code is None:
                    # An id is used again some day. In this order: the new one's end may be among the lines.
                    self.ended.pop(pid, None)
                    self._started.append(pid)
                else:
                    self.ended[pid] = code

    def close(self) -> None:
        """End it; what was forked and still runs is killed."""
        self._wire.close()
        self._process.wait(30)


# ── inside ──────────────────────────────────────────────────────────


class Request(NamedTuple):
    """What is to be started."""

    program: list[str]
    arguments: list[str]
    environment: dict[str, str]
    folder: str


def tend(wire: socket.socket) -> Request:
    """Fork for each request and tell each end; returns in a fork, with what it is to do."""
    ends, end = os.pipe()
    for descriptor in (ends, end):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    alive: set[int] = set()
    while True:
        readable = select.select([wire, ends], [], [])[0]
        if ends in readable:
            os.read(ends, 4_096)
            for pid, code in list(ended(alive)):
                alive.discard(pid)
                tell(wire, pid, code)
        if wire in readable:
            request, files = receive(wire)
            if request is None:
                for pid in alive:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                os._exit(0)
            load(request)
            gc.collect()
            gc.freeze()  # what is shared is not written to by a fork's collector
            pid = os.fork()
            if not pid:
                os.setsid()
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                become(request, files)
                os.close(ends)
                os.close(end)
                return request
            alive.add(pid)
            for file in files:
                os.close(file)
            tell(wire, pid, None)


def ended(alive: set[int]) -> Any:
    """Each process that has ended since, and how."""
    for pid in list(alive):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            yield pid, os.waitstatus_to_exitcode(status)


def tell(wire: socket.socket, pid: int, code: int | None) -> None:
    """Say that a process has begun (no code) or ended."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then there is no more request either
        wire.sendall(json.dumps([pid, code]).encode() + b"\n")


def receive(wire: socket.socket) -> tuple[Request | None, list[int]]:
    """Take the next request; none if the other end is closed."""
    head, files, _, _ = socket.recv_fds(wire, 4, 3)
    if not head:
        return None, []
    body = b""
    while len(body) < int.from_bytes(head, "big"):
        more = wire.recv(65_536)
        if not more:  # the tests ended in the middle of a request
            return None, []
        body += more
    return Request(*json.loads(body)), files


def load(request: Request) -> None:
    """Import what the command will need; what cannot be imported is left to the fork, which says so."""
    from passbell.cli import COMMANDS  # noqa: PLC0415 - the tests themselves have no use for it

    command = next(iter(request.arguments), "")
    names = [COMMANDS[command][0].partition(":")[0]] if command in COMMANDS else []
    script = LOADED.get(Path(request.program[0]).stem, ())
    for name in dict.fromkeys((LOADED["run"][0], *names, *LOADED.get(command, ()), *script)):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert threading.active_count() == 1, (
        "a module starts a thread when it is imported, and forks have none of it"
    )


def become(request: Request, files: Sequence[int]) -> None:
    """Take the files, the environment and the folder."""
    given = files[2] if len(files) > 2 else os.open(os.devnull, os.O_RDWR)
    for descriptor, standard in ((given, 0), (files[0], 1), (files[1], 2)):
        os.dup2(descriptor, standard)
    for descriptor in {given, *files}:
        os.close(descriptor)
    if len(files) > 2:  # a shell or a terminal: may be anything, and the streams know files only
        sys.stdout = sys.__stdout__ = stream(1, sys.stdout.errors)  # type: ignore[misc,assignment]
        sys.stderr = sys.__stderr__ = stream(2, sys.stderr.errors, always=True)  # type: ignore[misc,assignment]
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.folder)


def stream(descriptor: int, errors: str | None, *, always: bool = False) -> TextIO:
    """Open a standard stream as Python does: by lines on a terminal."""
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
        sys.stdout.encoding,
        errors,
        line_buffering=always or os.isatty(descriptor),
    )


def leave(request: Request) -> NoReturn:
    """Run it and end as Python does, but leave the memory to the system.

    Taking apart the modules that are shared with the hearth would copy all of it first: 30 ms for each process.
    """
    code: object = None
    try:
        run(request)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        raise  # ends by the signal, as Python itself sees to
    except BaseException:  # noqa: BLE001 - as Python itself does
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201 - `sys.exit("words")`
        code = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(int(code or 0) & 0xFF)


def run(request: Request) -> None:
    """Do as `python PROGRAM ARGUMENT…` does."""
    first, *rest = request.program
    if first == "-m":
        sys.path[0] = request.folder
        sys.argv = [rest[0], *request.arguments]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(first)  # noqa: PTH120 - as Python writes it
        sys.argv = [first, *rest, *request.arguments]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)  # helpers of the tests are no modules of the program
    sys.path.insert(0, "")
    with socket.socket(fileno=os.dup(0)) as control:
        job = tend(control)
    leave(job)
