"""What the restaurant sends: its automations, its weekly broadcasts, and how often is enough.

`share` is the probability that a message brings a guest, which passbell has to find.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BIRTHDAY", "BIRTHDAY_SHARE", "BROADCASTS", "MEASURE_DAYS", "POLICY", "RULES", "Broadcast", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """An automation."""

    name: str
    occasion: str
    when: str
    text: str
    share: float = 0.0
    priority: int = 5
    again_after_days: int = 0
    reward_points: int = 0


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A message that goes to all on a Thursday."""

    name: str
    text: str
    share: float


RULES: Final = (
    Rule(
        "Welcome",
        "JOINED:2",
        "two days after joining",
        "Welcome, {first_name|friend}! Your first espresso is on us.",
        0.12,
        8,
    ),
    Rule(
        "We miss you",
        "DORMANT:30",
        "30 days without a visit",
        "We miss you, {first_name|friend}! {points} points wait.",
        0.10,
        7,
    ),
    Rule(
        "How was it?",
        "AFTER_VISIT:1",
        "the day after a visit",
        "How was it yesterday? Tell us on our page.",
        0.0,
        2,
        45,
    ),
    Rule(
        "300 points",
        "REACHED:300",
        "the balance reaches 300",
        "{points} points: show this pass for a free dessert.",
        0.2,
        6,
    ),
    Rule(
        "A year with us",
        "ANNIVERSARY",
        "joined on this day",
        "A year with us! 50 points are yours.",
        0.1,
        6,
        0,
        50,
    ),
    Rule("Monthly menu", "EVERY:1", "the first of each month", "The menu of the month is here.", 0.03, 4),
)
BROADCASTS: Final = (
    Broadcast("Pasta night", "Pasta night tonight: two plates for one.", 0.05),
    Broadcast("Live music", "Live music on Friday, from eight.", 0.03),
    Broadcast("New wallpaper", "We have new wallpaper. Just so you know.", 0.0),
    Broadcast("Happy hour", "Happy hour until seven, all week.", 0.04),
    Broadcast("Truffle week", "Truffles are here, for one week.", 0.05),
    Broadcast("Our newsletter", "Our newsletter is out.", 0.0),
    Broadcast("Free dessert", "Show this pass: dessert is on us until Sunday.", 0.07),
)
BIRTHDAY: Final = "Happy birthday, {first_name|friend}! 50 points are yours."
BIRTHDAY_SHARE: Final = 0.25
POLICY: Final[Mapping[str, int]] = MappingProxyType(
    {"push_max": 6, "push_max_days": 30, "push_min_hours": 48}
)
MEASURE_DAYS: Final = 6
"""Of a broadcast: the windows of two Thursdays do not touch, so that a year of them can be added up."""
