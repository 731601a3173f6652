"""`passbell results`: what a message, or all of a program's, brought."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from passbell.cli.birthdays import Day
from passbell.cli.database import connect, one, resolve_campaign, resolve_program
from passbell.cli.output import as_json, json_option, moment, number, print_pairs

if TYPE_CHECKING:
    from datetime import date

    from passbell.cli.database import Row

__all__ = ["print_result", "results"]

CAMPAIGN = "select * from public.push_results(campaign_id => %(campaign)s)"
TOTAL = """
    select * from public.push_results_total(program_id => %(program)s, since => %(since)s, until => %(until)s)
"""


@click.command()
@click.argument("campaign", required=False)
@click.option(
    "--program", metavar="ID", help="All campaigns of this program, added up: its id or its exact name."
)
@click.option("--since", type=Day(), help="The first date, in the program's zone (with --program).")
@click.option("--until", type=Day(), help="The last date, inclusive (with --program).")
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
