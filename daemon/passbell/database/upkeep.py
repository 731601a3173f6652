"""What daemons do for the database beside the queue: retention, results, wallets, and the numbers of /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from passbell.database.pool import Database

__all__ = ["Pruned", "Upkeep"]


class Pruned(NamedTuple):
    """What a batch of retention removed from one table; `done`: nothing old is left there."""

    relation: str
    removed: int
    done: bool


class Upkeep:
    """Calls that hold nothing and may be made by any daemon at any time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim_prune(self) -> bool:
        """Whether it is this daemon's turn to prune: once a day, over all daemons."""
        return bool(await self._database.value("select passbell.claim_prune()"))

    async def prune(self) -> list[Pruned]:
        """Remove one batch of what is too old from every table."""
        rows = await self._database.fetch("select relation, removed, done from passbell.prune()", deadline=60)
        return [Pruned(*row) for row in rows]

    async def watch_wallets(self) -> bool:
        """Note passes that are new in the wallets of one program; false if no program is due."""
        return bool(await self._database.value("select passbell.watch_wallets()", deadline=60))

    async def count_due_result(self) -> bool:
        """Count the result of one campaign whose window has closed; false if none is due."""
        return bool(await self._database.value("select passbell.count_due_results(1)", deadline=120))

    async def schema_version(self, deadline: float) -> int:
        """The schema that the database has."""
        row = await self._database.row("select schema_version from passbell.settings", deadline=deadline)
        return int(row[0]) if row else 0

    async def answers(self, deadline: float) -> None:
        """Make a round trip to the database.

        Raises:
            DatabaseUnavailable: it does not answer.
        """
        await self._database.row("select 1", deadline=deadline)

    async def queue_state(self, account: str, deadline: float) -> list[tuple[str, str | None, float]]:
        """The numbers of the queue: metric, label, value."""
        rows = await self._database.fetch(_QUEUE_STATE, {"account": account}, deadline=deadline)
        return [(metric, label, value) for metric, label, value in rows]


_QUEUE_STATE: Final = "select metric, label, value from passbell.queue_state(p_account => %(account)s)"
