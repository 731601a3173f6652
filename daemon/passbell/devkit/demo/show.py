"""The show: order campaigns by SQL, kill the daemon in the middle, give birthdays, wait for the end."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from passbell.devkit.demo.orders import due_birthdays, orders
from passbell.devkit.demo.screen import Bar, Moment
from passbell.errors import PassbellError

if TYPE_CHECKING:
    from collections.abc import Callable

    from passbell.devkit.demo.orders import Order
    from passbell.devkit.demo.screen import Screen
    from passbell.devkit.demo.stage import Row, Stage

__all__ = ["Crash", "Played", "play"]

FRAME_SECONDS: Final = 0.1
LONG_SECONDS: Final = 12.0
SHORT_SECONDS: Final = 5.0
SLOWEST, FASTEST = 20.0, 1000.0
DEAD_SECONDS: Final = 1.0
"""How long the daemon stays killed: as long as a person needs to see it."""
BAD_MOMENT_SECONDS: Final = 1.5
BAD_MOMENT_SHARE: Final = 0.15
"""The share of a second's pushes that should be in flight when the daemon is killed; waited for, a moment long."""
LOOK_SHARE: Final = 0.2
"""The share of the time that may go into the conservation law, which counts every row."""
GRACE_SECONDS: Final = 90.0
NEXT_ORDERS_AT: Final = 0.12
KILL_AT: Final = 0.35
ENDED: Final = {"COMPLETED", "FAILED", "CANCELLED", "PAUSED"}


@dataclass(frozen=True, slots=True)
class Crash:
    """What PassKit and the ledger knew when the daemon was killed.

    Attributes:
        taken: pushes that PassKit had taken.
        recorded: those of them that the ledger had.
        held: chunks that the daemon had under lease.
    """

    taken: int
    recorded: int
    held: int


@dataclass(slots=True)
class Played:
    """What happened.

    Attributes:
        orders: the campaigns in the order in which they were placed.
        crash: see there.
        looks: how often the conservation law was checked while it ran.
        violations: what those looks found, in words.
        seconds: from the first order to the end of the last campaign.
    """

    orders: list[Order] = field(default_factory=list)
    crash: Crash | None = None
    looks: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


def play(stage: Stage, screen: Screen, *, short: bool) -> Played:
    """Run the show to its end, or until something that should go on does not.

    Raises:
        PassbellError: a process ended unasked, or the show takes far longer than it should.
    """
    return _Show(stage, screen, short=short).play()


class _Show:
    def __init__(self, stage: Stage, screen: Screen, *, short: bool) -> None:
        self._stage = stage
        self._screen = screen
        self._short = short
        self._played = Played()
        self._daemon = "down"
        self._calls: deque[tuple[float, int]] = deque()
        self._rows: dict[str, Row] = {}
        self._deadline = 0.0
        self._next_look = 0.0

    def play(self) -> Played:
        stage, screen = self._stage, self._screen
        broadcast, coupons, listed, segment = planned = orders(stage)
        for order in planned:
            order.measure(stage)
        pushes = sum(len(order.expected) for order in planned)
        wanted = SHORT_SECONDS if self._short else LONG_SECONDS
        rate = float(round(max(SLOWEST, min(FASTEST, pushes / wanted))))
        self._deadline = time.monotonic() + 4 * pushes / rate + GRACE_SECONDS
        stage.start_daemon(rate)
        self._daemon = f"up, pid {stage.daemon.pid}"
        screen.say(f"passbell run: a daemon at {rate:.0f} calls a second (default: 50)")

        begun = time.monotonic()
        self._order(broadcast)
        self._until(lambda: self._share(broadcast) >= NEXT_ORDERS_AT)
        self._order(coupons)
        self._order(listed)
        self._until(lambda: self._share(broadcast) >= KILL_AT)
        self._kill()
        self._order(segment)
        self._until(lambda: self._row(segment).get("started_at") is not None)
        birthdays = due_birthdays(stage)
        self._order(birthdays)
        self._until(lambda: all(self._row(order).get("status") in ENDED for order in self._played.orders))
        self._played.seconds = time.monotonic() - begun
        screen.still()
        return self._played

    def _order(self, order: Order) -> None:
        self._screen.say(f"[bold]{order.words}[/]:")
        self._screen.code(order.shown(self._stage))
        order.place(self._stage)
        if order.campaign is not None:
            self._played.orders.append(order)

    def _standing(self) -> Crash:
        row = self._stage.database.execute(
            "select (select count(*) from passbell.deliveries where outcome = 'sent') as recorded,"
            " (select count(*) from passbell.chunks where claim_token is not null) as held"
        ).fetchone()
        assert row is not None  # noqa: S101 - counts always answer
        return Crash(self._stage.sandbox.overview()["pushes"], row["recorded"], row["held"])

    def _kill(self) -> None:
        """Kill the daemon at a bad moment: PassKit has taken pushes that the ledger does not know of yet."""
        stage, screen = self._stage, self._screen
        bad = time.monotonic() + BAD_MOMENT_SECONDS
        while time.monotonic() < bad:
            standing = self._standing()
            if standing.taken - standing.recorded >= BAD_MOMENT_SHARE * stage.rate:
                break
            time.sleep(FRAME_SECONDS / 10)
        screen.snapshot(self._moment())
        stage.daemon.kill()
        self._daemon = "killed"
        self._played.crash = crash = self._standing()
        lost = crash.taken - crash.recorded
        screen.say(
            f"[bold red]kill -9[/] of the daemon. PassKit has taken {crash.taken:,} pushes, the ledger"
            f" knows of {crash.recorded:,}: {lost:,} were in flight, in {crash.held} chunks."
        )
        again = time.monotonic() + DEAD_SECONDS
        self._until(lambda: time.monotonic() >= again)
        stage.start_daemon(stage.rate)
        self._daemon = f"up, pid {stage.daemon.pid}"
        screen.say(
            "[bold green]restarted[/], as systemd would. It takes over the chunks of the killed daemon."
        )

    def _until(self, reached: Callable[[], bool]) -> None:
        """Let time pass, frame by frame, until something is reached or every campaign has ended."""
        while True:
            self._frame()
            if reached():
                return
            if self._played.orders and all(self._row(o).get("status") in ENDED for o in self._played.orders):
                return
            if self._daemon != "killed":
                self._stage.daemon.check()
            if time.monotonic() > self._deadline:
                raise PassbellError(
                    f"The demo takes far longer than it should; it stopped at: {self._moment().line()}"
                )
            time.sleep(FRAME_SECONDS)

    def _frame(self) -> None:
        database = self._stage.database
        self._rows = {
            str(row["id"]): row
            for row in database.execute("select * from push_campaigns order by created_at").fetchall()
        }
        begun = time.monotonic()
        if begun >= self._next_look:
            found = database.execute("select name, violation from passbell.check_conservation()").fetchall()
            self._played.looks += 1
            self._played.violations += [f"{row['name']}: {row['violation']}" for row in found]
            self._next_look = begun + (time.monotonic() - begun) / LOOK_SHARE
        self._screen.move(self._moment())

    def _moment(self) -> Moment:
        overview = self._stage.sandbox.overview()
        now = time.monotonic()
        self._calls.append((now, overview["calls"]))
        while len(self._calls) > 2 and self._calls[1][0] <= now - 1:  # noqa: PLR2004 - one second needs two looks
            self._calls.popleft()
        since, calls = self._calls[0]
        rate = (overview["calls"] - calls) / (now - since) if now > since else 0.0
        bars = tuple(
            Bar(
                row["name"],
                row["sent_count"] + row["failed_count"] + row["skipped_count"],
                row["recipient_count"],
                row["status"],
            )
            for row in self._rows.values()
        )
        return Moment(bars, overview["buzzes"], rate, self._stage.rate, self._daemon)

    def _row(self, order: Order) -> Row:
        return self._rows.get(str(order.campaign), {})

    def _share(self, order: Order) -> float:
        row = self._row(order)
        return row["sent_count"] / max(1, row["recipient_count"]) if row.get("started_at") else 0.0
