"""Bars as SVG, for the documentation: one row per name, readable on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["bars"]

WIDTH, LABEL, ROW, HEAD = 860, 400, 26, 44
OURS, THEIRS, INK = "#2f7d4f", "#8a94a6", "#7a8190"


def bars(file: Path, title: str, rows: Sequence[tuple[str, float, str]]) -> None:
    """Draw (name, value, words shown at the bar's end); names that begin with passbell stand out."""
    longest = max(value for _, value, _ in rows)
    room = WIDTH - LABEL - 110
    height = HEAD + ROW * len(rows) + 8
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13" fill="{INK}">'
        ),
        f'<text x="0" y="22" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for number, (name, value, words) in enumerate(rows):
        top = HEAD + number * ROW
        length = max(1.0, value / longest * room)
        colour = OURS if name.startswith("passbell") else THEIRS
        lines += [
            f'<text x="{LABEL - 10}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{top + 1}" width="{length:.1f}" height="{ROW - 8}" rx="2" fill="{colour}"/>',
            f'<text x="{LABEL + length + 8:.1f}" y="{top + 14}">{escape(words)}</text>',
        ]
    file.write_text("\n".join([*lines, "</svg>"]) + "\n", "utf-8")
