"""Pieces of a Markdown page, and rows of the database, for `reference.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

__all__ = ["WIDTH", "WRITTEN", "block", "fetch", "pairs", "same", "table"]

WRITTEN = "<!-- Written by `make docs` from {}; changes here are lost. -->"
WIDTH = 100


def pairs(head: tuple[str, str], values: Iterable[Any], meanings: dict[Any, str]) -> str:
    """Return a table of values with their meaning; neither side may have one that the other lacks."""
    listed = list(values)
    same(set(listed), set(meanings), head[0])
    return table(head, ((f"`{value}`", meanings[value]) for value in listed))


def same(found: set[Any], described: set[Any], what: str) -> None:
    """Raise unless every value has its words and every word its value."""
    if found != described:
        raise ValueError(f"{what}: {found ^ described} is only in the code or only in tools/reference.py")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(head)
    lines = [line(heads), "|" + "---|" * len(heads), *(line(row) for row in rows)]
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    """Return one row; a bar inside a cell is escaped."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def block(text: str, language: str = "") -> str:
    """Return a code block."""
    return f"```{language}\n{text.rstrip()}\n```"


def fetch(connection: psycopg.Connection[Any], query: Any, parameters: Any = None) -> list[dict[str, Any]]:
    """Return all rows as dicts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
