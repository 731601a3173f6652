"""A year of a restaurant against an oracle that knows nothing but what people did."""

from __future__ import annotations

import os
import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from support.oracle import Oracle, Pass, Rule

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop

LONG = bool(os.environ.get("PASSBELL_LONG"))
DAYS = 400 if LONG else 175
SEEDS = range(8) if LONG else range(1)
FIRST = datetime(2026, 10, 12, tzinfo=UTC)
"""From here on lie the changes of the clocks of 25 October 2026 and 28 March 2027, and New York's beside them."""

RULES = (
    ("DORMANT", "21", {}),
    ("DORMANT", "9", {"send_days": "THU,FRI"}),
    ("AFTER_VISIT", "1", {"again_after_days": 10}),
    ("EXPIRING", "3", {}),
    ("JOINED", "2", {}),
    ("ANNIVERSARY", "", {}),
    ("EVENT", "-1", {}),
    ("EVERY", "MON,FRI", {"catch_up_days": 2}),
    ("EVERY", "31", {}),
    ("REACHED", "60", {}),
    ("ALMOST", "45", {"send_days": "SAT"}),
    ("ENTERS", "WHALE:50", {"catch_up_days": 0}),
)


class Restaurant:
    """The same life in the database and for the oracle."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.draw = random.Random(seed)  # noqa: S311 - a life that can be lived again
        self.oracle = Oracle("Europe/Berlin")
        shop.conn.execute("alter table protocol_event_ticket add event_date date")
        shop.conn.execute("select passbell.build_occasion_adapters()")
        self.now = FIRST
        shop.clock(self.now)
        self.program = shop.program(timezone="Europe/Berlin")
        for _ in range(20):
            self.arrive(FIRST - timedelta(days=self.draw.randrange(1, 1500)), late=False)
        for occasion, parameter, options in RULES:
            rule = self.make(occasion, parameter, options)
            self.oracle.switch_on(rule, self.now)
            self.oracle.rules.append(rule)

    def make(self, occasion: str, parameter: str, options: dict[str, object]) -> Rule:
        """An automation that is on from now on."""
        columns = {"again_after_days": 0, "catch_up_days": 7, "send_days": None, **options}
        made: UUID = self.shop.value(
            "insert into push_automations (program_id, occasion, message_text, is_on, holdout_percent,"
            " again_after_days, catch_up_days, send_days) values (%s, %s, 'Hi', true, 0, %s, %s, %s) returning id",
            [
                self.program,
                ":".join(filter(None, (occasion, parameter))),
                columns["again_after_days"],
                columns["catch_up_days"],
                columns["send_days"],
            ],
        )
        return Rule(
            made,
            occasion,
            parameter,
            send_days=options.get("send_days"),  # type: ignore[arg-type]
            catch_up=options.get("catch_up_days", 7),  # type: ignore[arg-type]
            again_after=options.get("again_after_days", 0),  # type: ignore[arg-type]
        )

    def arrive(self, joined: datetime, *, late: bool) -> None:
        """A member joins, with one pass or with two; `late` ones were not there when automations began."""
        user = None
        two = self.draw.random() < 0.3
        passes = []
        for _ in range(2 if two else 1):
            columns = {} if user is None else {"user_id": user}
            made = self.shop.member(
                self.program, user={"created_at": joined} if user is None else None, points=0, **columns
            )
            user = self.shop.value("select user_id from passes_master where id = %s", [made])
            passes.append(made)
        for made in passes:
            one = Pass(made, user, joined + timedelta(seconds=1) if late else joined, joined)
            if self.draw.random() < 0.3:
                one.expires = self.now.date() + timedelta(days=self.draw.randrange(2, 200))
                self.shop.conn.execute(
                    "insert into protocol_coupon (pass_id, expiry_date) values (%s, %s)", [made, one.expires]
                )
            if self.draw.random() < 0.3:
                one.event = self.now.date() + timedelta(days=self.draw.randrange(1, 200))
                self.shop.conn.execute(
                    "insert into protocol_event_ticket (pass_id, event_date) values (%s, %s)",
                    [made, one.event],
                )
            self.oracle.passes.append(one)

    def live(self, until: datetime) -> None:
        """Visits up to `until`, each with points; now and then a member spends them."""
        span = (until - self.now).total_seconds()
        rows = []
        for n, one in enumerate(self.oracle.passes):
            keen = n * 7 % 40 + 4
            if self.draw.random() * keen < span / 86400:
                at = self.now + timedelta(seconds=self.draw.randrange(1, int(span)))
                one.visits.append(at)
                one.points = one.points + 10 if one.points < 80 else 0
                rows.append((one.id, at, one.points))
        if rows:
            self.shop.conn.execute(
                "with v as (select * from unnest(%s::uuid[], %s::timestamptz[], %s::int[]) as v (pass_id, at, points)),"
                " t as ("
                " insert into transactions (pass_id, action_type, value_change, created_at)"
                " select pass_id, 'MEMBER_EARN', 10, at from v)"
                " update passes_master p set points_balance = v.points from v where p.id = v.pass_id",
                [list(column) for column in zip(*rows, strict=True)],
            )
        self.now = until
        self.shop.clock(until)

    def run_by_hand(self) -> None:
        """`run_automations`, at whatever hour."""
        self.shop.rows("select * from run_automations(%s)", [self.program])
        for rule in self.oracle.rules:
            if rule.is_on:
                self.oracle.run(rule, self.now)

    def run_by_daemon(self) -> None:
        """What a daemon does: a run per automation and local date, from send_at on."""
        shop = self.shop
        while claimed := shop.rows("select * from passbell.claim_automation_run(%s)", [shop.worker]):
            (run,) = claimed
            shop.rows(
                "select * from passbell.automation_batch(%s, %s, %s)",
                [run["automation_id"], run["local_date"], shop.worker],
            )
        local = self.oracle.local(self.now)
        for rule in self.oracle.rules:
            due = rule.is_on and local.hour >= 9 and local.date() not in rule.runs
            if due and (rule.send_days is None or f"{local:%a}".upper() in rule.send_days):
                self.oracle.run(rule, self.now)

    def edit(self) -> None:
        """A setting changes: the zone, a parameter, the words, or whether it is on."""
        rule = self.draw.choice(self.oracle.rules)
        what = self.draw.randrange(4)
        execute = self.shop.conn.execute
        if what == 0:
            self.oracle.zone = self.draw.choice(("Europe/Berlin", "America/New_York", "Pacific/Auckland"))
            execute("update programs set timezone = %s where id = %s", [self.oracle.zone, self.program])
        elif what == 1:
            execute("update push_automations set message_text = message_text || '!' where id = %s", [rule.id])
        elif what == 2 and rule.occasion in {"DORMANT", "AFTER_VISIT", "EXPIRING"}:
            rule.parameter = str(self.draw.randrange(1, 25))
            execute(
                "update push_automations set occasion = %s where id = %s",
                [f"{rule.occasion}:{rule.parameter}", rule.id],
            )
        elif what == 3:
            execute("update push_automations set is_on = not is_on where id = %s", [rule.id])
            if rule.is_on:
                rule.is_on = False
            else:
                self.oracle.switch_on(rule, self.now)

    def told(self) -> set[tuple[UUID, UUID, str, date]]:
        """The proofs."""
        rows = self.shop.rows("select automation_id, person_id, occasion, local_date from passbell.occasions")
        return {(r["automation_id"], r["person_id"], r["occasion"], r["local_date"]) for r in rows}

    def expected(self) -> set[tuple[UUID, UUID, str, date]]:
        """What the oracle says."""
        return {
            (rule.id, person, key, day)
            for rule in self.oracle.rules
            for (person, key), day in rule.told.items()
        }


@pytest.mark.timeout(900 if LONG else 120)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_rings_exactly_what_the_oracle_says(shop: Shop, seed: int) -> None:
    """All ten occasions over months, two changes of the clocks, outages and edits: not one early, late or twice."""
    town = Restaurant(shop, seed)
    names = {rule.id: f"{rule.occasion}:{rule.parameter}" for rule in town.oracle.rules}
    outages = {*range(40, 43), *range(90, 102), *range(300, 305)}
    for day in range(DAYS):
        morning = FIRST + timedelta(days=day, hours=town.draw.choice((15, 16, 20)))
        town.live(morning)
        if town.draw.random() < 0.08:
            town.arrive(town.now - timedelta(minutes=30), late=True)
        if town.draw.random() < 0.1:
            town.edit()
        if day not in outages:
            if town.draw.random() < 0.5:
                town.run_by_daemon()
            else:
                town.run_by_hand()
        if day % 50 == 49 or day == DAYS - 1:
            told, expected = town.told(), town.expected()
            wrong = sorted((names[a], str(p)[:8], k, str(d), day) for a, p, k, d in told - expected)
            lost = sorted((names[a], str(p)[:8], k, str(d), day) for a, p, k, d in expected - told)
            assert (wrong, lost) == ([], []), (town.oracle.zone, wrong[:9], lost[:9])
    rung = {names[a].partition(":")[0] for a, _, _, _ in town.told()}
    if seed == 0:
        assert len(rung) >= 8, "a life in which most occasions come up"
