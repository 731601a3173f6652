"""The month's report as a printable page and as a table: one row of `push_report`, for the program's owner."""

from __future__ import annotations

import csv
import io
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STYLE", "interval_bar", "report_csv", "report_html", "report_lines"]

STYLE: Final = """
@page { size: A4; margin: 18mm } body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1f; background: #fff;
max-width: 44rem; margin: 2rem auto; padding: 0 1rem } h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.05rem;
margin: 2rem 0 .4rem } p.lead { font-size: 1.2rem; margin: 1.2rem 0 .6rem } .muted { color: #5c5c66 } table {
border-collapse: collapse; width: 100% } td { padding: .35rem 0; border-bottom: 1px solid #e4e4ea } td:last-child {
text-align: right; font-variant-numeric: tabular-nums } svg { width: 100%; height: auto }
"""


def report_lines(row: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the figures in reading order: sections of (name, value)."""
    sections = [
        (
            "Messages",
            [
                ("Campaigns", _n(row["campaigns"])),
                ("Messages sent", _n(row["messages"])),
                ("Phones reached", _n(row["phones"])),
                ("Failed", _n(row["failed"])),
                ("Birthday gifts", _n(row["gifts"])),
            ],
        ),
        (
            "Left out",
            [
                ("Held back, to measure", _n(row["held_out"])),
                ("Already got their messages that day", _n(row["capped"])),
                ("Over the limits of the program", _n(row["too_often"])),
                ("On the suppression list", _n(row["suppressed"])),
                ("Opted out", _n(row["opted_out"])),
                ("Not in a wallet any more", _n(row["not_installed"])),
                ("For another reason", _n(row["other_skips"])),
            ],
        ),
        (
            "After a message",
            [
                ("Opted out since", _n(row["opt_outs_after"])),
                ("Removed the pass since", _n(row["uninstalls_after"])),
            ],
        ),
        (
            "Passes today",
            [
                ("Passes", _n(row["passes"])),
                ("In a wallet", _n(row["passes_in_wallet"])),
                ("Created at PassKit, but on no phone", _n(row["passes_without_phone"])),
            ],
        ),
    ]
    if row["money"] is not None:
        money = f"{row['money']:,.0f} (between {row['money_lo']:,.0f} and {row['money_hi']:,.0f})"
        sections.insert(0, ("Worth, at the program's average bill", [("Guests' bills", money)]))
    return sections


def report_html(row: Mapping[str, Any]) -> str:
    """Return the whole page: no script, nothing loaded from elsewhere."""
    title = f"{row['program'] or 'Program'}, {row['month']:%B %Y}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f'<h1>{escape(str(row["program"] or "Program"))}</h1><div class="muted">{row["month"]:%B %Y}</div>',
        f'<p class="lead">{escape(row["sentence"])}</p>',
    ]
    if row["extra"] is not None and row["verdict"] not in {"no_holdout", "untrusted"}:
        parts.append(interval_bar(row["extra"], row["extra_lo"], row["extra_hi"]))
    for name, lines in report_lines(row):
        cells = "".join(f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>" for what, value in lines)
        parts.append(f"<h2>{escape(name)}</h2><table>{cells}</table>")
    parts.append(
        '<p class="muted">Guests are people who came within the days measured after a message, compared with people '
        "drawn by lot who got none. The interval holds the true number in 95 of 100 cases. Members who left are "
        "counted as of today.</p></body></html>"
    )
    return "\n".join(parts) + "\n"


def interval_bar(value: float, low: float, high: float) -> str:
    """Draw an interval as an inline SVG: the bar from low to high, a mark at the value, a line at zero."""
    left, right = min(low, 0.0), max(high, 0.0)
    span = (right - left) or 1.0
    left, span = left - 0.05 * span, 1.1 * span

    def x(at: float) -> float:
        return round(600 * (at - left) / span, 1)

    return (
        f'<svg viewBox="0 0 600 54" role="img" aria-label="between {low:,.0f} and {high:,.0f}, about {value:,.0f}">'
        f'<line x1="{x(0)}" x2="{x(0)}" y1="4" y2="34" stroke="currentColor" stroke-dasharray="3 3" opacity=".5"/>'
        f'<rect x="{x(low)}" width="{max(2.0, round(x(high) - x(low), 1))}" y="12" height="14" rx="7" fill="#4f6bed" '
        f'opacity=".35"/><circle cx="{x(value)}" cy="19" r="7" fill="#4f6bed"/>'
        f'<text x="{x(low)}" y="50" font-size="13" fill="currentColor" text-anchor="middle">{low:,.0f}</text>'
        f'<text x="{x(high)}" y="50" font-size="13" fill="currentColor" text-anchor="middle">{high:,.0f}</text></svg>'
    )


def report_csv(row: Mapping[str, Any]) -> str:
    """Return one line per figure, names as `push_report` has them. A text that begins like a formula is quoted."""
    from passbell.files.csv.cells import neutralise  # noqa: PLC0415 - the CSV reader takes long to load

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["figure", "value"])
    for name, value in row.items():
        writer.writerow([name, neutralise(value) if isinstance(value, str) else value])
    return text.getvalue()


def _n(value: Any) -> str:
    return "-" if value is None else f"{value:,}"
