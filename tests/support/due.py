"""Automations, visits and runs in a small shop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from .shop import Shop

__all__ = ["automation", "run", "visit"]


def automation(shop: Shop, program: UUID, occasion: str, **columns: Any) -> UUID:
    """An automation that is on, due at any hour of the day, and holds no member back."""
    columns = {"message_text": "Hi", "is_on": True, "send_at": "00:00", "holdout_percent": 0, **columns}
    made: UUID = shop._insert("push_automations", {"program_id": program, "occasion": occasion, **columns})
    return made


def visit(shop: Shop, pass_id: UUID, at: datetime) -> None:
    """A member earns five points."""
    shop.conn.execute(
        "insert into transactions (pass_id, action_type, value_change, created_at) values (%s, 'MEMBER_EARN', 5, %s)",
        [pass_id, at],
    )


def run(shop: Shop, at: datetime) -> int:
    """Run everything that is due at a moment; how many messages."""
    shop.clock(at)
    return sum(row["fired"] for row in shop.rows("select * from run_automations()"))
