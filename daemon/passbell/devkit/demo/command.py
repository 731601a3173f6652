"""`passbell demo`."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from passbell.cli.output import as_json, json_option

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["demo"]

PASSES = 8_000
FAST_PASSES = 1_500
FAST_MEMBERS, FAST_WEEKS = 400, 13
PAGE = "passbell-year.html"
PICTURE = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.option(
    "--passes", type=click.IntRange(200, 500_000), help=f"How many passes there are.  [default: {PASSES}]"
)
@click.option(
    "--fast",
    is_flag=True,
    help=f"A short form: {FAST_PASSES} passes by default; of --year, {FAST_WEEKS} weeks.",
)
@click.option(
    "--svg", "picture", type=PICTURE, hidden=True, help="Draw what stays on the screen into this file."
)
@click.option(
    "--results", "measured", is_flag=True, help="Also hold some back, let a week pass, and say who came."
)
@click.option(
    "--year",
    "whole_year",
    is_flag=True,
    help="Instead, live a year of a restaurant in two minutes: guests, automations, what messages brought.",
)
@click.option(
    "--page",
    type=PICTURE,
    help=f"Where --year writes its page.  [default: {PAGE}]",
)
@click.option(
    "--members", type=click.IntRange(20, 20_000), hidden=True, help="Of --year: guests at the start."
)
@click.option("--weeks", type=click.IntRange(1, 52), hidden=True, help="Of --year: how many are lived.")
@json_option
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    passes: int | None,
    fast: bool,
    picture: Path | None,
    measured: bool,
    whole_year: bool,
    page: Path | None,
    members: int | None,
    weeks: int | None,
    json_wanted: bool,
) -> None:
    """See it work: a database, a local PassKit with phones, a daemon that is killed in the middle.

    Needs nothing and leaves nothing behind but the page of --year. Ends with 0 only if everything it says at the
    end was checked and holds.
    """
    # An ended terminal or a `kill` unwinds like Ctrl-C: whatever was started is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _unwind)
    if whole_year:
        if passes or picture or measured:
            raise click.UsageError("--year goes with --fast, --page and --json only.")
        size = (members or (FAST_MEMBERS if fast else None), weeks or (FAST_WEEKS if fast else None))
        ctx.exit(_year(page or Path(PAGE), *size, json_wanted=json_wanted))
    if page or members or weeks:
        raise click.UsageError("--page goes with --year.")
    from passbell.devkit.demo.audit import audit  # noqa: PLC0415 - `passbell demo --help` needs none of these
    from passbell.devkit.demo.brought import brought  # noqa: PLC0415
    from passbell.devkit.demo.screen import Screen  # noqa: PLC0415
    from passbell.devkit.demo.show import play  # noqa: PLC0415
    from passbell.devkit.demo.stage import Stage  # noqa: PLC0415
    from passbell.devkit.demo.summary import as_document, tell  # noqa: PLC0415

    passes = passes or (FAST_PASSES if fast else PASSES)
    with (
        Screen(sys.stderr if json_wanted else sys.stdout, picture) as screen,
        Stage(passes, screen.say) as stage,
    ):
        played = play(stage, screen, short=fast)
        report = audit(stage, played)
        rate = stage.rate
        tell(screen, report, played)
        said = brought(stage, screen) if measured else []
    if json_wanted:
        document = as_document(report, played, rate=rate, seconds=screen.seconds)
        as_json(document | ({"results": [asdict(one) for one in said]} if measured else {}))
    ctx.exit(0 if report.ok else 1)


def _year(page: Path, members: int | None, weeks: int | None, *, json_wanted: bool) -> int:
    from passbell.devkit.demo.screen import Screen  # noqa: PLC0415 - as above
    from passbell.devkit.year.page import write_page  # noqa: PLC0415
    from passbell.devkit.year.show import MEMBERS, WEEKS, as_document, live_a_year, tell  # noqa: PLC0415

    with write_page(page) as write, Screen(sys.stderr if json_wanted else sys.stdout) as screen:
        year = live_a_year(screen, members or MEMBERS, weeks or WEEKS)
        where = write(year)
        tell(screen, year, where)
    if json_wanted:
        as_json(as_document(year, where))
    return 0 if year.ok else 1


def _unwind(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
