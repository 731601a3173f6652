"""A transaction pooler as far as LISTEN is concerned: everything goes through but notifications.

PgBouncer and Supavisor take a session's LISTEN and give the connection to another client, so that NotificationResponse
never reaches who asked. This proxy speaks enough of the wire protocol (5 bytes of header: type, length) to do the same
without either of them being installed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["DeafPooler"]

NOTIFICATION = b"A"
HEADER = 5


class DeafPooler:
    """Stands before a server on loopback; `url` is the way through it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        login = parts.netloc.rpartition("@")[0]
        port = self._listening.getsockname()[1]
        self.url = urlunsplit(
            parts._replace(netloc=f"{login}@127.0.0.1:{port}", query="sslmode=disable&gssencmode=disable")
        )
        self.swallowed = 0
        self._threads = [threading.Thread(target=self._serve, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                for work in (self._forward, self._filter):
                    self._threads.append(threading.Thread(target=work, args=(client, server), daemon=True))
                    self._threads[-1].start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := client.recv(65_536):
                server.sendall(block)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _filter(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError), server.makefile("rb") as messages:
            while len(header := messages.read(HEADER)) == HEADER:
                body = messages.read(int.from_bytes(header[1:], "big") - 4)
                if header[:1] == NOTIFICATION:
                    self.swallowed += 1
                else:
                    client.sendall(header + body)
            client.shutdown(socket.SHUT_RDWR)  # wakes the other direction too
