"""The words that the reader knows are data: columns.tsv, consent.tsv, months.tsv and others of this package."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def table(name: str) -> Iterator[list[str]]:
    """Read one of the tables: rows of cells, without the remarks."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return (line.split("\t") for line in text.splitlines() if line and line[0] != "#")
