"""What messages brought: what passbell says, what the guests know, and whether the promises were kept."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from passbell.devkit.demo.screen import Claim
from passbell.devkit.year.messages import MEASURE_DAYS
from passbell.devkit.year.restaurant import FIRST, ZONE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from uuid import UUID

    from passbell.devkit.year.restaurant import Day, Restaurant

__all__ = ["Brought", "Week", "Year", "brought", "by_week", "claims", "count"]

BROADCASTS: Final = """
select s.campaigns, s.sent, s.held, s.diff, s.lo, s.hi, j.verdict, j.sentence
  from passbell.add_results((select array_agg(r order by r.first_sent_at) from passbell.results r
                               join public.push_campaigns c on c.id = r.campaign_id
                              where c.program_id = %(program)s and c.kind = 'BROADCAST'
                                and r.held > 0 and r.sent > 0)) s
 cross join lateral passbell.judge_result(true, true, s.sent, s.sent_came, s.held, s.held_came,
                                          s.diff, s.lo, s.hi, p_days => %(days)s) j
"""
POLICY: Final = """
with sent as (
    select d.pass_id, d.sent_at,
           lag(d.sent_at) over a as before, lag(d.sent_at, %(max)s) over a as long_before
      from passbell.deliveries d join public.push_campaigns c on c.id = d.campaign_id
     where c.program_id = %(program)s and d.outcome = 'sent'
    window a as (partition by d.pass_id order by d.sent_at)
)
select count(*) filter (where sent_at - before < make_interval(hours => %(hours)s)) as too_near,
       count(*) filter (where sent_at - long_before < make_interval(days => %(days)s)) as too_many
  from sent
"""


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days added up."""

    first: date
    visits: int
    brought: int
    """Visits that a message caused: known to the simulation, not to passbell."""
    broadcast: int
    automation: int
    birthday: int
    joined: int
    left: int

    @property
    def messages(self) -> int:
        """Of all kinds."""
        return self.broadcast + self.automation + self.birthday


@dataclass(frozen=True, slots=True)
class Brought:
    """What passbell says that messages of a kind brought; `planted` is the truth."""

    name: str
    what: str
    sent: int
    held: int
    diff: float | None
    lo: float | None
    hi: float | None
    verdict: str
    sentence: str
    planted: int

    @property
    def extra(self) -> tuple[int, int, int] | None:
        """Guests more than without the messages: about, at least, at most; None while nothing can be said."""
        if self.diff is None or self.lo is None or self.hi is None:
            return None
        return round(self.sent * self.diff), round(self.sent * self.lo), round(self.sent * self.hi)


@dataclass(frozen=True, slots=True)
class Year:
    """The weeks, what the messages brought, and what was checked."""

    name: str
    seconds: float
    weeks: list[Week]
    results: list[Brought]
    claims: list[Claim]
    wallets: tuple[int, int]
    """Passes in a wallet on the first day and on the last."""
    reasons: dict[str, int]
    """Messages that were not sent, by reason."""

    @property
    def ok(self) -> bool:
        """Was every promise kept?"""
        return all(claim.ok for claim in self.claims)


def by_week(days: Iterable[Day]) -> list[Week]:
    """Add days up by weeks; the last one may be short."""
    weeks: dict[int, list[Day]] = defaultdict(list)
    for day in days:
        weeks[day.number // 7].append(day)
    return [
        Week(
            FIRST + timedelta(weeks=number),
            sum(len(day.visits) for day in those),
            sum(visit.cause is not None for day in those for visit in day.visits),
            sum(day.broadcast for day in those),
            sum(day.automation for day in those),
            sum(day.birthday for day in those),
            sum(day.joined for day in those),
            sum(day.left for day in those),
        )
        for number, those in sorted(weeks.items())
    ]


def count(restaurant: Restaurant) -> None:
    """Count the campaigns whose windows have closed, as a daemon does."""
    restaurant.rows("select passbell.count_due_results(1000)")


def brought(restaurant: Restaurant) -> list[Brought]:
    """Ask passbell what the broadcasts and each automation brought so far."""
    found = []
    planted = _planted(restaurant)
    (row,) = restaurant.rows(BROADCASTS, {"program": restaurant.program, "days": MEASURE_DAYS})
    if row["campaigns"]:
        said = row["sentence"].replace("This campaign was", "They were")
        sentence = f"{row['campaigns']} broadcasts added up. {said}"
        found.append(_brought("Broadcasts", "every Thursday", row, sentence, planted[None]))
    for number, rule in restaurant.rules.items():
        (row,) = restaurant.rows(
            "select sent, held, diff, diff_lo as lo, diff_hi as hi, verdict, sentence"
            "  from public.automation_results(id => %(automation)s)",
            {"automation": number},
        )
        found.append(_brought(rule.name, rule.when, row, row["sentence"], planted[number]))
    return found


def _brought(name: str, what: str, row: dict[str, Any], sentence: str, planted: int) -> Brought:
    return Brought(
        name,
        what,
        row["sent"],
        row["held"],
        row["diff"],
        row["lo"],
        row["hi"],
        row["verdict"],
        sentence,
        planted,
    )


def _planted(restaurant: Restaurant) -> defaultdict[UUID | None, int]:
    """Per automation (None: broadcasts), guests who came within the window because of the message, and not anyway."""
    kinds = {
        row["id"]: (row["automation_id"], timedelta(days=row["measure_days"]))
        for row in restaurant.rows(
            "select c.id, c.automation_id, c.measure_days from public.push_campaigns c"
            "  join passbell.results r on r.campaign_id = c.id"
            " where c.program_id = %s and c.kind <> 'BIRTHDAY'",
            (restaurant.program,),
        )
    }
    visits = defaultdict(list)
    caused = {}
    for visit in restaurant.visits:
        visits[visit.guest.id].append(visit)
        if visit.cause is not None:
            caused[visit.cause, visit.guest.id] = visit
    found: defaultdict[UUID | None, int] = defaultdict(int)
    for sent in restaurant.sent:
        because = caused.get((sent.campaign, sent.guest))
        if because is None or sent.campaign not in kinds:
            continue
        automation, window = kinds[sent.campaign]
        anyway = any(
            sent.at < other.at <= sent.at + window and other is not because for other in visits[sent.guest]
        )
        if sent.at < because.at <= sent.at + window and not anyway:
            found[automation] += 1
    return found


def claims(restaurant: Restaurant) -> list[Claim]:
    """Check what passbell promises against the ledger and against what the guests did."""
    broken = restaurant.rows("select name, violation from passbell.check_conservation()")
    policy = restaurant.policy
    values = {
        "program": restaurant.program,
        "max": policy["push_max"],
        "days": policy["push_max_days"],
        "hours": policy["push_min_hours"],
    }
    (over,) = restaurant.rows(POLICY, values)
    twice = restaurant.rows(
        "select pass_id, year from public.birthday_logs where program_id = %s group by 1, 2 having count(*) > 1",
        (restaurant.program,),
    )
    told, wrong = _absences(restaurant)
    return [
        Claim(
            "Every campaign adds up: sent, failed and skipped are its audience",
            not broken,
            ", ".join(f"{row['name']}: {row['violation']}" for row in broken),
        ),
        Claim(
            f"Within any {policy['push_max_days']} days a guest got at most {policy['push_max']} messages,"
            f" and never two within {policy['push_min_hours']} hours",
            over["too_many"] == over["too_near"] == 0,
            f"{over['too_many']} too many, {over['too_near']} too near",
        ),
        Claim("A guest got at most one birthday gift", not twice, f"{len(twice)} had two"),
        Claim(
            f"Each of {told:,} absences got one message, on the day it was due and not after the guest had come back",
            wrong == 0,
            f"{wrong} did not",
        ),
    ]


def _absences(restaurant: Restaurant) -> tuple[int, int]:
    """How many absences DORMANT automations wrote about, and how many of those the visits contradict."""
    dormant = {
        number: int(rule.occasion.partition(":")[2])
        for number, rule in restaurant.rules.items()
        if rule.occasion.startswith("DORMANT:")
    }
    zone = ZoneInfo(ZONE)
    days = defaultdict(list)
    for visit in restaurant.all_visits:
        days[visit.guest.id].append(visit.at.astimezone(zone).date())
    told = restaurant.rows(
        "select automation_id, pass_id, local_date, count(*) as times from passbell.occasions"
        " where automation_id = any (%s) group by 1, 2, 3",
        (list(dormant),),
    )
    wrong = 0
    for row in told:
        before = [day for day in days[row["pass_id"]] if day < row["local_date"]]
        due = max(before) + timedelta(days=dormant[row["automation_id"]]) if before else None
        wrong += row["times"] != 1 or due != row["local_date"]
    return len(told), wrong
