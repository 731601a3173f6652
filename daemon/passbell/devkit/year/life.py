"""The guests of an invented restaurant: who comes on which day, joins or leaves, and comes because of a message.

It knows neither passbell nor a database. The same seed is the same life, as long as the same messages are sent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from passbell.devkit.people import FIRST_NAMES, LAST_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PAST_DAYS", "Guest", "Life", "Visit"]

PAST_DAYS: Final = 60
"""Days before the first one that are lived without messages, because guests need a past."""
WEEKDAYS: Final = (0.6, 0.7, 0.8, 1.0, 1.5, 1.6, 0.8)
MONTHS: Final = (0.85, 0.9, 0.95, 1.0, 1.08, 1.1, 0.95, 0.85, 1.0, 1.02, 1.05, 1.25)
KINDS: Final = ((0.12, 1 / 8), (0.33, 1 / 22), (0.55, 1 / 65))
"""Share of guests, and how often one of them comes: regulars, now and then, hardly ever."""
LULL_CHANCE: Final = 1 / 220
LULL_DAYS: Final = (30, 120)
"""Now and then a guest stays away for weeks. A message that brings the guest ends it a week later."""
JOIN_SHARE: Final = 1 / 900
"""New passes a day, per member at the start."""
LEAVE_CHANCE: Final = 1 / 2500
LEAVE_AFTER_MESSAGE: Final = 1 / 1500
OPT_OUT_AFTER_MESSAGE: Final = 1 / 2500
ANSWER_DAYS: Final = 4
POINTS: Final = (10, 20, 30, 45)
REDEEM_AT: Final = 300
REDEEM_CHANCE: Final = 0.3
_SPACE: Final = UUID(int=364)


@dataclass(slots=True, eq=False)
class Guest:
    """A person with a pass."""

    id: UUID
    number: int
    first_name: str
    last_name: str
    born: date
    joined: datetime
    keen: float
    """Visits a day, on an average day."""
    points: int = 0
    away_until: int = 0
    """The day on which a lull ends."""
    carries: bool = True
    """Is the pass in the wallet?"""
    opted_in: bool = True
    plans: dict[int, UUID] = field(default_factory=dict)
    """By day, the campaign that made the guest plan a visit."""


@dataclass(frozen=True, slots=True)
class Visit:
    """An evening at the restaurant; `cause` is the campaign that brought the guest, None for all others."""

    guest: Guest
    at: datetime
    earned: int
    redeemed: int
    cause: UUID | None


class Life:
    """All guests, and the days they live; day 0 is `first`.

    Args:
        seed: another one is another life.
        members: guests on day 0.
        first: a local date in `zone`.
        zone: where the restaurant is.
    """

    def __init__(self, seed: str, members: int, first: date, zone: str) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - a life that can be lived again
        self._seed = seed
        self._members = members
        self.first = first
        self.zone = ZoneInfo(zone)
        self.guests: dict[UUID, Guest] = {}
        for _ in range(members):
            before = self._draw.randrange(PAST_DAYS + 1, PAST_DAYS + 1_200)
            self._join(self.at(-before, 12 + self._draw.random() * 10))

    def at(self, day: int, hour: float) -> datetime:
        """A moment of a day, by the restaurant's clock."""
        local = datetime.combine(self.first + timedelta(days=day), datetime.min.time(), self.zone)
        return (local + timedelta(hours=hour)).astimezone(UTC)

    def visits(self, day: int) -> Iterator[Visit]:
        """The visits of a day, planned or not."""
        on = self.first + timedelta(days=day)
        mood = WEEKDAYS[on.weekday()] * MONTHS[on.month - 1]
        for guest in self.guests.values():
            cause = guest.plans.pop(day, None)
            if day >= guest.away_until and self._draw.random() < LULL_CHANCE:
                guest.away_until = day + self._draw.randint(*LULL_DAYS)
            keen = guest.keen * mood * (0.05 if day < guest.away_until else 1)
            comes = self._draw.random() < keen
            if cause is not None and not comes:
                guest.away_until = min(guest.away_until, day + 8)
            if comes or cause is not None:
                yield self._visit(guest, day, None if comes else cause)

    def _visit(self, guest: Guest, day: int, cause: UUID | None) -> Visit:
        redeemed = REDEEM_AT if guest.points >= REDEEM_AT and self._draw.random() < REDEEM_CHANCE else 0
        earned = self._draw.choice(POINTS)
        guest.points += earned - redeemed
        return Visit(guest, self.at(day, 12 + self._draw.random() * 10), earned, redeemed, cause)

    def newcomers(self, day: int) -> list[Guest]:
        """Guests who take a pass on a day, at their table."""
        chance = self._members * JOIN_SHARE * MONTHS[(self.first + timedelta(days=day)).month - 1]
        count = int(chance) + (self._draw.random() < chance % 1)
        return [self._join(self.at(day, 12 + self._draw.random() * 9)) for _ in range(count)]

    def leave(self) -> None:
        """Let some throw their pass away."""
        for guest in self.guests.values():
            if guest.carries and self._draw.random() < LEAVE_CHANCE:
                guest.carries = False

    def buzzed(self, guest: Guest, day: int, campaign: UUID, share: float) -> None:
        """A phone rang: with probability `share` the guest comes because of it; some are annoyed."""
        if self._draw.random() < share:
            guest.plans.setdefault(day + self._draw.randrange(ANSWER_DAYS), campaign)
        if self._draw.random() < LEAVE_AFTER_MESSAGE:
            guest.carries = False
        elif self._draw.random() < OPT_OUT_AFTER_MESSAGE:
            guest.opted_in = False

    def _join(self, joined: datetime) -> Guest:
        number = len(self.guests) + 1
        kind, keen = self._draw.random(), 0.0
        for share, keen in KINDS:  # noqa: B007 - the kind that was met last is the guest's
            kind -= share
            if kind < 0:
                break
        guest = Guest(
            uuid5(_SPACE, f"{self._seed} {number}"),
            number,
            self._draw.choice(FIRST_NAMES),
            self._draw.choice(LAST_NAMES),
            date(1950, 1, 1) + timedelta(days=self._draw.randrange(20_000)),
            joined,
            keen * self._draw.uniform(0.6, 1.4),
        )
        self.guests[guest.id] = guest
        return guest
