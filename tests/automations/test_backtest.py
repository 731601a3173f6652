"""The backtest reads members and visits once for all days; each day says what the rule says of it alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from psycopg import sql

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop

DAYS = 25
OCCASIONS = (
    "DORMANT:9",
    "DORMANT:0",
    "AFTER_VISIT:1",
    "AFTER_VISIT:14",
    "ANNIVERSARY",
    "EVERY:FRI",
    "EVERY:MON,TUE,SUN",
    "EVERY:31",
    "REACHED:50",
)
ONE_DAY = """
    select count(*)
      from public.push_automations a
     cross join lateral passbell.due_people(a, %(day)s, passbell.as_of(a.program_id, %(day)s), false) d
     where a.id = %(automation)s
"""


def busy_club(shop: Shop, **columns: object) -> UUID:
    """A program of 60 people: some with two passes, without a wallet, opted out, or without a user."""
    chance = random.Random(11)  # noqa: S311 - no secret
    program = shop.program(timezone="Asia/Tokyo", **columns)
    other = shop.program()
    for number in range(60):
        user = {"marketing_opt_in": chance.random() < 0.8} if number % 6 else None
        passes = [
            shop.member(
                program,
                user=user,
                points=number,
                status=chance.choice(["INSTALLED", "UNINSTALLED"]),
            )
        ]
        owner = shop.value("select user_id from passes_master where id = %s", [passes[0]])
        if number % 3 == 0 and owner:
            passes += [shop.member(program, user_id=owner), shop.member(other, user_id=owner)]
        shop.conn.execute(
            "update users set created_at = now() - interval '2 years' - %s * interval '1 day' where id = %s",
            [chance.randrange(40) - 8, owner],
        )
        for pass_id in passes:
            for _ in range(chance.choice((0, 1, 2, 6))):
                # Hours, so that two passes of a person are used at the same moment now and then; some visits lie ahead.
                shop.conn.execute(
                    "insert into transactions (pass_id, action_type, value_change, created_at)"
                    " values (%s, 'MEMBER_EARN', 10, date_trunc('day', now()) + %s * interval '8 hours')",
                    [pass_id, chance.randrange(-120, 6)],
                )
    return program


@pytest.mark.parametrize(
    "columns",
    [{}, {"send_days": "MON,THU"}, {"reward_points": 5, "catch_up_days": 0}, {"target_query": "POINTS:20"}],
    ids=["every day", "some days", "opted out are given points", "an audience"],
)
def test_a_backtest_says_of_each_day_what_the_rule_says_of_it(shop: Shop, columns: dict[str, object]) -> None:
    """For every rule: as many people as are due when that day is asked about alone, with the visits up to it."""
    program = busy_club(shop)
    counted = 0
    for occasion in OCCASIONS:
        automation = shop.value(
            "with made as (insert into push_automations (program_id, occasion, message_text, is_on)"
            " values (%s, %s, 'Hello', true) returning id) select id from made",
            [program, occasion],
        )
        for name, value in columns.items():
            shop.conn.execute(
                sql.SQL("update push_automations set {} = %s where id = %s").format(sql.Identifier(name)),
                [value, automation],
            )
        found = shop.rows("select * from automation_preview(%s, %s)", [automation, DAYS])
        assert len(found) == DAYS
        crossing = occasion.startswith("REACHED")
        for day in found[-1:] if crossing else found:
            alone = shop.value(ONE_DAY, {"day": day["local_date"], "automation": automation})
            assert day["due"] == alone, (occasion, day)
            counted += alone
    assert counted > 100
