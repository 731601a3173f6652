"""What the person who started the demo sees: lines that stay, and below them bars that move.

On a terminal the bars are drawn by rich; anywhere else a line every two seconds says the same. What stays is
also kept for a picture, if one is wanted.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import TextIO

    from rich.console import RenderableType

__all__ = ["Bar", "Claim", "Moment", "Screen"]

COLUMNS: Final = 100
LINE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One campaign: how far it is, and its status in a word."""

    title: str
    done: int
    total: int
    status: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What moves: the bars, phones buzzed so far, calls in the last second, whether the daemon lives."""

    bars: tuple[Bar, ...]
    buzzes: int
    rate: float
    limit: float
    daemon: str

    def line(self) -> str:
        """All of it in one line."""
        bars = " · ".join(f"{bar.title} {bar.done:,}/{bar.total:,}" for bar in self.bars)
        return (
            f"{bars} · {self.buzzes:,} buzzes · {self.rate:.0f}/s of {self.limit:.0f} · daemon {self.daemon}"
        )

    def drawn(self) -> RenderableType:
        """All of it as bars."""
        table = Table.grid(padding=(0, 1))
        table.add_column(width=20)
        table.add_column(width=36)
        table.add_column(justify="right", width=15)
        table.add_column()
        for bar in self.bars:
            finished = bar.status == "COMPLETED"
            table.add_row(
                Text(bar.title, style="bold"),
                # Named colours: with only sixteen, the theme's own show no difference between done and not done.
                ProgressBar(
                    total=max(1, bar.total),
                    completed=bar.done,
                    width=36,
                    style="grey37",
                    complete_style="cyan",
                    finished_style="green",
                ),
                f"{bar.done:,} of {bar.total:,}",
                Text(bar.status.lower(), style="green" if finished else "yellow"),
            )
        alive = self.daemon.startswith("up")
        foot = Text.assemble(
            (f"{self.buzzes:,}", "bold green"), " buzzes   ",
            (f"{self.rate:.0f}/s", "bold"), f" of {self.limit:.0f} allowed   daemon ",
            (self.daemon, "bold green" if alive else "bold red"),
        )  # fmt: skip
        return Group(Text(), table, Text(), foot)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence, whether it holds, and what was found instead if it does not."""

    claim: str
    ok: bool
    found: str = ""


class Screen:
    """Context manager around the show.

    Args:
        stream: where to write.
        picture: a file to draw what stayed into, as SVG.
    """

    def __init__(self, stream: TextIO, picture: Path | None = None) -> None:
        # Whole lines for a file or a pipe: without a terminal there is no width at which to fold tables.
        self.console = Console(file=stream, highlight=False, width=None if stream.isatty() else COLUMNS)
        self._picture = picture
        self._kept = (
            None
            if picture is None
            else Console(
                record=True,
                file=io.StringIO(),
                width=COLUMNS,
                force_terminal=True,
                color_system="truecolor",
                highlight=False,
            )
        )
        self._live: Live | None = None
        self._begun = time.monotonic()
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.still()
        if self._kept is not None and self._picture is not None and kind is None:
            self._kept.save_svg(str(self._picture), title="passbell demo")

    @property
    def _consoles(self) -> list[Console]:
        return [self.console] if self._kept is None else [self.console, self._kept]

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    def show(self, what: RenderableType) -> None:
        """Print something that stays."""
        for console in self._consoles:
            console.print(what, soft_wrap=not console.is_terminal)

    def say(self, words: str) -> None:
        """Print a line with the time since the beginning; `words` may hold rich's markup."""
        self.item(Text(f"{self.seconds:5.1f} s  ", style="dim"), Text.from_markup(words))

    def item(self, left: Text, right: Text) -> None:
        """Print two things beside each other; on a terminal long words wrap below themselves."""
        for console in self._consoles:
            console.print(
                _beside(left, right) if console.is_terminal else left + right,
                soft_wrap=not console.is_terminal,
            )

    def check(self, claims: Iterable[Claim]) -> None:
        """Print each claim, with a mark that says whether it holds."""
        for one in claims:
            mark = Text(" ok  ", style="bold green") if one.ok else Text(" OFF ", style="bold red")
            but = "." if one.ok else f" - but {one.found or 'it does not hold'}."
            self.item(mark, Text.assemble(one.claim, (but, "" if one.ok else "red")))

    def code(self, statement: str) -> None:
        """Print SQL."""
        coloured = Syntax(statement, "sql", theme="ansi_dark", background_color="default", word_wrap=True)
        plain = Text("\n".join(f"         {line}" for line in statement.splitlines()))
        for console in self._consoles:
            console.print(
                _beside(Text(" " * 9), coloured) if console.is_terminal else plain,
                soft_wrap=not console.is_terminal,
            )

    def move(self, moment: Moment) -> None:
        """Draw what moves."""
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, auto_refresh=False)
                self._live.start()
            self._live.update(moment.drawn(), refresh=True)
        elif self.seconds - self._last_line >= LINE_SECONDS:
            self._last_line = self.seconds
            self.console.print(f"{self.seconds:5.1f} s  {moment.line()}", soft_wrap=True)

    def snapshot(self, moment: Moment) -> None:
        """Keep the bars as they are for the picture."""
        if self._kept is not None:
            self._kept.print(moment.drawn())
            self._kept.print()

    def still(self) -> None:
        """Stop moving the bars; the last state stays on the screen."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def _beside(left: Text, right: RenderableType) -> RenderableType:
    grid = Table.grid()
    grid.add_column(width=left.cell_len)
    grid.add_column()
    grid.add_row(left, right)
    return grid
