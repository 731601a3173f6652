"""A row of `passbell.rate_limits`: the rate and the breaker of a PassKit account, or the rate of a campaign.

The rules are in sql/functions/40_rate.sql and 41_breaker.sql.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from passbell.database.rows import OWN

if TYPE_CHECKING:
    from passbell.database.pool import Database

__all__ = ["RateLimit", "Slots", "rate_key"]


def rate_key(account: str, own: str) -> str:
    """Name the row of an account's limit and breaker, as `passbell.rate_key` does."""
    return own if account == OWN else f"account:{account}"


@dataclass(frozen=True, slots=True)
class Slots:
    """A block of the account's rate: first start, the clock it refers to (both unix seconds), width (seconds)."""

    starts_at: float
    clock: float
    spacing: float


class RateLimit:
    """The calls to one row, over all daemons."""

    def __init__(self, database: Database, key: str) -> None:
        self._database = database
        self._key = key

    async def take_slots(
        self, rate: float, count: int, late: float = 0.0, late_at: float | None = None
    ) -> Slots:
        """Reserve `count` consecutive slots, `late` seconds further on.

        `late_at`: when the last late call left, unix seconds of the database's clock. A gap after it that was asked for
        already counts.
        """
        row = await self._database.row(
            _TAKE_SLOTS,
            {"account": self._key, "count": count, "rate": rate, "late": late, "late_at": late_at},
        )
        assert row is not None  # noqa: S101 - the function has OUT parameters: always one row
        return Slots(*map(float, row))  # numeric: extra_float_digits of the session cuts off a float8

    async def throttle(self, seconds: float | None) -> None:
        """PassKit said 429: slow down all daemons."""
        await self._database.fetch(
            "select passbell.throttle(p_account => %(account)s, p_seconds => %(seconds)s::numeric)",
            {"account": self._key, "seconds": seconds},
        )

    async def open_breaker(self, kind: str, reason: str) -> bool:
        """Stop the account; true if this call opened it."""
        return bool(
            await self._database.value(
                "select passbell.open_breaker(p_account => %(account)s, p_kind => %(kind)s, p_reason => %(reason)s)",
                {"account": self._key, "kind": kind, "reason": reason},
                deadline=30,
            )
        )

    async def claim_probe(self) -> bool:
        """Whether the breaker is open and this daemon shall probe now."""
        return bool(
            await self._database.value(
                "select passbell.claim_probe(p_account => %(account)s)", {"account": self._key}
            )
        )

    async def is_closed(self) -> bool:
        """Whether the account's breaker is closed, whichever daemon closed it."""
        return bool(
            await self._database.value(
                "select not exists ("
                "  select from passbell.rate_limits where account = %(account)s and breaker = 'open')",
                {"account": self._key},
            )
        )

    async def close_breaker(self) -> bool:
        """PassKit works again; true if this call closed it."""
        return bool(
            await self._database.value(
                "select passbell.close_breaker(p_account => %(account)s)", {"account": self._key}, deadline=30
            )
        )


_TAKE_SLOTS: Final = """
    select extract(epoch from starts_at)::numeric, extract(epoch from clock)::numeric, spacing::numeric
      from passbell.take_slots(
           p_account => %(account)s, p_n => %(count)s, p_rate => %(rate)s::numeric, p_late => %(late)s::float8,
           p_late_at => %(late_at)s::float8)
"""
