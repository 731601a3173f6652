"""How results are shown: tables and bars for people, one JSON document with `--json`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from passbell.cli.database import Row

__all__ = ["as_json", "bar", "json_option", "moment", "number", "print_pairs", "print_table"]

json_option = click.option("--json", "json_wanted", is_flag=True, help="Print the result as JSON.")

_BAR_CELLS = 20


def as_json(value: Any) -> None:
    """Print a JSON document: times ISO 8601 with zone, uuids and decimals readable by every program."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    try:
        return float(value) if type(value).__name__ == "Decimal" else str(value)
    except ValueError:
        return str(value)


def number(value: Any) -> str:
    """Show a count with thousands separators; a dash for none."""
    return "-" if value is None else f"{value:,}"


def moment(value: datetime | None) -> str:
    """Show a time in the reader's own zone; a dash for none."""
    return "-" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def bar(done: int, total: int) -> str:
    """Draw a share of a whole in 20 cells, with the percentage."""
    share = min(1.0, done / total) if total else 0.0
    full = int(share * _BAR_CELLS)
    return "█" * full + "░" * (_BAR_CELLS - full) + f" {share:4.0%}"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows under headings; the columns in `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print one fact per line, aligned."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def campaign_pairs(row: Row) -> list[tuple[str, str]]:
    """Return what a person wants to know of one campaign, in reading order."""
    done = row["sent"] + row["failed"] + row["skipped"]
    pairs = [
        ("campaign", str(row["campaign_id"])),
        ("name", row["name"] or "-"),
        ("status", row["status"]),
        ("detail", row["status_detail"] or "-"),
        ("progress", bar(done, row["recipient_count"])),
        ("recipients", number(row["recipient_count"])),
        ("sent", number(row["sent"])),
        ("failed", number(row["failed"])),
        ("skipped", number(row["skipped"])),
    ]
    if row["finishes_at"] is not None:
        pairs += [("rate", f"{row['rate_per_second']:g}/s"), ("finishes", moment(row["finishes_at"]))]
    return pairs


def _console() -> Console:
    # Not on a terminal, rich would fold tables at 80 columns; grep and awk want whole lines.
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 400, highlight=False)
