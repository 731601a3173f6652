"""`passbell demo --year`: a year of a restaurant, its picture and its page."""

from __future__ import annotations

import json
import re
from contextlib import chdir
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import pytest

from passbell.devkit.demo.screen import Claim
from passbell.devkit.year.life import Life
from passbell.devkit.year.page import page
from passbell.devkit.year.plot import LINES, WIDTH, Ink, drawn
from passbell.devkit.year.tally import Brought, Week, Year
from support.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

START = date(2026, 1, 5)
WEEKS = [
    Week(START + timedelta(weeks=n), 300 + n, 20 + n, 900, 150 if n % 4 else 1200, 20, 8, 5)
    for n in range(52)
]
RESULTS = [
    Brought("Broadcasts", "every Thursday", 48_220, 5_364, 0.031, 0.022, 0.04, "more", "It brought <more>.", 1_401),
    Brought("Welcome", "two days after joining", 412, 45, 0.06, -0.4, 0.6, "too_small", "Too small.", 40),
    Brought("300 points", "the balance reaches 300", 80, 9, None, None, None, "too_small", "Too small.", 7),
]  # fmt: skip
YEAR = Year(
    "Luna & Sons", 112.4, WEEKS, RESULTS, [Claim("All adds up", ok=True)], (1_200, 1_398), {"held_out": 8_123}
)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def command(folder: Path, *arguments: str) -> Done:
    """Run `passbell demo` in `folder`, which also takes its temporary files."""
    with chdir(folder), Command("demo", *arguments, settings={"TMPDIR": str(folder)}) as process:
        code = process.wait(200)
        return Done(code, process.output, process.log)


class Parts(HTMLParser):
    """Elements of a page, and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.seen.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_year_ends_well_and_leaves_its_page(tmp_path: Path) -> None:
    """Three weeks of forty guests: every promise is kept, the numbers add up, and the only file left is the page."""
    done = command(tmp_path, "--year", "--members", "40", "--weeks", "3", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["passbell-year.html"]
    assert told["page"] == str(tmp_path / "passbell-year.html")
    assert told["ok"] is True
    assert all(claim["ok"] for claim in told["claims"])
    assert len(told["weeks"]) == 3
    assert sum(week["broadcast"] for week in told["weeks"]) > 40
    assert sum(week["automation"] for week in told["weeks"]) > 0
    assert told["not_sent"]["held_out"] > 0
    broadcasts = told["results"][0]
    assert broadcasts["name"] == "Broadcasts"
    assert broadcasts["sent"] == sum(week["broadcast"] for week in told["weeks"])
    assert "3 broadcasts added up." in broadcasts["sentence"]
    assert "Visits a week" in done.stderr
    assert "Jan 2026:" in done.stderr
    assert "\x1b" not in done.stderr
    assert "A year of Trattoria Luna" in (tmp_path / "passbell-year.html").read_text()


def test_a_page_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    """Not after two minutes."""
    done = command(tmp_path, "--year", "--page", "nowhere/year.html")
    assert done.returncode == 1
    assert re.search(
        r"nowhere/year.html cannot be written: No such file or directory\. Name another", done.stderr
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [("--page", "x.html"), ("--year", "--passes", "500"), ("--year", "--results")]
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Options of the demo that do not go together are refused, not ignored."""
    done = command(tmp_path, *arguments)
    assert done.returncode == 2
    assert "--year" in done.stderr


@pytest.mark.parametrize(
    "ink", [Ink(colours, blocks) for colours in (True, False) for blocks in (True, False)]
)
@pytest.mark.parametrize("weeks", [0, 1, 52])
def test_the_picture_fits_a_terminal(ink: Ink, weeks: int) -> None:
    """The plot fits 80 columns and 24 lines; on a terminal without block characters it is ASCII."""
    seven = (RESULTS * 3)[:7]
    lines = drawn("Luna", WEEKS[:weeks], 52, seven, ink).plain.split("\n")
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= WIDTH
    if not ink.blocks:
        "\n".join(lines).encode("ascii")


def test_the_picture_shows_each_kind() -> None:
    """Without colours a column's parts have letters of their own, and an interval beyond the scale has an arrow."""
    lines = drawn("Luna", WEEKS, 52, RESULTS, Ink(colours=False, blocks=True)).plain.split("\n")
    visits, messages = "".join(lines[2:8]), "".join(lines[9:13])
    assert visits.count("█") > visits.count("▒") > 0
    assert messages.count("▒") > 0
    assert next(line for line in lines if line.startswith("Broadcasts")).endswith("+1,495 (1,061 to 1,929)")
    assert {"◂", "▸"} <= set(next(line for line in lines if line.startswith("Welcome")))
    assert "too few yet (9 held back)" in lines[-1]


def test_the_page_stands_alone() -> None:
    """No script, nothing loaded from elsewhere; light and dark; what people typed is text."""
    text = page(YEAR)
    parts = Parts()
    parts.feed(text)
    assert parts.loaded == []
    assert not {"script", "link", "img", "iframe"} & set(parts.seen)
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'content="width=device-width' in text
    assert "A year of Luna &amp; Sons" in text
    assert "It brought &lt;more&gt;." in text
    assert text.count('class="week"') == 104
    assert "<b>+1,495</b>" in text
    assert "In truth: 1,401." in text


def test_a_broken_promise_shows() -> None:
    """On the page, and in the exit code."""
    broken = replace(YEAR, claims=[Claim("All adds up", ok=False, found="not C7")])
    assert not broken.ok
    assert "All adds up: not C7." in page(broken)


def test_the_same_seed_is_the_same_life() -> None:
    """The same seed gives the same year, another seed another one."""
    lives = [Life(seed, 200, START, "America/New_York") for seed in ("a", "a", "b")]
    first, again, other = (
        [(visit.guest.id, visit.at, visit.earned) for day in range(5) for visit in life.visits(day)]
        for life in lives
    )
    assert first == again
    assert len(first) > 10
    assert first != other


def test_a_message_brings_the_guests_it_says() -> None:
    """Of guests whose phone rings for something with a share of one half, half plan a visit within four days."""
    life = Life("a", 1_000, START, "America/New_York")
    campaign = next(iter(life.guests))
    for guest in islice(life.guests.values(), 1_000):
        life.buzzed(guest, 0, campaign, 0.5)
    plans = [day for guest in life.guests.values() for day in guest.plans]
    assert 430 < len(plans) < 570
    assert set(plans) == {0, 1, 2, 3}
