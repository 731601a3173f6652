"""sd_notify, one datagram to the service manager (see sd_notify(3)), and the line that `systemctl status` shows."""

from __future__ import annotations

import contextlib
import os
import socket
import time

__all__ = ["StatusLine", "notify", "watchdog_seconds"]


def notify(state: str) -> None:
    """Send a state such as READY=1; does nothing where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "@/":
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.setblocking(False)  # a manager that does not read must not stop the daemon
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


def watchdog_seconds() -> float | None:
    """How often the watchdog wants to be fed (half of WatchdogSec=), None if there is none."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not micros.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(micros) / 2_000_000


class StatusLine:
    """What the daemon does and how fast, in one line; the pace is that since the line before."""

    def __init__(self) -> None:
        self._sent = 0
        self._at = time.monotonic()

    def text(self, doing: str, sent: int) -> str:
        """`doing` in words; `sent` since the start."""
        now = time.monotonic()
        rate = (sent - self._sent) / max(now - self._at, 0.001)
        self._sent, self._at = sent, now
        return f"{doing}; {rate:.1f} a second, {sent:,} sent since the start"
