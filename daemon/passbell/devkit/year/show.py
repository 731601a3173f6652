"""The run of `passbell demo --year`: a database from nothing, a year day by day, and a picture that moves."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from rich.live import Live
from rich.text import Text

from passbell.database.bundle import sql_root
from passbell.database.migrate import migrate
from passbell.devkit.postgres import EmbeddedPostgres
from passbell.devkit.year.plot import Ink, drawn
from passbell.devkit.year.restaurant import NAME, SUNDAY, Restaurant
from passbell.devkit.year.tally import Brought, Year, brought, by_week, claims, count
from passbell.errors import PassbellError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from passbell.devkit.demo.screen import Screen
    from passbell.devkit.year.restaurant import Day

__all__ = ["MEMBERS", "WEEKS", "as_document", "live_a_year", "tell"]

MEMBERS: Final = 1_200
WEEKS: Final = 52
WINDOW_DAYS: Final = 8
"""Days without messages at the end, until the windows of the last ones have closed."""
GENERATION: Final = "4"
FRAME_SECONDS: Final = 0.1
REASONS: Final = """
select reason, count(*) as n from passbell.deliveries where reason is not null group by 1 order by 2 desc
"""


def live_a_year(screen: Screen, members: int = MEMBERS, weeks: int = WEEKS) -> Year:
    """Live it, drawing as it goes; the last picture stays."""
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(durable=False))
        database = stack.enter_context(psycopg.connect(postgres.url(), autocommit=True))
        database.execute((sql_root() / "host" / f"generation_{GENERATION}.sql").read_bytes())
        migrate(postgres.url())
        screen.say(f"PostgreSQL {postgres.version}, private and temporary, with passbell's schema")
        restaurant = Restaurant(database, members)
        restaurant.open()
        screen.say(
            f"{NAME} opens its books: {members:,} guests with a pass, {len(restaurant.rules)} automations,"
            f" a broadcast every Thursday, birthdays, {restaurant.holdout} % held back to measure"
        )
        screen.say(
            "The clock is moved; every rule is passbell's own SQL. One process plays the daemon and PassKit."
        )
        picture = stack.enter_context(_Picture(screen, weeks))
        days: list[Day] = []
        first = restaurant.in_wallets()
        for number in range(weeks * 7):
            days.append(restaurant.live(number))
            if number % 7 == SUNDAY:
                count(restaurant)
                picture.results = brought(restaurant)
            picture.show(restaurant, days)
        for number in range(weeks * 7, weeks * 7 + WINDOW_DAYS):
            restaurant.live(number, messages=False)
        count(restaurant)
        picture.results = brought(restaurant)
        picture.show(restaurant, days, last=True)
        if not days:
            raise PassbellError("A year has at least one week.")
        return Year(
            NAME,
            round(screen.seconds, 1),
            by_week(days),
            picture.results,
            claims(restaurant),
            (first, restaurant.in_wallets()),
            {row["reason"]: row["n"] for row in restaurant.rows(REASONS)},
        )


class _Picture:
    """The plot as it grows: redrawn in place on a terminal; elsewhere a line per month, and the plot at the end."""

    def __init__(self, screen: Screen, weeks: int) -> None:
        self._screen = screen
        self._weeks = weeks
        self._console: Console = screen.console
        self._ink = ink_of(self._console)
        self._live: Live | None = None
        self._drawn = 0.0
        self._month: list[Day] = []
        self.results: list[Brought] = []

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, restaurant: Restaurant, days: list[Day], *, last: bool = False) -> None:
        today = days[-1]
        if self._live is None:
            self._line(restaurant, today, last=last)
        if last or (self._live is not None and time.monotonic() - self._drawn > FRAME_SECONDS):
            self._drawn = time.monotonic()
            title = (
                f"{NAME} · {today.date:%a %d %b %Y} · week {today.number // 7 + 1} of {self._weeks}"
                f" · {restaurant.in_wallets():,} passes in wallets"
            )
            text = drawn(title, by_week(days), self._weeks, self.results, self._ink)
            if self._live is None:
                self._console.print(text, soft_wrap=True)
            else:
                self._live.update(text, refresh=True)

    def _line(self, restaurant: Restaurant, today: Day, *, last: bool) -> None:
        """A month in a line, when it is over."""
        if self._month and (last or today.date.month != self._month[0].date.month):
            days, self._month = self._month, []
            visits = [visit for day in days for visit in day.visits]
            caused = sum(visit.cause is not None for visit in visits)
            messages = sum(day.broadcast + day.automation + day.birthday for day in days)
            self._screen.say(
                f"{days[0].date:%b %Y}: {len(visits):,} visits, {caused:,} of them because of a message;"
                f" {messages:,} messages; {restaurant.in_wallets():,} passes in wallets"
            )
        self._month.append(today)


def ink_of(console: Console) -> Ink:
    """What a console can show: colours, and block characters."""
    try:
        "█▒├●▸".encode(console.encoding or "ascii")
    except UnicodeEncodeError:
        return Ink(colours=False, blocks=False)
    return Ink(
        colours=console.is_terminal and console.color_system is not None and not console.no_color, blocks=True
    )


def tell(screen: Screen, year: Year, where: Path) -> None:
    """Print what was brought in passbell's own sentences, what was checked, and where the page is."""
    screen.show("")
    for one in year.results:
        truth = f" (In truth: {one.planted:,}.)" if one.extra is not None else ""
        screen.item(Text(f"{one.name:<18} ", style="bold"), Text(one.sentence + truth))
    screen.show("")
    screen.check(year.claims)
    screen.show("")
    screen.show(f"{len(year.weeks)} weeks in {year.seconds:.0f} s. The page: {where}")


def as_document(year: Year, where: Path) -> dict[str, Any]:
    """Return the year for `--json`."""
    return {
        "ok": year.ok,
        "seconds": year.seconds,
        "page": str(where),
        "passes_in_wallets": {"first": year.wallets[0], "last": year.wallets[1]},
        "weeks": [dataclasses.asdict(week) for week in year.weeks],
        "results": [dataclasses.asdict(one) for one in year.results],
        "not_sent": year.reasons,
        "claims": [dataclasses.asdict(claim) for claim in year.claims],
    }
