"""Programs that a shell calls, as forks of a process that has loaded passbell (see `forks`).

    with Exchange() as exchange:
        line = exchange.shim("-m", "passbell")      what a script in the shell's PATH says

The script starts this file with a Python that loads next to nothing. It hands its arguments, environment, folder and
three files to the exchange, waits for the end of the fork, passes signals on to it, and ends as it does.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys
import threading
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from support.forks import Fork

__all__ = ["Exchange"]


class Exchange:
    """Takes the calls. What still runs at the end of the block is killed."""

    def __init__(self) -> None:
        self._wire = socket.socket(socket.AF_UNIX)
        self._wire.bind("")  # Linux chooses a name that needs no file
        self._wire.listen(64)
        self._forks: list[Fork] = []
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for one in self._forks:
            with suppress(ProcessLookupError):
                if one.poll() is None:
                    os.killpg(one.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join()
        self._wire.close()

    def shim(self, *program: str) -> str:
        """Return the shell script that calls `python PROGRAM ARGUMENT…`."""
        from support.processes import Command  # noqa: PLC0415 - the caller's side does without

        if Command.fresh:
            return f'#!/bin/sh\nexec "{sys.executable}" {" ".join(program)} "$@"\n'
        name = self._wire.getsockname()[1:].decode()
        return f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" {name} {" ".join(program)} -- "$@"\n'

    def _listen(self) -> None:
        while True:
            try:
                call, _ = self._wire.accept()
            except OSError:  # the end of the block
                return
            thread = threading.Thread(target=self._answer, args=[call])
            self._threads.append(thread)
            thread.start()

    def _answer(self, call: socket.socket) -> None:
        from support import forks  # noqa: PLC0415 - the caller's side does without

        with call, suppress(ConnectionError):
            head, files, _, _ = socket.recv_fds(call, 4, 3)
            with call.makefile("rb") as rest:
                words, environment, folder = marshal.loads(rest.read(int.from_bytes(head, "big")))  # noqa: S302 - our own
            end = words.index("--")
            nothing, output, log = files
            try:
                changed = {name: text for name, text in environment.items() if os.environ.get(name) != text}
                if forks.why_not(changed):
                    call.sendall(b"0\n")
                    return
                fork = forks.fork(words[:end], words[end + 1 :], environment, (output, log, nothing), folder)
            finally:
                for file in files:
                    os.close(file)
            self._forks.append(fork)
            call.sendall(b"%d\n" % fork.pid)
            call.sendall(b"%d\n" % fork.wait())


def main(name: str, *words: str) -> None:
    """Call, and end as the fork does."""
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(b"\0" + name.encode())
    body = marshal.dumps((words, dict(os.environ), os.getcwd()))  # noqa: PTH109 - pathlib takes as long as the rest
    socket.send_fds(wire, [len(body).to_bytes(4, "big")], [0, 1, 2])
    wire.sendall(body)
    with wire.makefile("r") as answers:
        pid = int(answers.readline())
        if not pid:
            end = words.index("--")
            os.execv(sys.executable, [sys.executable, *words[:end], *words[end + 1 :]])  # noqa: S606
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = int(answers.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
