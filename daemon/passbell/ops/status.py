"""The line that `systemctl status` shows."""

from __future__ import annotations

import time

__all__ = ["StatusLine"]


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
