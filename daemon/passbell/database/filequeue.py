"""Files as a daemon's work: lists by URL and member imports are renewed, worked off, handed back, or failed.

A list is claimed with its campaign (`Queue.claim_campaign`), an import by itself. The files are read elsewhere
(`passbell.database.lists`, `passbell.database.imports`), in modules that a daemon loads only when there is a file. The
rules are in sql/functions/24_list_loads.sql, 71_import_claims.sql and 73_import_batches.sql.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

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


class ListLoad(NamedTuple):
    """The list of a claimed campaign: its address, and the token that every write carries."""

    campaign: UUID
    token: UUID
    url: str


class ListQueue:
    """The lists in one daemon's hands."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease = lease_seconds

    async def renew(self, load: ListLoad) -> bool:
        """Extend the lease; false if it is lost, or the campaign was cancelled."""
        return bool(await self._database.value(_RENEW_LIST, {**_proof_of_list(load), "lease": self._lease}))

    async def release(self, load: ListLoad) -> None:
        """Hand it back: not a failed try."""
        await self._database.fetch(_RELEASE_LIST, _proof_of_list(load), deadline=3)

    async def failed(self, load: ListLoad, detail: str, *, again: bool) -> None:
        """The list could not be had; `again`: it may work later."""
        await self._database.fetch(_LIST_FAILED, {**_proof_of_list(load), "detail": detail, "again": again})


def _proof_of_list(load: ListLoad) -> dict[str, Any]:
    return {"campaign": load.campaign, "token": load.token}


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


class ImportQueue:
    """The imports of one worker."""

    def __init__(self, database: Database, worker: UUID, lease_seconds: float) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease_seconds

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
            {**_proof_of_import(held), "batch": BATCH, "lease": self._lease},
            deadline=BATCH_SECONDS,
            cut_after=BATCH_SECONDS / 2,
        )
        return row[1] if row else 0

    async def renew(self, held: ClaimedImport) -> bool:
        """Extend the lease; false if it is lost, or the import was cancelled."""
        return bool(
            await self._database.value(_RENEW_IMPORT, {**_proof_of_import(held), "lease": self._lease})
        )

    async def release(self, held: ClaimedImport) -> None:
        """Hand it back: not a failed try."""
        await self._database.fetch(RELEASE_IMPORT, _proof_of_import(held), deadline=3)

    async def failed(self, held: ClaimedImport, detail: str, *, again: bool) -> None:
        """It could not be done; `again`: it may work later."""
        await self._database.fetch(
            _IMPORT_FAILED, {**_proof_of_import(held), "detail": detail, "again": again}
        )


def _proof_of_import(held: ClaimedImport) -> dict[str, Any]:
    return {"import_id": held.import_id, "token": held.claim_token}


_RENEW_LIST: Final = """
    select passbell.renew_list_load(
           p_campaign => %(campaign)s, p_claim_token => %(token)s, p_lease_seconds => %(lease)s::numeric)
"""
_RELEASE_LIST: Final = (
    "select passbell.release_list_load(p_campaign => %(campaign)s, p_claim_token => %(token)s)"
)
_LIST_FAILED: Final = """
    select passbell.list_failed(
           p_campaign => %(campaign)s, p_claim_token => %(token)s, p_detail => %(detail)s, p_again => %(again)s)
"""
_CLAIM_IMPORT: Final = """
    select c.import_id, c.action, c.csv_url, c.claim_token, c.region, c.date_order, c.today, c.detail,
           passbell.import_encoding(p_import => c.import_id, p_claim_token => c.claim_token)
      from passbell.claim_import(
           p_worker => %(worker)s, p_lease_seconds => %(lease)s::numeric, p_token => %(token)s, p_again => %(again)s) c
"""
IMPORT_BATCH: Final = """
    select processed, remaining
      from passbell.import_batch(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_limit => %(batch)s,
           p_lease_seconds => %(lease)s::numeric)
"""
_RENEW_IMPORT: Final = """
    select passbell.renew_import(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_lease_seconds => %(lease)s::numeric)
"""
RELEASE_IMPORT: Final = (
    "select passbell.release_import(p_import => %(import_id)s, p_claim_token => %(token)s)"
)
_IMPORT_FAILED: Final = """
    select passbell.import_failed(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_detail => %(detail)s, p_again => %(again)s)
"""
