"""Credentials, the Authorization header made from them, and how far our clock is from the one that judges it.

Facts about PassKit (its published samples, and several projects' measurements): a short-lived token is an
HS256 JWT over the raw bytes of the API secret with the claims `uid` (API key), `iat` and `exp`, sent bare.
A token whose `iat` is a minute old is refused ("issued too long ago"), and so is one that lies ahead of
PassKit's clock ("used before issued"). Signing at `now - 10` for a minute satisfies every rule that was
ever reported. A long-lived token is opaque and sent as `Bearer`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
import structlog

from passbell.passkit.answers import http_date

if TYPE_CHECKING:
    from collections.abc import Callable


REUSE_SECONDS = 5.0
"""How long one signature is used. Signing takes 30 µs, so this is for fast campaigns only."""

_ISSUED_AGO = 10
_EXPIRES_IN = 50


@dataclass(frozen=True, slots=True)
class Credentials:
    """Either an API key with its secret (preferred), or a long-lived token.

    Raises:
        ValueError: if neither is complete.
    """

    api_key: str | None = None
    api_secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not (self.api_key and self.api_secret) and not self.token:
            raise ValueError("PassKit credentials need an API key and its secret, or a long-lived token")

    @property
    def signs(self) -> bool:
        """Whether tokens are signed by us; a long-lived token has no time to argue about."""
        return bool(self.api_key and self.api_secret)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be shown."""
        return tuple(text for text in (self.api_secret, self.token) if text)


class Signer:
    """Makes the Authorization header, fresh enough for PassKit and with its clock if ours proved wrong."""

    def __init__(self, credentials: Credentials, clock: Callable[[], float]) -> None:
        """`clock` gives our unix seconds."""
        self._credentials = credentials
        self._bearer = None if credentials.signs else f"Bearer {credentials.token}"
        self._clock = clock
        self._correction = 0.0
        self._signed_at: float | None = None
        self._header = ""

    def header(self) -> str:
        """Value of the Authorization header for a request that leaves now."""
        if self._bearer is not None:
            return self._bearer
        now = self._clock()
        # The lower bound matters too: a clock that was set back must not keep a token from the future alive.
        if self._signed_at is None or not 0 <= now - self._signed_at < REUSE_SECONDS:
            self._header = self._sign(now - self._correction)
            self._signed_at = now
        return self._header

    def correct(self, skew: float) -> None:
        """Sign on PassKit's clock from now on. `skew`: seconds that ours is ahead."""
        self._correction = skew
        self._signed_at = None

    def _sign(self, now: float) -> str:
        issued = int(now) - _ISSUED_AGO
        claims = {
            "uid": self._credentials.api_key,
            "iat": issued,
            "exp": issued + _ISSUED_AGO + _EXPIRES_IN,
        }
        # RFC 7515 by hand, three lines: PyJWT loads all of `cryptography` where that is installed, 9 MB for an HMAC.
        signed = _HEADER + b"." + _base64url(orjson.dumps(claims))
        secret = (self._credentials.api_secret or "").encode()
        return (signed + b"." + _base64url(hmac.digest(secret, signed, hashlib.sha256))).decode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


_HEADER = _base64url(b'{"alg":"HS256","typ":"JWT"}')


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
