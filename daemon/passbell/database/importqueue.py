"""Member imports as a queue, for the daemon's loop: claim, apply a batch, renew, hand back, fail.

Reading files is another module's (`passbell.database.imports`), which a daemon loads only when there is an import.
The rules are in sql/functions/71_import_claims.sql and 73_import_batches.sql.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from passbell.database.claims import Claim
    from passbell.database.pool import Database

__all__ = ["BATCH", "IMPORT_BATCH", "RELEASE_IMPORT", "ClaimedImport", "ImportQueue"]

BATCH: Final = 1_000
"""Rows per transaction: what a crash can lose at most, and what other writers of these members may wait for."""
BATCH_SECONDS: Final = 600.0
"""Deadline of a batch; a dry run is a single one. After half of it the server cuts what hangs."""


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
            _CLAIM, {"worker": self._worker, "lease": self._lease, **claim._asdict()}
        )
        return ClaimedImport(*row) if row else None

    async def batch(self, held: ClaimedImport) -> int:
        """Apply one batch; returns how many rows wait."""
        row = await self._database.row(
            IMPORT_BATCH,
            {**_named(held), "batch": BATCH, "lease": self._lease},
            deadline=BATCH_SECONDS,
            cut_after=BATCH_SECONDS / 2,
        )
        return row[1] if row else 0

    async def renew(self, held: ClaimedImport) -> bool:
        """Extend the lease; false if it is lost, or the import was cancelled."""
        return bool(await self._database.value(_RENEW, {**_named(held), "lease": self._lease}))

    async def release(self, held: ClaimedImport) -> None:
        """Hand it back: not a failed try."""
        await self._database.fetch(RELEASE_IMPORT, _named(held), deadline=3)

    async def failed(self, held: ClaimedImport, detail: str, *, again: bool) -> None:
        """It could not be done; `again`: it may work later."""
        await self._database.fetch(_FAILED, {**_named(held), "detail": detail, "again": again})


def _named(held: ClaimedImport) -> dict[str, Any]:
    return {"import_id": held.import_id, "token": held.claim_token}


_CLAIM: Final = """
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
_RENEW: Final = """
    select passbell.renew_import(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_lease_seconds => %(lease)s::numeric)
"""
RELEASE_IMPORT: Final = (
    "select passbell.release_import(p_import => %(import_id)s, p_claim_token => %(token)s)"
)
_FAILED: Final = """
    select passbell.import_failed(
           p_import => %(import_id)s, p_claim_token => %(token)s, p_detail => %(detail)s, p_again => %(again)s)
"""
