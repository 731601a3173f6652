"""Files as a daemon's work: lists by URL and member imports are renewed, worked off, handed back, or failed.

A list is claimed with its campaign (`Queue.claim_campaign`), an import by itself. The files are read elsewhere
(`passbell.database.lists`, `passbell.database.imports`), in modules that a daemon loads only when there is a file. The
rules are in sql/functions/24_list_loads.sql, 71_import_claims.sql and 73_import_batches.sql.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, LiteralString, NamedTuple, TypeVar

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from passbell.database.claims import Claim
    from passbell.database.pool import Database

__all__ = ["BATCH", "IMPORT_BATCH", "RELEASE_IMPORT", "ClaimedImport", "ImportQueue", "ListLoad", "ListQueue"]

BATCH: Final = 1_000
"""Rows per transaction: what a crash can lose at most, and what other writers of these members may wait for."""
BATCH_SECONDS: Final = 600.0
"""Deadline of a batch; a dry run is a single one. After half of it the server cuts what hangs."""

IMPORT_BATCH: Final = """
    select processed, remaining
      from passbell.import_batch(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_limit => %(batch)s,
           p_lease_seconds => %(lease)s::numeric)
"""
RELEASE_IMPORT: Final = (
    "select passbell.release_import(p_import => %(import_id)s, p_claim_token => %(token)s)"
)


class ListLoad(NamedTuple):
    """The list of a claimed campaign: its address, and the token that every write carries."""

    campaign: UUID
    token: UUID
    url: str


class ClaimedImport(NamedTuple):
    """What claim_import did: action is download, apply or failed, and only the first two are held."""

    import_id: UUID
    action: str
    csv_url: str | None
    claim_token: UUID | None
    region: str | None
    date_order: str | None
    today: date | None
    detail: str | None
    encoding: str | None


Held = TypeVar("Held", ListLoad, ClaimedImport)


class _FileQueue(Generic[Held]):
    """What lists and imports have in common while a daemon holds one: every write carries its token."""

    _renew: LiteralString
    _release: LiteralString
    _failed: LiteralString

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease = lease_seconds

    def _proof(self, held: Held) -> dict[str, Any]:
        """Which file it is, and the token under which it is held."""
        raise NotImplementedError

    async def renew(self, held: Held) -> bool:
        """Extend the lease; false if it is lost, or the campaign or import was cancelled."""
        return bool(await self._database.value(self._renew, {**self._proof(held), "lease": self._lease}))

    async def release(self, held: Held) -> None:
        """Hand it back: not a failed try."""
        await self._database.fetch(self._release, self._proof(held), deadline=3)

    async def failed(self, held: Held, detail: str, *, again: bool) -> None:
        """The file could not be had or not be used; `again`: it may work later."""
        await self._database.fetch(self._failed, {**self._proof(held), "detail": detail, "again": again})


class ListQueue(_FileQueue[ListLoad]):
    """The lists in one daemon's hands."""

    _renew = """
        select passbell.renew_list_load(
               p_campaign => %(campaign)s, p_claim_token => %(token)s, p_lease_seconds => %(lease)s::numeric)
    """
    _release = "select passbell.release_list_load(p_campaign => %(campaign)s, p_claim_token => %(token)s)"
    _failed = """
        select passbell.list_failed(
               p_campaign => %(campaign)s, p_claim_token => %(token)s, p_detail => %(detail)s, p_again => %(again)s)
    """

    def _proof(self, held: ListLoad) -> dict[str, Any]:
        return {"campaign": held.campaign, "token": held.token}


class ImportQueue(_FileQueue[ClaimedImport]):
    """The imports of one worker."""

    _renew = """
        select passbell.renew_import(
               p_import => %(import_id)s, p_claim_token => %(token)s, p_lease_seconds => %(lease)s::numeric)
    """
    _release = RELEASE_IMPORT
    _failed = """
        select passbell.import_failed(
               p_import => %(import_id)s, p_claim_token => %(token)s, p_detail => %(detail)s, p_again => %(again)s)
    """

    def __init__(self, database: Database, worker: UUID, lease_seconds: float) -> None:
        super().__init__(database, lease_seconds)
        self._worker = worker

    def _proof(self, held: ClaimedImport) -> dict[str, Any]:
        return {"import_id": held.import_id, "token": held.claim_token}

    async def claim(self, claim: Claim) -> ClaimedImport | None:
        """Take the oldest import that is open, or the one that is held under the token."""
        row = await self._database.row(
            _CLAIM_IMPORT, {"worker": self._worker, "lease": self._lease, **claim._asdict()}
        )
        return ClaimedImport(*row) if row else None

    async def batch(self, held: ClaimedImport) -> int:
        """Apply one batch; returns how many rows wait."""
        row = await self._database.row(
            IMPORT_BATCH,
            {**self._proof(held), "batch": BATCH, "lease": self._lease},
            deadline=BATCH_SECONDS,
            cut_after=BATCH_SECONDS / 2,
        )
        return row[1] if row else 0


_CLAIM_IMPORT: Final = """
    select c.import_id, c.action, c.csv_url, c.claim_token, c.region, c.date_order, c.today, c.detail,
           passbell.import_encoding(p_import => c.import_id, p_claim_token => c.claim_token)
      from passbell.claim_import(
           p_worker => %(worker)s, p_lease_seconds => %(lease)s::numeric, p_token => %(token)s, p_again => %(again)s) c
"""
