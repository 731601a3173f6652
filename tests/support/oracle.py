"""Who should have had which message on which day, worked out from what people did and from nothing that passbell keeps.

Written from the specification's sentences, a person and a day at a time; slow and plain on purpose.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

__all__ = ["Oracle", "Pass", "Rule"]

WEEK = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
CROSSINGS = ("REACHED", "ALMOST", "ENTERS")


@dataclass
class Pass:
    """A pass in a wallet, and what was done with it."""

    id: UUID
    person: UUID
    since: datetime
    joined: datetime | None = None
    expires: date | None = None
    event: date | None = None
    visits: list[datetime] = field(default_factory=list)
    points: int = 0


@dataclass
class Rule:
    """An automation as its row is now, and what the oracle remembers of it."""

    id: UUID
    occasion: str
    parameter: str = ""
    send_days: str | None = None
    catch_up: int = 7
    again_after: int = 0
    is_on: bool = True
    switched_on: date = date.min
    told: dict[tuple[UUID, str], date] = field(default_factory=dict)
    moments: set[tuple[UUID, datetime]] = field(default_factory=set)
    runs: set[date] = field(default_factory=set)
    inside: dict[UUID, tuple[int, date | None]] = field(default_factory=dict)
    numbers: dict[UUID, int] = field(default_factory=dict)


def sendable(days: str | None, day: date) -> bool:
    return days is None or WEEK[day.weekday()] in days.split(",")


def first_sendable(days: str | None, day: date) -> date:
    while not sendable(days, day):
        day += timedelta(days=1)
    return day


def comes_up(parameter: str, day: date) -> bool:
    if not parameter.isdigit():
        return sendable(parameter, day)
    last = calendar.monthrange(day.year, day.month)[1]
    return day.day == min(int(parameter), last)


def kept_on(joined: date, year: int) -> date:
    if (joined.month, joined.day) == (2, 29) and not calendar.isleap(year):
        return date(year, 2, 28)
    return joined.replace(year=year)


class Oracle:
    """The passes of one program, its zone and its rules."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.passes: list[Pass] = []
        self.rules: list[Rule] = []

    def local(self, moment: datetime) -> datetime:
        """The program's wall clock."""
        return moment.astimezone(ZoneInfo(self.zone))

    def switch_on(self, rule: Rule, now: datetime) -> None:
        """From today on; a person inside a mark already does not count as crossing it."""
        rule.is_on, rule.switched_on = True, self.local(now).date()
        self.look(rule, None)

    def run(self, rule: Rule, now: datetime) -> None:
        """One run of a rule: the people it messages go into `told`."""
        today = self.local(now).date()
        self.look(rule, today)
        if sendable(rule.send_days, today):
            groups: dict[UUID, list[tuple[str, datetime | None]]] = defaultdict(list)
            for person, key, due, moment in set(self.due(rule, today, now)):
                if (
                    rule.switched_on <= due <= today
                    and today <= first_sendable(rule.send_days, due) + timedelta(days=rule.catch_up)
                    and (person, key) not in rule.told
                    and (person, moment) not in rule.moments
                    and not self.too_soon(rule, person, today)
                ):
                    groups[person].append((key, moment))
            for person, keys in groups.items():
                for key, moment in keys:
                    rule.told[person, key] = today
                    if moment is not None:
                        rule.moments.add((person, moment))
        rule.runs.add(today)

    @staticmethod
    def too_soon(rule: Rule, person: UUID, today: date) -> bool:
        """Was the person told less than again_after days ago?"""
        return rule.again_after > 0 and any(
            who == person and (today - day).days < rule.again_after for (who, _), day in rule.told.items()
        )

    def look(self, rule: Rule, today: date | None) -> None:
        """Note who has crossed a mark since the last look."""
        if rule.occasion not in CROSSINGS:
            return
        mark = int(rule.parameter.rpartition(":")[2])
        above = (
            (lambda points: points > mark) if rule.occasion == "ENTERS" else (lambda points: points >= mark)
        )
        now_inside = {one.person for one in self.passes if above(one.points)}
        for person in set(rule.inside) - now_inside:
            del rule.inside[person]
        for person in now_inside - set(rule.inside):
            if today is not None:
                rule.numbers[person] = rule.numbers.get(person, 0) + 1
            rule.inside[person] = (rule.numbers.get(person, 0), today)

    def due(
        self, rule: Rule, today: date, now: datetime
    ) -> Iterator[tuple[UUID, str, date, datetime | None]]:
        """Every occasion of the rule up to today: person, key, day, and the instant the key was read from."""
        if rule.occasion in CROSSINGS:
            for person, (number, entered) in rule.inside.items():
                if entered is not None:
                    yield person, str(number), entered, None
        elif rule.occasion in {"DORMANT", "AFTER_VISIT"}:
            yield from self.due_since_visit(rule, now)
        elif rule.occasion == "EVERY":
            for back in range(rule.catch_up + 7):
                day = today - timedelta(days=back)
                if comes_up(rule.parameter, day) and not any(day <= run < today for run in rule.runs):
                    for one in self.passes:
                        yield one.person, day.isoformat(), day, None
        else:
            for one in self.passes:
                yield from self.due_once(rule, one, today)

    def due_since_visit(self, rule: Rule, now: datetime) -> Iterator[tuple[UUID, str, date, datetime]]:
        """Everybody's last visit so far, on whichever pass."""
        last: dict[UUID, datetime] = {}
        for one in self.passes:
            for visit in one.visits:
                if visit <= now:
                    last[one.person] = max(visit, last.get(one.person, visit))
        for person, visit in last.items():
            day = self.local(visit).date()
            yield person, day.isoformat(), day + timedelta(days=int(rule.parameter)), visit

    def due_once(
        self, rule: Rule, one: Pass, today: date
    ) -> Iterator[tuple[UUID, str, date, datetime | None]]:
        """Occasions that a date of the pass makes."""
        if rule.occasion == "EXPIRING" and one.expires is not None and one.expires >= today:
            due = one.expires - timedelta(days=int(rule.parameter))
            yield one.person, one.expires.isoformat(), due, None
        elif rule.occasion == "EVENT" and one.event is not None and one.event >= today:
            yield one.person, one.event.isoformat(), one.event + timedelta(days=int(rule.parameter)), None
        elif rule.occasion == "JOINED" and one.joined is not None and one.since > one.joined:
            due = self.local(one.joined).date() + timedelta(days=int(rule.parameter))
            yield one.person, str(one.id), due, one.joined
        elif rule.occasion == "ANNIVERSARY" and one.joined is not None:
            joined = self.local(one.joined).date()
            for year in range(joined.year + 1, today.year + 1):
                yield one.person, str(year), kept_on(joined, year), None
