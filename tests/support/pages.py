"""A daemon's /metrics, /live and /ready as a monitoring system reads them."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, NamedTuple

__all__ = ["Page", "free_port", "get"]


class Page(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def value(self, series: str) -> float | None:
        """The value of one series such as `passbell_campaigns{status="PENDING"}`; None if it is not there."""
        for line in self.body.splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return None


def get(port: int, path: str, method: str = "GET") -> Page:
    """Ask on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Page(answer.status, headers, answer.read().decode())
    finally:
        connection.close()


def free_port() -> int:
    """A port that was free a moment ago: the setting has no word for "any", 0 means off."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
