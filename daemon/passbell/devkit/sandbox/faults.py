"""Faults that can be switched on: what a bad day of PassKit looks like.

A fault hits a call with a probability, at most so many times, for so many seconds, and only calls that
match its method, route or record. The first fault that hits a call decides; they draw in the order in
which they were switched on, from one seeded generator, so that a run can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

__all__ = ["KINDS", "Fault", "Faults"]

# What each kind does, for docs/sandbox.md and for the error that names the known kinds.
KINDS: dict[str, str] = {
    "unavailable": "503 without a commit, for `seconds` (0.25) from the call that it hits on",
    "too_many": "429 without a commit; Retry-After if `retry_after` is given; `above`: only over that rate",
    "error": "500 with a validation-like text, no commit",
    "status": "any `status` with `error` as the text, no commit",
    "slow": "commits at once, answers after `seconds` (1)",
    "drip": "commits, answers one byte every `seconds` (0.05)",
    "cut_before": "closes the connection without a commit",
    "cut_after": "commits, then closes the connection without an answer",
    "cut_during": "commits, then closes the connection in the middle of the answer",
    "timeout": "commits and never answers; the connection stays open",
    "malformed": "commits, answers 200 with JSON that does not parse",
    "unauthorized": "401; with `old_tokens` only for tokens issued before the fault was switched on",
    "clock_skew": "PassKit's clock is off by `seconds` (may be negative): `Date`, and how tokens are judged",
    "wrong_region": "404 for every object, after the credentials were accepted",
}
COMMITTING = frozenset(("slow", "drip", "cut_after", "cut_during", "timeout", "malformed"))
_SECONDS = {"unavailable": 0.25, "slow": 1.0, "drip": 0.05}
_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "probability": (int, float),
    "count": (int, type(None)),
    "duration": (int, float, type(None)),
    "after": (int, float),
    "method": (str, type(None)),
    "route": (str, type(None)),
    "records": (list, type(None)),
    "seconds": (int, float, type(None)),
    "retry_after": (int, float, type(None)),
    "above": (int, type(None)),
    "status": (int,),
    "error": (str,),
    "old_tokens": (bool,),
}


@dataclass(slots=True)
class Fault:
    """One fault that is switched on.

    Attributes:
        number: its name in the journal, from 1.
        kind: one of `KINDS`.
        probability: chance that a matching call is hit, 0 to 1.
        count: how many calls (for `unavailable`: bursts) it may hit; None for no limit.
        begins: monotonic second from which it acts.
        ends: monotonic second at which it ends.
        since: wall clock at which it was switched on: older tokens are old.
        method: only this verb; None for all.
        route: only routes whose path contains this; None for all.
        records: only records with one of these ids or own ids; empty for all.
        seconds: see `KINDS`.
        retry_after: seconds for the Retry-After header; None for no header.
        above: only while more than so many calls came in the last second; None for always.
        status: the status of kind `status`.
        error: text of the answer; empty for the kind's own.
        old_tokens: see `KINDS`.
        hits: calls that it hit.
    """

    number: int
    kind: str
    probability: float = 1.0
    count: int | None = None
    begins: float = 0.0
    ends: float = inf
    since: float = 0.0
    method: str | None = None
    route: str | None = None
    records: frozenset[str] = frozenset()
    seconds: float = 0.0
    retry_after: float | None = None
    above: int | None = None
    status: int = 500
    error: str = ""
    old_tokens: bool = False
    hits: int = 0
    _triggers: int = field(default=0, repr=False)
    _burst_until: float = field(default=0.0, repr=False)

    def matches(self, method: str, route: str, names: frozenset[str]) -> bool:
        """Whether a call is one of those it is meant for."""
        if self.method is not None and self.method != method:
            return False
        if self.route is not None and self.route not in route:
            return False
        return not self.records or not self.records.isdisjoint(names)

    def draw(self, rng: Random, now: float, rate: int) -> bool:
        """Whether it hits a matching call at `now`, with `rate` calls in the last second."""
        if self.kind == "unavailable" and now < self._burst_until:
            self.hits += 1
            return True
        if self.above is not None and rate <= self.above:
            return False
        if self.count is not None and self._triggers >= self.count:
            return False
        if self.probability < 1 and rng.random() >= self.probability:
            return False
        self._triggers += 1
        self.hits += 1
        if self.kind == "unavailable":
            self._burst_until = now + self.seconds
        return True

    def as_json(self, now: float) -> dict[str, Any]:
        """For the control endpoint; `endsIn` counts from now."""
        return {
            "number": self.number,
            "kind": self.kind,
            "probability": self.probability,
            "count": self.count,
            "beginsIn": max(0.0, self.begins - now),
            "endsIn": None if self.ends == inf else self.ends - now,
            "method": self.method,
            "route": self.route,
            "records": sorted(self.records),
            "seconds": self.seconds,
            "hits": self.hits,
        }


class Faults:
    """The faults that are on.

    Attributes:
        on: in the order in which they were switched on.
        past: the hits of faults that are over, by number.
        needs_names: whether a fault asks which record a call is for.
    """

    def __init__(self, seed: int = 0) -> None:
        self.on: list[Fault] = []
        self.past: dict[int, Fault] = {}
        self.needs_names = False
        self._last = 0
        self.sow(seed)

    def sow(self, seed: int) -> None:
        """Start the random generator again."""
        self._rng = Random(seed)  # noqa: S311 - a run that can be made again, not a secret

    def switch_on(self, wish: dict[str, Any], now: float, wall: float) -> Fault:
        """A fault from what the control endpoint was sent.

        Raises:
            ValueError: an unknown kind, name or type.
        """
        for name, value in wish.items():
            if name not in _TYPES:
                raise ValueError(f"a fault has no {name!r}; known are {', '.join(_TYPES)}")
            if not isinstance(value, _TYPES[name]) or isinstance(value, bool) != (bool in _TYPES[name]):
                raise ValueError(f"{name!r} of a fault cannot be {value!r}")
        rest = dict(wish)
        kind = rest.pop("kind", None)
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        begins = now + rest.pop("after", 0)
        duration = rest.pop("duration", None)
        records = frozenset(rest.pop("records", None) or ())
        seconds = rest.pop("seconds", None)
        self._last += 1
        fault = Fault(
            self._last,
            kind,
            begins=begins,
            ends=inf if duration is None else begins + duration,
            since=wall,
            records=records,
            seconds=_SECONDS.get(kind, 0.0) if seconds is None else seconds,
            **rest,
        )
        self.on.append(fault)
        self._look()
        return fault

    def switch_off(self, number: int | None = None) -> None:
        """One fault, or all."""
        for fault in self.on:
            if number in {None, fault.number}:
                self.past[fault.number] = fault
        self.on = [fault for fault in self.on if fault.number not in self.past]
        self._look()

    def skew(self, now: float) -> float:
        """Seconds by which PassKit's clock is off."""
        return sum(fault.seconds for fault in self._acting(now) if fault.kind == "clock_skew")

    def pick(self, method: str, route: str, names: frozenset[str], now: float, rate: int) -> Fault | None:
        """The fault that hits a call, or None."""
        for fault in self._acting(now):
            if fault.kind == "clock_skew" or fault.old_tokens or not fault.matches(method, route, names):
                continue
            if fault.draw(self._rng, now, rate):
                return fault
        return None

    def old_token(self, issued: float, now: float) -> Fault | None:
        """The fault that refuses tokens issued before it, if it refuses this one."""
        for fault in self._acting(now):
            if fault.old_tokens and issued < fault.since and fault.draw(self._rng, now, 0):
                return fault
        return None

    def _acting(self, now: float) -> list[Fault]:
        over = [fault for fault in self.on if fault.ends <= now]
        for fault in over:
            self.switch_off(fault.number)
        return [fault for fault in self.on if fault.begins <= now]

    def _look(self) -> None:
        self.needs_names = any(fault.records for fault in self.on)
