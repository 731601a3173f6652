"""The closing words, for people and as JSON."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from passbell.devkit.demo.audit import Report
    from passbell.devkit.demo.screen import Screen
    from passbell.devkit.demo.show import Played

__all__ = ["as_document", "tell"]


def as_document(report: Report, played: Played, *, rate: float, seconds: float) -> dict[str, Any]:
    """Return everything that was found, for `--json`."""
    found = dataclasses.asdict(report)
    return {
        "ok": report.ok,
        "seconds": round(seconds, 1),
        "sending_seconds": round(played.seconds, 1),
        "rate_per_second": rate,
        "conservation_looks": played.looks + 1,
        "crash": None if played.crash is None else dataclasses.asdict(played.crash),
        "double_buzzes": found.pop("twice"),
        **found,
        "next": next_steps(),
    }


def tell(screen: Screen, report: Report, played: Played) -> None:
    """Print who was buzzed, who was not and why, what was checked, and what to try next."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("Campaign")
    for column in ("meant for", "not in a wallet", "opted out", "unknown", "buzzed", "failed", "seconds"):
        table.add_column(column, justify="right")
    for one in report.campaigns:
        table.add_row(
            Text(one.name),
            f"{one.matched + one.unknown:,}",
            f"{one.not_in_wallet:,}",
            f"{one.opted_out:,}",
            f"{one.unknown:,}",
            Text(f"{one.buzzed:,}", style="bold green"),
            f"{one.failed:,}",
            f"{one.seconds:.1f}",
        )
    screen.show("")
    screen.show(
        Text.assemble(
            (f"{report.phones:,} phones buzzed", "bold"),
            f" {report.buzzes:,} times in {played.seconds:.0f} s, through a crash.",
        )
    )
    screen.show("")
    screen.show(table)
    screen.show("")
    screen.show(Text("Checked against the phones, PassKit's records and the database:", style="bold"))
    screen.check(report.claims)
    screen.show("")
    screen.show(Text("What to try next", style="bold"))
    width = max(len(command) for command, _ in next_steps())
    for command, why in next_steps():
        screen.item(Text(f"  {command:<{width}}  ", style="cyan"), Text(why))
    if not report.ok:
        screen.show("")
        screen.show(Text("Something is off: see above.", style="bold red"))


def next_steps() -> list[tuple[str, str]]:
    """Return commands that work as they stand, each with what it does."""
    passbell = _command()
    return [
        (f"{passbell} demo --passes 20000", "the same with more people"),
        (f"{passbell} sandbox", "only the local PassKit, for trying things by hand"),
        (f"{passbell} check", "is my own database ready? (see docs/supabase.md)"),
        (f"{passbell} --help", "everything else"),
    ]


def _command() -> str:
    """Return how this program is called from here: by name if that works, else by its path."""
    beside = Path(sys.executable).parent / "passbell"
    found = shutil.which("passbell")
    if not beside.exists():
        return "passbell" if found else f"{sys.executable} -m passbell"
    if found and Path(found).samefile(beside):
        return "passbell"
    try:
        path = str(beside.relative_to(Path.cwd()))
    except ValueError:
        path = str(beside)
    return f'"{path}"' if " " in path else path
