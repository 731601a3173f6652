"""The year as an HTML file: without scripts, complete in itself, for light and dark screens of any width."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from passbell import __version__
from passbell.devkit.year.plot import HIGH, LOW, ceiling
from passbell.errors import PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from passbell.devkit.year.tally import Brought, Week, Year

__all__ = ["page", "write_page"]

LEAD: Final = (
    "The guests are invented; who is told what, who is held back and what is said of it are passbell's "
    "own rules, in PostgreSQL."
)
HOW: Final = (
    "The clock of the rules was moved from day to day. One process claimed and reported as a daemon does; "
    "PassKit and the phones were left out, so each message counts as taken. Guests come by chance: some "
    "often, most hardly ever, more on Saturdays and in December, and some stay away for weeks. A message "
    "brings a guest with a probability that passbell does not know."
)
MEASURED: Final = (
    "Guests more, of 100 messages, than among those who were held back by lot. The bar holds the true "
    "number in 95 of 100 cases; an automation's is wider, because it may be looked at every day. The "
    "upright mark is the truth, which only the invented guests know."
)
PRIORITY: Final = "Of two that are due together the higher priority goes; the other is skipped, never queued."
REASONS: Final = {
    "too_often": "because of the contact policy (too often)",
    "held_out": "held back by lot, to measure",
    "opted_out": "had opted out",
    "not_installed": "had left the wallet",
    "capped": "at the daily cap",
}


@contextmanager
def write_page(path: Path) -> Iterator[Callable[[Year], Path]]:
    """Make sure that the page can be written before a year is lived; without a page at the end, no file is left.

    Raises:
        PassbellError: the folder cannot be written to.
    """
    path = path.absolute()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise PassbellError(
            f"{path} cannot be written: {error.strerror}. Name another file with --page."
        ) from None
    os.close(handle)
    unfinished = Path(name)

    def write(year: Year) -> Path:
        unfinished.write_text(page(year), "utf-8")
        unfinished.chmod(0o644)
        return unfinished.replace(path)

    try:
        yield write
    finally:
        unfinished.unlink(missing_ok=True)


def page(year: Year) -> str:
    """Return the whole file."""
    first, last = year.weeks[0].first, year.weeks[-1].first
    style = Path(__file__).with_name("page.css").read_text("utf-8")
    title = f"A year of {year.name}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{style}</style></head><body>",
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="soft">{len(year.weeks)} weeks, from {_day(first)} to the week of {_day(last)}. {LEAD}</p></header>',
        _tiles(year),
        "<main>",
        _chart(
            "Visits a week",
            [(week.visits - week.brought, week.brought) for week in year.weeks],
            {"usual": "as ever", "brought": "because of a message"},
            year.weeks,
        ),
        _chart(
            "Messages a week",
            [(week.broadcast, week.automation, week.birthday) for week in year.weeks],
            {kind: kind for kind in ("broadcasts", "automations", "birthdays")},
            year.weeks,
        ),
        _results(year.results),
        _left_out(year),
        _checked(year),
        _table(year.weeks),
        "</main>",
        f'<footer class="soft small"><p>{HOW}</p>',
        f"<p>Written by <code>passbell demo --year</code>, version {escape(__version__)},",
        f"in {year.seconds:.0f} seconds.</p></footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _tiles(year: Year) -> str:
    visits, caused = sum(week.visits for week in year.weeks), sum(week.brought for week in year.weeks)
    messages = sum(week.messages for week in year.weeks)
    before, after = year.wallets
    tiles = [
        (f"{visits:,}", f"visits, {caused:,} of them because of a message"),
        (
            f"{messages:,}",
            f"messages, {messages / max(1, before) / max(1, len(year.weeks)):.1f} a guest and week",
        ),
        (f"{after:,}", f"passes in wallets, {before:,} on the first day"),
    ]
    broadcasts = [one for one in year.results if one.extra is not None and one.name == "Broadcasts"]
    for one in broadcasts:
        about, least, most = one.extra or (0, 0, 0)
        tiles.insert(2, (f"{about:+,}", f"guests brought by broadcasts: between {least:,} and {most:,}"))
    cells = "".join(f'<div class="tile"><b>{value}</b><span>{words}</span></div>' for value, words in tiles)
    return f'<div class="tiles">{cells}</div>'


def _chart(
    title: str, stacks: Sequence[Sequence[int]], kinds: Mapping[str, str], weeks: Sequence[Week]
) -> str:
    top = ceiling(max((sum(stack) for stack in stacks), default=0))
    marks = [top, top // 2, 0] if top > 1 else [top, 0]
    numbers = "".join(f'<span style="bottom:{100 * mark / top:g}%">{mark:,}</span>' for mark in marks)
    lines = "".join(f'<hr style="bottom:{100 * mark / top:g}%">' for mark in marks)
    columns = []
    for stack, week in zip(stacks, weeks, strict=True):
        words = ", ".join(f"{part:,} {kind}" for part, kind in zip(stack, kinds.values(), strict=True))
        bars = "".join(
            f'<i class="{kind}" style="height:{100 * part / top:.2f}%"></i>'
            for kind, part in zip(kinds, stack, strict=True)
            if part
        )
        columns.append(f'<div class="week" title="Week of {_day(week.first)}: {words}">{bars}</div>')
    sums = ", ".join(
        f"{sum(parts):,} {kind}"
        for parts, kind in zip(zip(*stacks, strict=True), kinds.values(), strict=True)
    )
    legend = "".join(f'<span><i class="{kind}"></i>{words}</span>' for kind, words in kinds.items())
    return (
        f'<section><h2>{title}</h2><div class="legend">{legend}</div>'
        f'<div class="chart"><div class="scale">{numbers}</div>'
        f'<div class="plot" role="img" aria-label="{title}, in all {sums}; the table below has each week">'
        f'{lines}{"".join(columns)}</div><div class="months" aria-hidden="true">{_months(weeks)}</div></div></section>'
    )


def _months(weeks: Sequence[Week]) -> str:
    found, before = [], None
    for number, week in enumerate(weeks):
        if week.first.month != before:
            found.append((number, f"{week.first:%b}"))
        before = week.first.month
    return "".join(f'<span style="left:{100 * at / len(weeks):.2f}%">{name}</span>' for at, name in found)


def _results(results: Sequence[Brought]) -> str:
    ticks = "".join(f'<span style="left:{_at(mark):.2f}%">{mark:+d}</span>' for mark in (-15, 0, 15, 30))
    ticks = ticks.replace("+0<", "0<").replace("-15", "\N{MINUS SIGN}15")
    rows = "".join(_result(one) for one in results)
    return (
        "<section><h2>Did it bring anybody?</h2>"
        f'<p class="soft small">{MEASURED}</p>'
        '<div class="row axis small"><span class="name"></span>'
        f'<div class="ticks" aria-hidden="true">{ticks}</div></div>{rows}'
        "</section>"
    )


def _result(one: Brought) -> str:
    head = (
        f'<div class="name"><b>{escape(one.name)}</b><span class="soft small">{escape(one.what)}</span></div>'
    )
    track = f'<span class="base"></span><span class="zero" style="left:{_at(0):.2f}%"></span>'
    value = '<span class="soft">too few yet</span>'
    if one.extra is not None and one.lo is not None and one.hi is not None and one.diff is not None:
        low, middle, high = 100 * one.lo, 100 * one.diff, 100 * one.hi
        cut = (" cut-left" if low < LOW else "") + (" cut-right" if high > HIGH else "")
        track += (
            f'<span class="span{cut}" style="left:{_at(low):.2f}%;width:{_at(high) - _at(low):.2f}%"></span>'
            f'<span class="truth" style="left:{_at(100 * one.planted / max(1, one.sent)):.2f}%"></span>'
            f'<span class="dot" style="left:{_at(middle):.2f}%"></span>'
        )
        about, least, most = one.extra
        verdict = one.verdict if one.verdict in {"more", "fewer"} else ""
        value = (
            f'<b class="{verdict}">{_signed(about)}</b><br>'
            f'<span class="soft small">{_signed(least)} to {_signed(most)}</span>'
        )
    truth = f" In truth: {one.planted:,}." if one.extra is not None else ""
    return (
        f'<div class="row">{head}<div class="track" aria-hidden="true">{track}</div><div class="value">{value}</div>'
        f"<p>{one.sent:,} sent, {one.held:,} held back. {escape(one.sentence)}{truth}</p></div>"
    )


def _left_out(year: Year) -> str:
    lines = "".join(
        f"<tr><td>{escape(REASONS.get(reason, reason.replace('_', ' ')))}</td><td>{n:,}</td></tr>"
        for reason, n in year.reasons.items()
    )
    return (
        "<section><h2>Messages that were not sent</h2>"
        f'<p class="soft small">{PRIORITY}</p>'
        f"<table>{lines}</table></section>"
    )


def _checked(year: Year) -> str:
    lines = "".join(
        f"<li{'' if one.ok else ' class=off'}>{escape(one.claim)}"
        f"{'.' if one.ok else ': ' + escape(one.found) + '.'}</li>"
        for one in year.claims
    )
    return (
        "<section><h2>What was checked</h2>"
        '<p class="soft small">Against the ledger, and against the days on which the guests came.</p>'
        f'<ul class="checks">{lines}</ul></section>'
    )


def _table(weeks: Sequence[Week]) -> str:
    head = "".join(
        f'<th scope="col">{words}</th>'
        for words in (
            "Week of",
            "Visits",
            "by a message",
            "Broadcasts",
            "Automations",
            "Birthdays",
            "Joined",
            "Left",
        )
    )
    rows = "".join(
        f"<tr><td>{_day(week.first)}</td>"
        + "".join(
            f"<td>{n:,}</td>"
            for n in (
                week.visits, week.brought, week.broadcast, week.automation, week.birthday, week.joined, week.left,
            )
        )
        + "</tr>"
        for week in weeks
    )  # fmt: skip
    return (
        "<section><details><summary>Every week in numbers</summary>"
        '<div class="wide" tabindex="0" role="region" aria-label="Every week in numbers">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details></section>"
    )


def _at(value: float) -> float:
    """Where a value lies on the scale, in per cent of its length."""
    return 100 * (min(HIGH, max(LOW, value)) - LOW) / (HIGH - LOW)


def _signed(value: int) -> str:
    return f"+{value:,}" if value > 0 else f"{value:,}".replace("-", "\N{MINUS SIGN}")


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
