"""The restaurant's days in a database that passbell is installed in: guests, birthdays, automations, broadcasts.

The clock is `passbell.now` on one connection of the schema's owner, so days follow each other as fast as the rules are
worked out. What a daemon does in SQL (claim a campaign, claim a chunk, report it) is done here with the same functions;
each request to PassKit counts as taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID, uuid5

from psycopg.rows import dict_row, tuple_row

from passbell.devkit.year import platform
from passbell.devkit.year.life import PAST_DAYS, Life, Visit
from passbell.devkit.year.messages import BIRTHDAY, BIRTHDAY_SHARE, BROADCASTS, MEASURE_DAYS, POLICY, RULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from passbell.devkit.year.messages import Broadcast, Rule

__all__ = ["FIRST", "NAME", "SUNDAY", "ZONE", "Day", "Restaurant", "Sent"]

NAME: Final = "Trattoria Luna"
ZONE: Final = "America/New_York"
FIRST: Final = date(2026, 1, 5)
"""A Monday; both changes of the clocks lie in the year from here."""
THURSDAY: Final = 3
SUNDAY: Final = 6
CHUNK: Final = 500
_SPACE: Final = UUID(int=365)

AUTOMATION: Final = """
insert into public.push_automations (id, program_id, name, occasion, message_text, is_on, priority,
                                     again_after_days, reward_points, holdout_percent)
values (%s, %s, %s, %s, %s, true, %s, %s, %s, %s)
"""
BROADCAST: Final = """
insert into public.push_campaigns (id, program_id, name, message_text, target_query, measure_days, created_at)
values (%s, %s, %s, %s, 'ALL', %s, passbell.now())
"""
CLAIM: Final = """
select k.campaign_id, k.chunk_no, k.claim_token, k.kind, c.automation_id
  from passbell.claim_chunk(p_worker => %(worker)s) k
  join public.push_campaigns c on c.id = k.campaign_id
"""
FREEZE: Final = """
select from passbell.claim_campaign(p_worker => %(worker)s, p_chunk_size => %(size)s)
"""
REPORT: Final = """
select from passbell.finish_chunk(
       p_campaign => %(campaign)s, p_chunk_no => %(chunk)s, p_claim_token => %(token)s,
       p_pass_ids => null, p_outcomes => null, p_http => '{200}')
"""
BIRTHDAYS: Final = "select from public.run_birthdays(program_id => %(program)s)"
AUTOMATIONS: Final = "select from public.run_automations(program_id => %(program)s)"
RANG: Final = """
select campaign_id, pass_id, sent_at from passbell.deliveries
 where campaign_id = any (%(campaigns)s) and outcome = 'sent' and sent_at = %(at)s
 order by pass_id
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that rang on a guest's phone."""

    campaign: UUID
    guest: UUID
    at: datetime


@dataclass(slots=True)
class Day:
    """What happened on a day."""

    number: int
    date: date
    visits: list[Visit] = field(default_factory=list)
    broadcast: int = 0
    automation: int = 0
    birthday: int = 0
    joined: int = 0
    left: int = 0

    def count(self, kind: str) -> None:
        """A message of a campaign of this kind rang."""
        self.broadcast += kind == "BROADCAST"
        self.automation += kind == "AUTOMATION"
        self.birthday += kind == "BIRTHDAY"


class Restaurant:
    """A program with guests and automations, lived day by day with `live`.

    Args:
        database: autocommit, as the schema's owner or a superuser; its `passbell.now` is moved.
        members: guests at the start.
        seed: another one is another year.
        rules: automations.
        broadcasts: one a Thursday, in turn.
        policy: `push_max`, `push_max_days`, `push_min_hours` of the program.
        holdout: per cent held back of each broadcast and automation.
    """

    def __init__(
        self,
        database: psycopg.Connection[Any],
        members: int,
        *,
        seed: str = "luna",
        rules: Sequence[Rule] = RULES,
        broadcasts: Sequence[Broadcast] = BROADCASTS,
        policy: Mapping[str, int] = POLICY,
        holdout: int = 10,
    ) -> None:
        self._database = database
        self._broadcasts = broadcasts
        self.policy = policy
        self.holdout = holdout
        self.program = uuid5(_SPACE, seed)
        self.worker = uuid5(_SPACE, f"{seed} daemon")
        self.rules = {uuid5(_SPACE, f"{seed} {rule.occasion}"): rule for rule in rules}
        self.life = Life(seed, members, FIRST, ZONE)
        self._now = self.life.at(0, 0)
        self.sent: list[Sent] = []
        self.visits: list[Visit] = []
        self.past: list[Visit] = []
        """Before the first day."""
        self.shares: dict[UUID, float] = {}
        """By campaign, the probability that it brings a guest."""

    def open(self) -> None:
        """Write the program, its guests and their past, and switch the automations on."""
        self.clock(self.life.at(-PAST_DAYS, 6))
        columns: dict[str, Any] = {
            "id": self.program,
            "name": NAME,
            "protocol": "MEMBERSHIP",
            "passkit_program_id": "lunaLunaLunaLunaLuna22",
            "timezone": ZONE,
            "birthday_bot_enabled": True,
            "birthday_reward_points": 50,
            "birthday_message": BIRTHDAY,
            "push_holdout_percent": self.holdout,
            **self.policy,
        }
        platform.write_program(self._database, columns)
        platform.write_guests(self._database, self.program, self.life.guests.values())
        for day in range(-PAST_DAYS, 0):
            visits = list(self.life.visits(day))
            platform.write_visits(self._database, visits)
            self.past += visits
        self._database.execute("analyze")
        self.clock(self.life.at(0, 6))
        for number, rule in self.rules.items():
            what = (
                rule.name,
                rule.occasion,
                rule.text,
                rule.priority,
                rule.again_after_days,
                rule.reward_points,
            )
            self._database.execute(AUTOMATION, (number, self.program, *what, self.holdout))

    def live(self, number: int, *, messages: bool = True) -> Day:
        """Live one day: messages in the morning, guests until the evening."""
        day = Day(number, FIRST + timedelta(days=number))
        if messages:
            self.clock(self.life.at(number, 9.5))
            self._database.execute(BIRTHDAYS, {"program": self.program})
            self._database.execute(AUTOMATIONS, {"program": self.program})
            self._send(day)
            if day.date.weekday() == THURSDAY:
                self.clock(self.life.at(number, 11))
                self._broadcast(number // 7)
                self._send(day)
        day.visits = list(self.life.visits(number))
        platform.write_visits(self._database, day.visits)
        self.visits += day.visits
        newcomers = self.life.newcomers(number)
        platform.write_guests(self._database, self.program, newcomers)
        self.life.leave()
        day.joined = len(newcomers)
        day.left = platform.write_departures(self._database, self.life.guests.values())
        self.clock(self.life.at(number, 23))
        if day.date.weekday() == SUNDAY:
            self._database.execute("analyze")  # autovacuum runs once a minute, and a year here takes two
        return day

    def clock(self, at: datetime) -> None:
        """Set passbell's clock to a moment, where it stays."""
        self._now = at
        self._database.execute("select set_config('passbell.now', %(at)s, false)", {"at": str(at)})

    def in_wallets(self) -> int:
        """Passes that a message can reach."""
        return sum(one.carries for one in self.life.guests.values())

    @property
    def all_visits(self) -> list[Visit]:
        """From before the first day on."""
        return self.past + self.visits

    def rows(self, query: LiteralString, parameters: Any = ()) -> list[dict[str, Any]]:
        """The answer to a query."""
        with self._database.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def _broadcast(self, week: int) -> None:
        broadcast = self._broadcasts[week % len(self._broadcasts)]
        campaign = uuid5(self.program, f"week {week}")
        self.shares[campaign] = broadcast.share
        what = (campaign, self.program, broadcast.name, broadcast.text, MEASURE_DAYS)
        self._database.execute(BROADCAST, what)

    def _send(self, day: Day) -> None:
        """Claim, send and report until nothing is left, as a daemon does; phones ring, and guests make plans."""
        while self._all(FREEZE, worker=self.worker, size=CHUNK):
            pass
        kinds: dict[UUID, str] = {}
        while claimed := self._all(CLAIM, worker=self.worker):
            ((campaign, chunk, token, kind, automation),) = claimed
            kinds[campaign] = kind
            if automation is not None:
                self.shares[campaign] = self.rules[automation].share
            elif kind == "BIRTHDAY":
                self.shares[campaign] = BIRTHDAY_SHARE
            self._all(REPORT, campaign=campaign, chunk=chunk, token=token)
        for campaign, guest, at in self._all(RANG, campaigns=list(kinds), at=self._now):
            day.count(kinds[campaign])
            self.sent.append(Sent(campaign, guest, at))
            self.life.buzzed(self.life.guests[guest], day.number, campaign, self.shares[campaign])

    def _all(self, query: LiteralString, **parameters: object) -> list[tuple[Any, ...]]:
        with self._database.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(query, parameters).fetchall()
