"""How results are shown: tables and bars for people, one JSON document with `--json`."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.progress import Progress

    from passbell.cli.database import Row

__all__ = [
    "as_json",
    "bar",
    "campaign_pairs",
    "json_option",
    "moment",
    "number",
    "plain",
    "print_campaigns",
    "print_pairs",
    "print_table",
    "progress_bar",
    "shortened",
]

json_option = click.option("--json", "json_wanted", is_flag=True, help="Print the result as JSON.")

_BAR_CELLS = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Commands for the terminal, and marks that turn the rest of the line around."""
_WHOLE = 40  # columns of a word that is not broken: an id has 36
_WITH_BAR = 76  # columns of id, status and bar
_WIDEST = 400  # columns of a table in a pipe


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


def progress_bar() -> Progress:
    """Return a bar with counts and the time left, on standard error; it draws nothing where that is no terminal."""
    from rich.progress import (  # noqa: PLC0415 - few commands draw one
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows under headings; the columns in `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    _console().print(table)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print one fact per line, aligned; on a terminal a long one goes on under its own column."""
    names = max((len(name) for name, _ in pairs), default=0)
    room = _width() - names - 2
    for name, value in pairs:
        # An id stays whole, even where it is longer than the line: it must be possible to copy it.
        lines = _wrapped(value, max(room, 20)) or [""]
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else name:<{names}}  {line}")


def print_campaigns(rows: Sequence[Row]) -> None:
    """Print some lines per campaign, the whole id in the first: readable at 80 columns, and greppable in a pipe."""
    console = _console()
    for row in rows:
        done = row["sent"] + row["failed"] + row["skipped"]
        head = Text.assemble(str(row["campaign_id"]), "  ", (row["status"], _COLOURS[row["status"]]))
        if row["recipient_count"] and _width() >= _WITH_BAR:
            head.append(f"{'':<{10 - len(row['status'])}}  {bar(done, row['recipient_count'])}")
        counts = [
            f"{number(row[what])} {what}"
            for what in ("sent", "failed", "skipped")
            if row[what] or what == "sent"
        ]
        total = f" of {number(row['recipient_count'])}" if row["recipient_count"] else ""
        name = row["name"] or shortened(row["message_text"] or "", MESSAGE_SHOWN)
        console.print(head, soft_wrap=True)
        for line in (
            f"{name} · {row['program'] or '-'} · {moment(row['created_at'])}",
            f"{counts[0]}{total}{''.join(f', {count}' for count in counts[1:])}",
            row["detail"],
        ):
            if line:
                for part in _wrapped(line, _width() - 2):
                    # Not click's echo, which sends UTF-8 to a terminal that says ASCII.
                    console.print(Text(f"  {part}"), soft_wrap=True)


def plain(text: str) -> str:
    """Replace control characters, so that what people typed is no command for the terminal."""
    return _CONTROL.sub(" ", text)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a text, measured in columns: Chinese and Japanese letters and most emoji take two."""
    lines: list[str] = []
    for word in plain(text).split():
        for piece in [word] if cell_len(word) <= max(width, _WHOLE) else chop_cells(word, width):
            if lines and cell_len(lines[-1]) + 1 + cell_len(piece) <= width:
                lines[-1] += f" {piece}"
            else:
                lines.append(piece)
    return lines


MESSAGE_SHOWN = 40
"""Characters of a message that stand for a campaign without a name."""

_COLOURS = {
    "COMPLETED": "green",
    "PROCESSING": "cyan",
    "PENDING": "yellow",
    "PAUSED": "yellow",
    "FAILED": "bold red",
    "CANCELLED": "dim",
    "DRAFT": "dim",
}


def shortened(text: str, size: int) -> str:
    """Cut a text to so many characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= size else f"{line[: size - 1]}…"


def campaign_pairs(row: Row) -> list[tuple[str, str]]:
    """Return what a person wants to know of one campaign, in reading order."""
    done = row["sent"] + row["failed"] + row["skipped"]
    pairs = [
        ("campaign", str(row["campaign_id"])),
        ("name", row["name"] or "-"),
        ("program", row["program"] or "-"),
        ("message", row["message"] or "-"),
        ("created", moment(row["created_at"])),
        *([("scheduled", moment(row["scheduled_at"]))] if row["scheduled_at"] else []),
        ("status", row["status"]),
        ("detail", row.get("waits_for") or row["status_detail"] or "-"),
        ("progress", bar(done, row["recipient_count"])),
        ("recipients", number(row["recipient_count"])),
        ("sent", number(row["sent"])),
        ("failed", number(row["failed"])),
        ("skipped", number(row["skipped"])),
    ]
    if row["finishes_at"] is not None:
        pairs += [("rate", f"{row['rate_per_second']:g}/s"), ("finishes", moment(row["finishes_at"]))]
    return pairs


def _width() -> int:
    """Columns to fit into: the terminal's, else those of COLUMNS, else unlimited: grep and awk read whole lines."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return max(shutil.get_terminal_size().columns, 40)
    return 100_000


def _console() -> Console:
    return Console(file=sys.stdout, width=min(_width(), _WIDEST), highlight=False)
