"""Runs the command line with the loops of before: see old_loops.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from passbell import errors
from passbell.cli import main
from passbell.delivery import daemon
from passbell.errors import DatabaseRefused, SchemaBehind

if TYPE_CHECKING:
    import psycopg


class UnexpectedError(Exception):
    """An error of the database that no loop knows."""


def translate(error: psycopg.Error | UnicodeError) -> Exception:
    """Translate as ever, but for what a rule of the host's or a missing table says."""
    known = errors.from_database(error)
    return UnexpectedError(str(known)) if isinstance(known, DatabaseRefused | SchemaBehind) else known


async def ends(error: Exception, dsn: str) -> bool:
    """Whether the process ends: for each of those."""
    return isinstance(error, UnexpectedError) or await original(error, dsn)


original = daemon.ends_the_process
daemon.ends_the_process = ends  # type: ignore[attr-defined]
for module in [module for name, module in sys.modules.items() if name.startswith("passbell.")]:
    if module is not errors and hasattr(module, "from_database"):
        module.from_database = translate


if __name__ == "__main__":
    main(sys.argv[1:])
