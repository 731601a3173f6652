"""The import loop: claims member imports, downloads and checks their files, applies them batch by batch.

Between the two the whole file stands in passbell.import_staged, so whoever goes on after a crash needs no file and
repeats nothing (sql/functions/73_import_batches.sql).

What reads files, links, addresses and phone numbers is imported when the first import comes: most daemons never see
one, and it is 15 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Any, Final

import psycopg
import structlog

from passbell.db.database import CONNECTION_OPTIONS, SHORT_LEASH
from passbell.engine.backoff import Backoff
from passbell.engine.leased import in_thread, while_leased
from passbell.engine.wakeups import SELDOM
from passbell.errors import CampaignError, DatabaseUnavailable, LeaseLost, PassbellError, from_database

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.db.database import Database
    from passbell.db.imports import HeldImport
    from passbell.engine.wakeups import Bell
    from passbell.settings import Settings

__all__ = ["run_imports"]

log = structlog.get_logger()

BATCH_SECONDS: Final = 600.0
"""Deadline of a batch; a dry run is a single one."""
SILENT_MILLISECONDS: Final = "60000"
"""Between two statements of the staging transaction; see SHORT_LEASH."""


async def run_imports(settings: Settings, database: Database, worker: UUID, bell: Bell) -> None:
    """Work off the imports one after the other, then wait to be rung; until cancelled."""
    imports = _Imports(settings, database, worker)
    backoff = Backoff()
    while True:
        try:
            while await imports.work_one():
                pass
            backoff.reset()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", where="imports", reason=str(error))
            await asyncio.sleep(backoff.next())
            continue
        await bell.wait(max(settings.poll_seconds, SELDOM))


class _Imports:
    """One daemon's part in the imports."""

    def __init__(self, settings: Settings, database: Database, worker: UUID) -> None:
        self._database = database
        self._worker = worker
        self._dsn = settings.database_dsn
        self._lease = max(60.0, settings.lease_seconds)
        self._settings = settings
        self._interrupted = False

    async def work_one(self) -> bool:
        """Claim one import and work it off; false if there was none."""
        if self._interrupted:  # what stands under our name need not wait for its lease
            await self._database.fetch("select passbell.release_imports(%s)", (self._worker,))
        self._interrupted = True
        row = await self._database.row(
            "select c.import_id, c.action, c.csv_url, c.claim_token, c.region, c.date_order, c.today, c.detail,"
            "       passbell.import_encoding(c.import_id, c.claim_token)"
            "  from passbell.claim_import(%s, %s::numeric) c",
            (self._worker, self._lease),
        )
        worked = row is not None and await self._work_on(row)
        self._interrupted = False
        return worked

    async def _work_on(self, row: tuple[Any, ...]) -> bool:
        import_id, action, csv_url, claim_token, region, date_order, today, detail, encoding = row
        log.info("import_claimed", id=str(import_id), action=action, detail=detail)
        if action != "failed":
            from passbell.db.imports import HeldImport  # noqa: PLC0415 - see the module's docstring

            await self._work(
                HeldImport(import_id, claim_token, region, date_order, today, encoding), action, csv_url
            )
        return True

    async def _work(self, held: HeldImport, action: str, csv_url: str | None) -> None:
        from passbell.csvfile import CsvError  # noqa: PLC0415 - see the module's docstring
        from passbell.fetch import FetchError  # noqa: PLC0415

        name = str(held.import_id)
        try:
            if action == "download":
                await while_leased(
                    self._stage(held, csv_url or ""), lambda: self._renew(held), self._lease / 3
                )
            await while_leased(self._apply(held), lambda: self._renew(held), self._lease / 3)
        except LeaseLost:
            log.warning("lease_lost", id=name, where="import")
        except (FetchError, CsvError, CampaignError) as error:
            await self._failed(held, error, again=isinstance(error, FetchError) and error.temporary)
        except DatabaseUnavailable:
            raise
        except PassbellError as error:
            await self._failed(held, error, again=True)
        except Exception as error:
            # Of our own making, or a file that nobody has thought of: it concerns this import alone.
            log.exception("import_broke", id=name)
            await self._failed(
                held, PassbellError(f"An unexpected error ({type(error).__name__})."), again=True
            )
        except asyncio.CancelledError:
            # A graceful stop: the next daemon goes on at once where it stands.
            with contextlib.suppress(PassbellError):
                await self._database.fetch(
                    "select passbell.release_import(%s, %s)", (held.import_id, held.claim_token), deadline=3
                )
            raise

    async def _stage(self, held: HeldImport, url: str) -> None:
        from passbell.fetch import FetchPolicy, download  # noqa: PLC0415

        settings = self._settings
        policy = FetchPolicy(hosts=settings.csv_hosts, allow_private=settings.csv_allow_private)
        stop = threading.Event()
        with tempfile.TemporaryFile(prefix="passbell-import-") as file:
            await download(url, file, policy)
            rows = await in_thread(stop, _stage, self._dsn, held, file, stop, self._lease)
        log.info("import_staged", id=str(held.import_id), rows=rows)

    async def _apply(self, held: HeldImport) -> None:
        from passbell.db.imports import BATCH  # noqa: PLC0415

        remaining = 1
        while remaining > 0:
            row = await self._database.row(
                "select remaining from passbell.import_batch(%s, %s, %s, %s::numeric)",
                (held.import_id, held.claim_token, BATCH, self._lease),
                deadline=BATCH_SECONDS,
            )
            remaining = row[0] if row else 0
        log.info("import_completed", id=str(held.import_id))

    async def _renew(self, held: HeldImport) -> bool:
        row = await self._database.row(
            "select passbell.renew_import(%s, %s, %s::numeric)",
            (held.import_id, held.claim_token, self._lease),
        )
        return bool(row and row[0])

    async def _failed(self, held: HeldImport, error: PassbellError, *, again: bool) -> None:
        log.warning("import_failed", id=str(held.import_id), reason=str(error), again=again)
        await self._database.fetch(
            "select passbell.import_failed(%s, %s, %s, %s)",
            (held.import_id, held.claim_token, str(error), again),
        )


def _stage(dsn: str, held: HeldImport, file: IO[bytes], stop: threading.Event, lease: float) -> int:
    from passbell.db.imports import read_file, stage_members  # noqa: PLC0415

    members = read_file(held, file)
    options: dict[str, Any] = CONNECTION_OPTIONS
    try:
        with psycopg.connect(dsn, **options) as connection, connection.transaction():
            connection.execute(SHORT_LEASH, (SILENT_MILLISECONDS,))
            return stage_members(connection, held, members, stop, lease)
    except psycopg.Error as error:
        raise from_database(error) from error
