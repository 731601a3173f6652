"""A small chart of sends over time: numbers in, coordinates out; the template draws the SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from passbell.web.calls.page import Slot

__all__ = ["Bar", "Chart", "draw"]

WIDTH, HEIGHT = 720.0, 120.0


class Bar(NamedTuple):
    """One slot, in the chart's units; failures stand on top of what was sent."""

    x: float
    width: float
    sent_y: float
    sent_height: float
    failed_y: float
    failed_height: float


class Chart(NamedTuple):
    """Bars, the average rate, and the ends of the time axis.

    A chunk is reported as a whole, so a single bar is no rate: with chunks of 50 in slots of 1.4 s a limit of 50 a
    second would show a peak of 73. The average from the start to the last report is the rate that can be told.
    """

    bars: list[Bar]
    average_per_second: float
    first: datetime
    seconds: float


def draw(slots: Sequence[Slot], average_per_second: float | None) -> Chart | None:
    """Return the chart, None before anything was sent."""
    if not slots:
        return None
    peak = max(slot.sent + slot.failed for slot in slots) or 1
    step = WIDTH / len(slots)
    bars = []
    for slot in slots:
        sent, failed = (count / peak * HEIGHT for count in (slot.sent, slot.failed))
        bars.append(
            Bar(
                round(slot.slot * step, 2),
                round(step * 0.78, 2),
                round(HEIGHT - sent, 2),
                round(sent, 2),
                round(HEIGHT - sent - failed, 2),
                round(failed, 2),
            )
        )
    return Chart(bars, average_per_second or 0.0, slots[0].starts_at, slots[0].seconds * len(slots))
