"""`psql` as far as the documents use it: a URL, -f, -c, standard input; -1, -q and -v change nothing here.

Everything goes to the server as it is, file by file, in one transaction each, and the first error ends it. Indexes that
are built concurrently go one by one, as psql sends them; with -1 they fail, as there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import psycopg


def statements(texts: list[str], *, one: bool) -> list[str]:
    """Split what may not share a transaction."""
    return [
        part
        for text in texts
        for part in (text.split(";\n") if "create index concurrently" in text and not one else [text])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="psql")
    parser.add_argument("url")
    parser.add_argument("-f", dest="files", action="append", default=[])
    parser.add_argument("-c", dest="commands", action="append", default=[])
    parser.add_argument("-v", dest="variables", action="append")
    parser.add_argument("-q", action="store_true")
    parser.add_argument("-1", dest="one", action="store_true")
    given = parser.parse_args()
    texts = [Path(name).read_text("utf-8") for name in given.files] + given.commands
    try:
        with psycopg.connect(given.url, autocommit=True) as connection:
            for text in statements(texts or [sys.stdin.read()], one=given.one):
                cursor = connection.execute(text.encode())
                while True:
                    for row in cursor.fetchall() if cursor.description else []:
                        print("|".join("" if cell is None else str(cell) for cell in row))  # noqa: T201
                    if not cursor.nextset():
                        break
    except psycopg.Error as error:
        sys.exit(f"psql: {error}")


main()
