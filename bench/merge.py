"""What it costs to keep the other fields of a record: requests per push with `PASSBELL_METADATA=merge`.

    .venv/bin/python bench/merge.py [--passes 10000]

PassKit replaces `metaData` as a whole, so each record is read before it is written. Where the list endpoint filters by
id a hundred are read with one request, else one by one. Counted at the sandbox. Goal: at most 1.1 requests per push
where the list endpoint filters.
"""

from __future__ import annotations

import argparse
import sys

import psycopg
from stand.contestants import Passbell
from stand.database import Databases

from passbell.devkit.demo.members import passkit_records
from passbell.devkit.demo.stock import bring_in
from passbell.devkit.sandbox.remote import Remote
from support.processes import Sandbox

GOAL = 1.1


def main() -> int:
    """Measure both kinds of list endpoint; 1 if the goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", type=int, default=10_000)
    options = parser.parse_args()
    reached = {}
    with Databases(options.passes) as databases, Sandbox() as sandbox, Remote(sandbox.url) as remote:
        for filters in (True, False):
            for chunk_size in (50, 500):
                with databases.fresh() as url:
                    remote.reset()
                    remote.options(filter_by_id=filters)
                    with psycopg.connect(url) as connection:
                        bring_in(remote, passkit_records(connection))
                    settings = {"METADATA": "merge", "CHUNK_SIZE": str(chunk_size)}
                    with Passbell(url, sandbox.url, settings) as daemon:
                        before = remote.overview()
                        daemon.order()
                        remote.wait(timeout=80, pushes=options.passes)
                        after = remote.overview()
                calls, pushes = after["calls"] - before["calls"], after["pushes"] - before["pushes"]
                reached[filters, chunk_size] = calls / pushes
                print(
                    f"list endpoint {'filters by id' if filters else 'refuses ids'}, chunks of {chunk_size:>3}:"
                    f" {pushes:,} pushes, {calls:,} requests, {calls / pushes:.3f} per push"
                )
    worst = max(value for (filters, _), value in reached.items() if filters)
    print(f"goal {GOAL} where it filters   {'met' if worst <= GOAL else 'MISSED'}")
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
