"""`passbell results`: what a message, or all of a program's, brought; `passbell report`: the program's month."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from passbell.cli.database import connect, one, resolve_campaign, resolve_program
from passbell.cli.options import DAY, MONTH, program_option
from passbell.cli.output import as_json, json_option, moment, number, print_pairs
from passbell.report import report_csv, report_html, report_lines

if TYPE_CHECKING:
    from datetime import date

    from passbell.cli.database import Row

__all__ = ["print_result", "report", "results"]

CAMPAIGN = "select * from public.push_results(campaign_id => %(campaign)s)"
TOTAL = """
    select * from public.push_results_total(program_id => %(program)s, since => %(since)s, until => %(until)s)
"""
REPORT = "select * from public.push_report(program_id => %(program)s, month => %(month)s)"


@click.command()
@click.argument("campaign", required=False)
@click.option(
    "--program", metavar="ID", help="All campaigns of this program, added up: its id or its exact name."
)
@click.option("--since", type=DAY, help="The first date, in the program's zone (with --program).")
@click.option("--until", type=DAY, help="The last date, inclusive (with --program).")
@json_option
def results(
    *, campaign: str | None, program: str | None, since: date | None, until: date | None, json_wanted: bool
) -> None:
    """Say what a campaign brought, or all of a program's together.

    A campaign is counted when its window has closed: measure_days after its last message. If no share was held
    back (holdout_percent), it cannot be known how many would have come anyway.
    """
    if (campaign is None) == (program is None):
        raise click.UsageError("Name a campaign, or a program with --program.")
    if campaign is not None and (since or until):
        raise click.UsageError("--since and --until go with --program.")
    with connect() as connection:
        if campaign is not None:
            row = one(connection, CAMPAIGN, campaign=resolve_campaign(connection, campaign))
        else:
            row = one(
                connection,
                TOTAL,
                program=resolve_program(connection, str(program)),
                since=since,
                until=until,
            )
    if json_wanted:
        as_json(row)
    else:
        print_result(row)


def print_result(row: Row) -> None:
    """Print the sentence first, then the counts behind it."""
    click.echo(row["sentence"])
    for beside in ("beside", "arms_before"):
        if row.get(beside):
            click.echo(row[beside])
    pairs = []
    if row.get("campaigns") is not None:
        pairs.append(("campaigns", number(row["campaigns"])))
    pairs += [
        ("sent", _arm(row["sent"], row["sent_came"])),
        ("held back", _arm(row["held"], row["held_came"])),
    ]
    if row["diff"] is not None:
        pairs.append(
            ("difference", f"{_points(row['diff'])} ({_points(row['diff_lo'])} to {_points(row['diff_hi'])})")
        )
        pairs.append(
            ("guests more", f"{row['extra']:+,.0f} ({row['extra_lo']:+,.0f} to {row['extra_hi']:+,.0f})")
        )
    if row.get("money") is not None:
        pairs.append(
            ("in money", f"{row['money']:+,.0f} ({row['money_lo']:+,.0f} to {row['money_hi']:+,.0f})")
        )
    if row["counted_at"] is not None:
        pairs.append(("counted", moment(row["counted_at"])))
    elif row["ready_at"] is not None:
        pairs.append(("can be counted", moment(row["ready_at"])))
    print_pairs(pairs)


def _arm(people: int | None, came: int | None) -> str:
    return number(people) if came is None else f"{number(people)}, {number(came)} came"


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+.1f} in 100"


@click.command()
@program_option
@click.option(
    "--month", type=MONTH, required=True, metavar="YYYY-MM", help="The month, in the program's zone."
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a printable page here.")
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write a table here.")
@json_option
def report(*, program: str, month: date, html: Path | None, csv: Path | None, json_wanted: bool) -> None:
    """Put a program's month on one page: messages, phones, guests brought, who left."""
    with connect() as connection:
        row = one(connection, REPORT, program=resolve_program(connection, program), month=month)
    for path, text in ((html, report_html), (csv, report_csv)):
        if path is not None:
            try:
                path.write_text(text(row), "utf-8", newline="")
            except OSError as error:
                raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    if json_wanted:
        as_json(row)
    elif html is None and csv is None:
        click.echo(f"{row['program'] or 'Program'}, {row['month']:%B %Y}")
        click.echo(row["sentence"])
        for name, lines in report_lines(row):
            click.echo(f"\n{name}")
            print_pairs(lines)
    else:
        for path in filter(None, (html, csv)):
            click.echo(f"Wrote {path}.")
