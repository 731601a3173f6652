"""How far our clock is from PassKit's, learned from the Date header of its answers."""

from __future__ import annotations

import structlog

from passbell.passkit.answers import http_date

REPORT_ABOVE = 5.0
"""Seconds of skew that a person should hear about: tokens start to fail at about ten."""

_GAIN = 0.25
_DATE_STEP = 1.0  # a Date header names a whole second that may be almost over

_log = structlog.get_logger(__name__)


class ClockSkew:
    """Estimate of our clock minus PassKit's, in seconds.

    One answer proves only a range: its Date was written some time between our sending and our receiving, and
    it is cut to whole seconds. An estimate inside the range is left alone; one outside moves towards the
    nearer end. So network delay and rounding never look like a wrong clock, and one odd answer moves little.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._known = False
        self._reported = False
        self._last_date = ""

    def observe(self, date: str, sent: float, received: float, *, trust: bool = False) -> None:
        """Learn from one answer.

        Args:
            date: its Date header, or an empty text.
            sent: our unix seconds when the request left.
            received: our unix seconds when the answer was complete.
            trust: PassKit complained about the time, so believe this answer at once.
        """
        if date == self._last_date and not trust:  # thousands of answers a second share one Date
            return
        theirs = http_date(date)
        if theirs is None:
            return
        self._last_date = date
        low, high = sent - theirs - _DATE_STEP, received - theirs
        if high < low:  # our clock was set back while we waited
            return
        if trust:
            self.seconds = (low + high) / 2
        else:
            nearest = min(max(self.seconds, low), high)
            self.seconds += (nearest - self.seconds) * (_GAIN if self._known else 1.0)
        self._known = True
        self._report()

    def _report(self) -> None:
        if abs(self.seconds) > REPORT_ABOVE and not self._reported:
            self._reported = True
            _log.warning("clock_skew", seconds=round(self.seconds, 1))
        elif abs(self.seconds) < REPORT_ABOVE / 2:
            self._reported = False
