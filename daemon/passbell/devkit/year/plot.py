"""The year drawn with characters, in 80 columns and 23 lines: a column a week, and an interval a line.

With colours a column is exact to an eighth of a character. Without them each kind has a letter of its own, an ASCII one
where the code page has no blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from passbell.devkit.year.tally import Brought, Week

__all__ = ["HIGH", "LINES", "LOW", "Ink", "ceiling", "drawn"]

LINES: Final = 23
WIDTH: Final = 80
MARGIN: Final = 7
"""For the numbers beside an axis."""
EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
VISITS: Final = {"as ever": "bright_black", "because of a message": "yellow"}
MESSAGES: Final = {"broadcasts": "blue", "automations": "cyan", "birthdays": "magenta"}
"""Kinds, from the bottom of a column to its top, with their colours."""
LOW, HIGH = -15.0, 30.0
"""Of the scale of intervals, in guests of 100 messages."""
NAME: Final = 19
SCALE: Final = 31


@dataclass(frozen=True, slots=True)
class Ink:
    """What a terminal can show."""

    colours: bool
    blocks: bool

    @property
    def letters(self) -> str:
        """One per kind, from the bottom of a column to its top."""
        return "█▒░" if self.blocks else "#+."


def drawn(title: str, weeks: Sequence[Week], columns: int, results: Sequence[Brought], ink: Ink) -> Text:
    """Draw the year so far.

    Args:
        title: the first line.
        weeks: those that were lived.
        columns: weeks of the whole year.
        results: what was brought; empty until something is counted.
        ink: what the terminal can show.
    """
    visits = [(week.visits - week.brought, week.brought) for week in weeks]
    messages = [(week.broadcast, week.automation, week.birthday) for week in weeks]
    lines = [
        Text(title, style="bold"),
        _legend("Visits a week", VISITS, ink),
        *_columns(visits, VISITS, 6, columns, ink),
        _legend("Messages a week", MESSAGES, ink),
        *_columns(messages, MESSAGES, 4, columns, ink),
        _months(weeks, columns),
        *_intervals(results, ink),
    ]
    return Text("\n").join(lines)


def _legend(words: str, kinds: Mapping[str, str], ink: Ink) -> Text:
    legend = Text(f"{words:<{MARGIN + 12}}", style="bold")
    for (kind, colour), letter in zip(kinds.items(), ink.letters, strict=False):
        legend.append("  ")
        legend.append("█" if ink.colours and ink.blocks else letter, style=colour)
        legend.append(f" {kind}", style="not bold")
    return legend


def _columns(
    stacks: Sequence[Sequence[int]], kinds: Mapping[str, str], height: int, columns: int, ink: Ink
) -> list[Text]:
    """Stacked columns; the axis is numbered at the top and at the bottom."""
    top = ceiling(max((sum(stack) for stack in stacks), default=0))
    colours = list(kinds.values())
    rows = []
    for row in reversed(range(height)):
        number = f"{top:,}" if row == height - 1 else "0" if row == 0 else ""
        line = Text()
        line.append(f"{number:>{MARGIN - 2}} ", style="dim")
        line.append("│" if ink.blocks else "|", style="dim")
        for stack in stacks[:columns]:
            line.append(_cell([part * height / top - row for part in _sums(stack)], colours, ink))
        rows.append(line)
    return rows


def _cell(edges: Sequence[float], colours: Sequence[str], ink: Ink) -> Text:
    """One character: `edges` are the upper ends of the kinds, measured from its bottom in its heights."""
    if not (ink.colours and ink.blocks):
        half = next((kind for kind, edge in enumerate(edges) if edge >= 0.5), None)  # noqa: PLR2004 - its middle
        return Text(" " if half is None else ink.letters[half])
    below = next((kind for kind, edge in enumerate(edges) if edge > 0), None)
    if below is None:
        return Text(" ")
    eighths = round(min(1.0, edges[below]) * 8)
    if eighths == 8:  # noqa: PLR2004 - a full cell
        return Text("█", style=colours[below])
    above = next((kind for kind in range(below + 1, len(edges)) if edges[kind] >= 0.5), None)  # noqa: PLR2004 - its middle
    ground = "" if above is None else f" on {colours[above]}"
    return Text(EIGHTHS[eighths], style=colours[below] + ground)


def _sums(parts: Sequence[int]) -> list[int]:
    total, sums = 0, []
    for part in parts:
        total += part
        sums.append(total)
    return sums


def ceiling(value: int) -> int:
    """The next round number: 1, 2, 3, 4, 5, 6, 8 or 10 times a power of ten."""
    power: int = 10 ** max(0, len(str(value)) - 1)
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def _months(weeks: Sequence[Week], columns: int) -> Text:
    """The names of months under the weeks in which they begin."""
    line = [" "] * (MARGIN + columns + 3)
    before: date | None = None
    free = 0
    for number, week in enumerate(weeks):
        if (before is None or week.first.month != before.month) and number >= free:
            line[MARGIN + number : MARGIN + number + 3] = f"{week.first:%b}"
            free = number + 4
        before = week.first
    return Text("".join(line).rstrip(), style="dim")


def _intervals(results: Sequence[Brought], ink: Ink) -> list[Text]:
    """A line a kind of message: how many guests of 100 messages it brought, as a 95 % interval."""
    head = Text(f"{'Guests in 100 sent':<{NAME}}", style="bold")
    scale = [" "] * (SCALE + 4)
    for mark in (-15, 0, 15, 30):
        word = f"{mark}"
        at = max(0, _at(mark) - len(word) // 2)
        scale[at : at + len(word)] = word
    head.append("".join(scale)[: SCALE + 1], style="dim")
    head.append("  in all (95 %)", style="not bold")
    return [head, *(_interval(one, ink) for one in results)]


def _interval(one: Brought, ink: Ink) -> Text:
    line = Text(f"{one.name[: NAME - 1]:<{NAME}}")
    bar = [" "] * (SCALE + 1)
    bar[_at(0)] = "┊" if ink.blocks else ":"
    if one.extra is None or one.diff is None or one.lo is None or one.hi is None:
        line.append("".join(bar), style="dim")
        line.append(f"  too few yet ({one.held} held back)", style="dim")
        return line
    left, middle, right = (_at(100 * value) for value in (one.lo, one.diff, one.hi))
    bar[left : right + 1] = ("─" if ink.blocks else "-") * (right - left + 1)
    bar[left] = "◂" if ink.blocks and 100 * one.lo < LOW else "├" if ink.blocks else "["
    bar[right] = "▸" if ink.blocks and 100 * one.hi > HIGH else "┤" if ink.blocks else "]"
    bar[middle] = "●" if ink.blocks else "o"
    colour = {"more": "green", "fewer": "red"}.get(one.verdict, "")
    line.append("".join(bar), style=colour)
    about, least, most = one.extra
    line.append(f"  {about:+,} ({least:,} to {most:,})", style=colour)
    line.truncate(WIDTH)
    return line


def _at(value: float) -> int:
    """Where a value lies on the scale."""
    return round((min(HIGH, max(LOW, value)) - LOW) / (HIGH - LOW) * SCALE)
