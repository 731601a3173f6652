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
    from pathlib import Path
    from types import TracebackType
    from typing import TextIO

    from rich.console import RenderableType

__all__ = ["Bar", "Moment", "Screen"]

PICTURE_COLUMNS: Final = 104
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
                ProgressBar(total=max(1, bar.total), completed=bar.done if bar.total else 0, width=36),
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


class Screen:
    """Context manager around the show.

    Args:
        stream: where to write.
        picture: a file to draw what stayed into, as SVG.
    """

    def __init__(self, stream: TextIO, picture: Path | None = None) -> None:
        # Into a file or a pipe, whole lines: the width of a terminal that is not there must not fold tables.
        self.console = Console(
            file=stream, highlight=False, width=None if stream.isatty() else PICTURE_COLUMNS
        )
        self._picture = picture
        self._kept = (
            None
            if picture is None
            else Console(
                record=True, file=io.StringIO(), width=PICTURE_COLUMNS, force_terminal=True, highlight=False
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
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    def show(self, what: RenderableType) -> None:
        """Print something that stays."""
        for console in (self.console, self._kept):
            if console is not None:
                console.print(what, soft_wrap=not self.console.is_terminal and console is self.console)

    def say(self, words: str, style: str = "") -> None:
        """Print a line with the time since the beginning; `words` may hold rich's markup."""
        text = Text.from_markup(words, style=style)
        self.show(Text.assemble((f"{self.seconds:5.1f} s  ", "dim"), text))

    def code(self, statement: str) -> None:
        """Print SQL."""
        if self.console.is_terminal:
            self.show(
                _indented(
                    Syntax(statement, "sql", theme="ansi_dark", background_color="default", word_wrap=True)
                )
            )
        else:
            self.show(Text("\n".join(f"         {line}" for line in statement.splitlines())))

    def move(self, moment: Moment) -> None:
        """Draw what moves."""
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, auto_refresh=False)
                self._live.start()
            self._live.update(moment.drawn(), refresh=True)
        elif self.seconds - self._last_line >= LINE_SECONDS:
            self._last_line = self.seconds
            self.say(moment.line())

    def snapshot(self, moment: Moment) -> None:
        """Keep the bars as they are for the picture."""
        if self._kept is not None:
            self._kept.print(moment.drawn())
            self._kept.print()

    def still(self) -> None:
        """Let the bars stand as they are."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def _indented(what: RenderableType) -> RenderableType:
    grid = Table.grid()
    grid.add_column(width=9)
    grid.add_column()
    grid.add_row("", what)
    return grid
