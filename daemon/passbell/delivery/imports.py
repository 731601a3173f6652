"""The import loop: claims member imports, downloads and checks their files, applies them batch by batch.

Between the two the whole file is in passbell.import_staged, so the daemon that goes on after a crash needs no file and
repeats nothing (sql/functions/73_import_batches.sql).

What reads files, links, addresses and phone numbers is imported when the first import comes: most daemons never see
one, and it is 15 MB.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from passbell.database.claims import Claims
from passbell.database.filequeue import ImportQueue
from passbell.delivery.loops import Backoff
from passbell.delivery.work import stage_file, took_too_long, work_off
from passbell.errors import CampaignError, DatabaseUnavailable, LeaseLost, PassbellError

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.database.claims import Claim
    from passbell.database.filequeue import ClaimedImport
    from passbell.database.pool import Database
    from passbell.delivery.loops import Wakeup
    from passbell.settings import Settings

__all__ = ["run_imports"]

log = structlog.get_logger()


async def run_imports(settings: Settings, database: Database, worker: UUID, wakeup: Wakeup) -> None:
    """Work off the open imports, one at a time per program, then wait to be woken; until cancelled."""
    imports, claims = _Imports(settings, database, worker), Claims()
    backoff = Backoff()
    while True:
        try:
            await work_off(imports, claims)
            backoff.reset()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="imports", reason=str(error))
            await asyncio.sleep(backoff.next())
            continue
        await wakeup.wait_for_work(settings.poll_seconds)


class _Imports:
    """The imports as a kind of work, see delivery/work.py."""

    def __init__(self, settings: Settings, database: Database, worker: UUID) -> None:
        self._lease = max(60.0, settings.lease_seconds)
        self._settings = settings
        self._imports = ImportQueue(database, worker, self._lease)
        self.renew_every: float | None = self._lease / 3

    def names(self, held: ClaimedImport) -> dict[str, str]:
        """The import's id."""
        return {"id": str(held.import_id), "where": "import"}

    async def claim(self, claim: Claim) -> ClaimedImport | None:
        """Take the next one."""
        return await self._imports.claim(claim)

    async def renew(self, held: ClaimedImport) -> bool:
        """Extend the lease."""
        return await self._imports.renew(held)

    async def release(self, held: ClaimedImport) -> None:
        """A graceful stop: the next daemon goes on with it at once."""
        await self._imports.release(held)

    async def work(self, held: ClaimedImport) -> None:
        """Stage its rows and apply them, or record why that is impossible."""
        log.info("import_claimed", id=str(held.import_id), action=held.action, detail=held.detail)
        if held.action == "failed":
            return
        from passbell.files.csv import CsvError  # noqa: PLC0415 - see the module's docstring
        from passbell.files.download import FetchError  # noqa: PLC0415

        try:
            if held.action == "download":
                await self._stage(held)
            while await self._imports.batch(held) > 0:
                pass
        except (FetchError, CsvError, CampaignError) as error:
            await self._failed(held, error, again=isinstance(error, FetchError) and error.temporary)
        except LeaseLost:
            raise
        except PassbellError as error:
            if isinstance(error, DatabaseUnavailable) and not took_too_long(error):
                raise
            await self._failed(held, error, again=True)
        except Exception as error:
            # An error of this program, or a file of an unforeseen kind: it concerns this import alone.
            log.exception("import_broke", id=str(held.import_id))
            await self._failed(
                held, PassbellError(f"An unexpected error ({type(error).__name__})."), again=True
            )
        else:
            log.info("import_completed", id=str(held.import_id))

    async def _stage(self, held: ClaimedImport) -> None:
        from passbell.database.imports import HeldImport, load_members  # noqa: PLC0415 - see the module's docstring

        rows = await stage_file(
            self._settings, held.csv_url or "", load_members, HeldImport.of(held), self._lease
        )
        log.info("import_staged", id=str(held.import_id), rows=rows)

    async def _failed(self, held: ClaimedImport, error: PassbellError, *, again: bool) -> None:
        log.warning("import_failed", id=str(held.import_id), reason=str(error), again=again)
        await self._imports.failed(held, str(error), again=again)
