"""Campaigns that are over, by the hundred: written as the queue would have left them, with visits drawn by hash.

Everything is drawn with `passbell.lot` from ids made of the seed, so the same seed is the same town on every server.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from .shop import Shop

__all__ = ["START", "visits", "year"]

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
_SPACE = UUID(int=11)


def year(
    shop: Shop,
    seed: str,
    *,
    campaigns: int,
    members: int,
    percent: int = 10,
    base: float,
    effect: float = 0.0,
    every_days: int = 8,
    days: int = 7,
) -> UUID:
    """A program whose members had `campaigns` messages, one every `every_days`, and came with a probability.

    `base`: of coming within `days` without a message; `effect`: how much more for those who were sent it.
    """
    program = shop.program(f"Year {seed}", id=uuid5(_SPACE, seed))
    shop.conn.execute(
        "insert into passes_master (id, program_id, protocol, status, external_id, passkit_internal_id)"
        " select md5(%(seed)s || ' pass ' || n)::uuid, %(program)s, 'MEMBERSHIP', 'INSTALLED', %(seed)s || ' ' || n,"
        "        left(md5(%(seed)s || ' ' || n), 22) from generate_series(1, %(members)s) as n",
        {"seed": seed, "program": program, "members": members},
    )
    with shop.conn.transaction():
        shop.conn.execute("set local session_replication_role = replica")  # history is written, not made
        values = {
            "seed": seed,
            "program": program,
            "campaigns": campaigns,
            "members": members,
            "percent": percent,
            "start": START,
            "every": every_days,
            "days": days,
        }
        shop.conn.execute(
            "insert into push_campaigns (id, program_id, name, message_text, status, kind, created_at,"
            "                            started_at, completed_at, recipient_count, holdout_percent, measure_days)"
            " select md5(%(seed)s || ' campaign ' || n)::uuid, %(program)s, 'C' || n, 'Hello', 'COMPLETED',"
            "        'BROADCAST', a, a, a + interval '1 hour', %(members)s, %(percent)s, %(days)s"
            "   from generate_series(1, %(campaigns)s) as n,"
            "        lateral (select %(start)s + make_interval(days => %(every)s * n) as a) a",
            values,
        )
        if percent:
            shop.conn.execute(
                "insert into passbell.holdouts (campaign_id, percent, salt)"
                " select id, holdout_percent, id::text from push_campaigns where program_id = %s",
                [program],
            )
        shop.conn.execute(
            "insert into passbell.deliveries (campaign_id, pass_id, sent_at, outcome, reason, text_hash)"
            " select c.id, p.id, c.started_at + interval '1 minute', case when l.held then 'skipped' else 'sent' end,"
            "        case when l.held then 'held_out' end, case when not l.held then 1 end"
            "   from push_campaigns c join passes_master p on p.program_id = c.program_id,"
            "        lateral (select passbell.lot(p.id, c.id::text) * 100 < c.holdout_percent as held) l"
            "  where c.program_id = %s",
            [program],
        )
        shop.conn.execute(
            "update push_campaigns c set sent_count = d.sent, skipped_count = d.held"
            "  from (select campaign_id, count(*) filter (where outcome = 'sent') as sent,"
            "               count(*) filter (where outcome = 'skipped') as held"
            "          from passbell.deliveries"
            "         where campaign_id in (select id from push_campaigns where program_id = %s)"
            "         group by campaign_id) d"
            " where d.campaign_id = c.id",
            [program],
        )
        visits(shop, program, seed, base, effect)
    return program


def visits(shop: Shop, program: UUID, seed: str, base: float, effect: float = 0.0) -> None:
    """Everybody in the ledger of a program's campaigns comes within the window with this probability."""
    salt = hashlib.sha256(seed.encode()).hexdigest()
    shop.conn.execute(
        "insert into transactions (pass_id, action_type, value_change, created_at)"
        " select d.pass_id, 'MEMBER_EARN', 5, d.sent_at + interval '30 minutes'"
        "        + c.measure_days * interval '23 hours' * passbell.lot(d.pass_id, 'when' || c.id::text || %(salt)s)"
        "   from passbell.deliveries d join push_campaigns c on c.id = d.campaign_id"
        "  where c.program_id = %(program)s and passbell.lot(d.pass_id, 'come' || c.id::text || %(salt)s)"
        "        < %(base)s::float8 + case when d.outcome = 'sent' then %(effect)s::float8 else 0 end",
        {"program": program, "salt": salt, "base": base, "effect": effect},
    )
