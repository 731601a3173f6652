"""`sleep` of the documents: waits for what it is there for, that no campaign is waiting or under way any more."""

from __future__ import annotations

import os
import sys
import time

import psycopg

PATIENCE = 30.0


def main() -> None:
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(os.environ["PASSBELL_DATABASE_URL"], autocommit=True) as connection:
        while connection.execute(
            "select count(*) from push_campaigns where status in ('PENDING', 'PROCESSING')"
        ).fetchone() != (0,):
            if time.monotonic() > deadline:
                sys.exit("sleep: campaigns are still waiting")
            time.sleep(0.05)


main()
