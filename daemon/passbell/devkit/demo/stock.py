"""Fills an empty platform and a sandbox with believable members; compose.yaml runs it.

The database's address and PassKit's come from the settings. A database that has programs is left as it is; the sandbox
forgets everything when it ends, so it is told of them each time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import psycopg

from passbell.devkit.demo.members import passkit_records, populate
from passbell.devkit.sandbox.remote import Remote
from passbell.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passbell.devkit.demo.members import PassKitRecord

__all__ = ["bring_in", "main"]

GENERATION: Final = "4"
PASSES: Final = 300
KINDS: Final = {"MEMBERSHIP": "member", "COUPON": "coupon", "EVENT_TICKET": "ticket"}


def bring_in(remote: Remote, records: Iterable[PassKitRecord]) -> None:
    """Tell a sandbox of programs and their passes."""
    known = list(records)
    remote.seed(
        (
            {
                "id": record.passkit_id,
                "externalId": record.external_id,
                "owner": record.program_id,
                "metaData": record.meta_data,
                "points": record.points,
                "installed": record.installed,
                "person": {"forename": record.forename or "", "surname": record.surname or ""},
            }
            for record in known
        ),
        owners=[
            {"id": program, "kind": KINDS[protocol]}
            for program, protocol in {(record.program_id, record.protocol) for record in known}
        ],
    )


def main() -> int:
    """Fill both; says what is there now."""
    settings = Settings()
    assert settings.database_url is not None  # noqa: S101 - set by compose.yaml
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        row = connection.execute("select count(*) from public.programs").fetchone()
        if row and row[0] == 0:
            populate(connection, GENERATION, passes=PASSES)
        records = list(passkit_records(connection))
    with Remote(settings.passkit_url) as remote:
        bring_in(remote, records)
    sys.stdout.write(f"{len(records)} passes are in the sandbox.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
