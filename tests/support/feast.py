"""A program whose members have their birthday today, on the real clock; and what they were given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from .shop import Row, Shop

__all__ = ["feast", "gifts"]

REWARD = 50
# 28 years ago: a leap day finds its like.
_USERS = """
insert into users (email, first_name, birth_date)
select 'guest' || n || '@example.com', 'Guest', (now() at time zone 'UTC')::date - interval '28 years'
  from generate_series(1, %s::int) as n
"""
_PASSES = """
insert into passes_master (program_id, user_id, protocol, status, external_id, passkit_internal_id, points_balance)
select %s, u.id, 'MEMBERSHIP', 'INSTALLED', g.name, rpad(g.name || 'x', 22, '0'), 0
  from users u cross join lateral split_part(u.email, '@', 1) as g (name)
 where g.name like 'guest%%'
"""
_GIFTS = """
select count(*) filter (where points_balance = %(reward)s) as once,
       count(*) filter (where points_balance not in (0, %(reward)s)) as wrong,
       (select count(*) from birthday_logs l where l.program_id = %(program)s) as logged,
       (select count(*) from passbell.birthday_runs r
         where r.program_id = %(program)s and r.completed_at is not null) as done
  from passes_master where program_id = %(program)s
"""


def feast(shop: Shop, guests: int) -> UUID:
    """The program with its bot switched off: switch `birthday_bot_enabled` on, and the gifts are due at once."""
    program = shop.program(
        "Feast",
        timezone="UTC",
        birthday_reward_points=REWARD,
        birthday_message="Happy Birthday {first_name}: {points}!",
        birthday_send_at="00:00",
    )
    shop.rows(_USERS, [guests])
    shop.rows(_PASSES, [program])
    return program


def gifts(shop: Shop, program: UUID) -> Row:
    """Members with the reward `once`, with anything else (`wrong`), gifts `logged`, and whether the day is `done`."""
    return shop.row(_GIFTS, {"program": program, "reward": REWARD})
