"""A small file host on loopback: files by name, and one that keeps its visitors waiting; and the fixture `host`."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["FileHost", "host"]


class FileHost:
    """`with FileHost() as host: host.files["list.csv"] = b"…"`; the link is `host.link("list.csv")`.

    A name in `held` is answered only after `let_go()`, and `asked` counts how often each name was asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.held: set[str] = set()
        self.asked: list[str] = []
        self._go = threading.Event()
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                host.asked.append(name)
                if name in host.held:
                    host._go.wait(60)
                body = host.files.get(name)
                try:
                    self.send_response(200 if body is not None else 404)
                    self.send_header("Content-Type", host.types.get(name, "text/csv"))
                    self.send_header("Content-Length", str(len(body or b"")))
                    self.end_headers()
                    self.wfile.write(body or b"")
                except OSError:  # the visitor was killed: some tests are about that
                    return

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def link(self, name: str) -> str:
        """The link to a file."""
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def let_go(self) -> None:
        """Answer requests that wait for a held file, and from now on at once."""
        self._go.set()


@pytest.fixture
def host() -> Iterator[FileHost]:
    """A file host of the test's own."""
    with FileHost() as running:
        yield running
