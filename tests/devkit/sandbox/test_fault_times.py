"""When a fault begins and ends: the moments are given, so a busy machine changes nothing."""

from __future__ import annotations

from typing import Any

from passbell.devkit.sandbox.faults import Faults


def hits(wish: dict[str, Any], *moments: float) -> list[bool]:
    """Which of the calls at these monotonic seconds a fault hits that was switched on at second 100."""
    faults = Faults()
    faults.switch_on(wish, 100.0, 0.0)
    return [faults.pick("PUT", "/members/member", frozenset(), moment, 1) is not None for moment in moments]


def test_a_duration_ends() -> None:
    """A fault with a duration hits every call until it is over, and none afterwards."""
    wish = {"kind": "unauthorized", "duration": 5}
    assert hits(wish, 100.0, 104.9, 105.0, 106.0) == [True, True, False, False]


def test_a_later_beginning() -> None:
    """A fault that begins after two seconds spares the calls before; its duration counts from there."""
    wish = {"kind": "unauthorized", "after": 2, "duration": 5}
    assert hits(wish, 101.9, 102.0, 106.9, 107.0) == [False, True, True, False]


def test_a_burst_of_503_lasts_250_ms() -> None:
    """One burst refuses every call of a quarter of a second, counted from its first."""
    wish = {"kind": "unavailable", "count": 1}
    assert hits(wish, 101.0, 101.2, 101.24, 101.25, 102.0) == [True, True, True, False, False]
