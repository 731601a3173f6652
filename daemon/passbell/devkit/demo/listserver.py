"""The guest list of the demo, as a link that was pasted into a form."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["ListServer", "as_excel_saves_it"]

PATH = "/guests.csv"


def as_excel_saves_it(ids: Sequence[str]) -> bytes:
    """Return a CSV as a European Excel writes it: byte order mark, semicolons, padded headers."""
    lines = ["Guest ; Member ID ; Table", *(f"{n};{member};{1 + n % 40}" for n, member in enumerate(ids, 1))]
    return "\r\n".join([*lines, ""]).encode("utf-8-sig")


class ListServer:
    """Serves `content` at `url` on loopback while the `with` block lasts."""

    def __init__(self, content: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == PATH
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/csv")
                self.send_header("Content-Length", str(len(content) if found else 0))
                self.end_headers()
                if found:
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing: the screen belongs to the show."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
