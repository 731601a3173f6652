"""Phones that carry a pass, and the log of what rang on them.

A phone shows the values of the template's fields. It rings only if the value of a field with a change
message differs from the one it shows (the wallet compares, not PassKit). A phone that is offline fetches
once when it is back, so several updates collapse into the newest. Phones without a state of their own are
shared between records: a million passes on one plain phone each cost one phone.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Any, NamedTuple

__all__ = ["Buzz", "BuzzLog", "GoogleQuota", "Phone", "phones_from"]

_PLATFORMS = ("apple", "google")
_ROW = Struct("<ddqiB?")


class Phone(NamedTuple):
    """One device.

    Attributes:
        platform: apple or google.
        installed: whether the pass is on it.
        online: whether it fetches updates now.
        muted: the user switched notifications of this pass off; it updates silently.
        shown: the values of all template fields while offline; None means it shows what PassKit has.
    """

    platform: str = "apple"
    installed: bool = True
    online: bool = True
    muted: bool = False
    shown: tuple[str, ...] | None = None


_shared: dict[tuple[Phone, ...], tuple[Phone, ...]] = {}


def phones_from(wish: Any, *, installed: bool = True) -> tuple[Phone, ...]:
    """Phones from what a seed says.

    Args:
        wish: None for one Apple phone; "apple,google" or a list of such words; "" or "none" for no phone; or
            a list of objects with `platform`, `installed`, `online`, `muted`.
        installed: what holds for phones that do not say it themselves.

    Raises:
        ValueError: a word or an attribute that is not known.
    """
    if wish is None:
        wish = ["apple"]
    if isinstance(wish, str):
        wish = [] if wish in {"", "none"} else wish.split(",")
    phones = []
    for one in wish:
        given = {"platform": one.strip()} if isinstance(one, str) else dict(one)
        unknown = given.keys() - {"platform", "installed", "online", "muted"}
        if unknown or given.get("platform", "apple") not in _PLATFORMS:
            raise ValueError(f"not a phone: {one!r}")
        phones.append(Phone(**{"installed": installed, **given}))
    made = tuple(phones)
    return _shared.setdefault(made, made)


class Buzz(NamedTuple):
    """One alert on one phone.

    Attributes:
        time: monotonic second.
        wall: wall clock.
        call: number of the API call behind it, -1 for a phone that came back and caught up.
        record: position of the record.
        phone: position of the phone in the record.
        generic: whether the wallet's own words were shown instead of a change message.
        text: what the lock screen said.
    """

    time: float
    wall: float
    call: int
    record: int
    phone: int
    generic: bool
    text: str


class BuzzLog:
    """Every alert: 30 bytes each, and its text. Its position is its sequence number, from 0."""

    def __init__(self) -> None:
        self._rows = bytearray()
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, buzz: Buzz) -> None:
        """Append one alert."""
        self._rows += _ROW.pack(*buzz[:-1])
        self._texts.append(buzz.text)

    def __getitem__(self, number: int) -> Buzz:
        return Buzz._make((*_ROW.unpack_from(self._rows, number * _ROW.size), self._texts[number]))


class GoogleQuota:
    """At most so many alerts per Google pass and 24 hours; what is over it is counted, not shown."""

    day = 86_400.0

    def __init__(self) -> None:
        self._times: dict[tuple[int, int], deque[float]] = {}
        self.suppressed = 0

    def take(self, record: int, phone: int, now: float, cap: int) -> bool:
        """Whether one more may ring at `now`."""
        times = self._times.setdefault((record, phone), deque())
        while times and times[0] <= now - self.day:
            times.popleft()
        if len(times) >= cap:
            self.suppressed += 1
            return False
        times.append(now)
        return True
