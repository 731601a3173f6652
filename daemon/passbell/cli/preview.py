"""`passbell preview`: the honest count, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from passbell.cli.database import connect, one, resolve_program
from passbell.cli.output import as_json, json_option, moment, number, print_pairs

if TYPE_CHECKING:
    from passbell.cli.database import Row

program_option = click.option(
    "--program",
    required=True,
    metavar="ID",
    help="The program: its id, its PassKit program id or its exact name.",
)
target_option = click.option(
    "--target",
    default="ALL",
    show_default=True,
    help="Who: ALL, VIP, WHALE:500, LOCAL:90210, VIP & SLUMBER:30, ...",
)


@click.command()
@program_option
@target_option
@json_option
def preview(*, program: str, target: str, json_wanted: bool) -> None:
    """Count honestly whom a campaign would reach, and how long it would take."""
    with connect() as connection:
        row = one(connection, PREVIEW, (resolve_program(connection, program), target))
    if json_wanted:
        as_json(row)
    else:
        print_preview(row)


PREVIEW = "select * from public.push_preview(%s, %s)"


def print_preview(row: Row) -> None:
    """Print the count from the widest circle to the narrowest."""
    print_pairs(
        [
            ("matched", number(row["matched"])),
            ("in a wallet", number(row["in_wallet"])),
            ("opted out", number(row["opted_out"])),
            ("capped today", number(row["capped"])),
            ("reachable", number(row["reachable"])),
            ("takes", f"{row['seconds_at_rate']:,} s"),
            ("would finish", moment(row["finishes_at"])),
        ]
    )
