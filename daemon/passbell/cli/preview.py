"""`passbell preview`: the honest count, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from passbell.blank import is_blank
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
TARGETS = (
    "Who: ALL, VIP, WHALE:500, LOCAL:90210, IDS:M-1,M-2, VIP & SLUMBER:30; a name that is unknown lists all."
)


@click.command()
@program_option
@click.option("--target", default="ALL", show_default=True, help=TARGETS)
@json_option
def preview(*, program: str, target: str, json_wanted: bool) -> None:
    """Count who a campaign would reach, how long it would take, and what holds it back."""
    if is_blank(target):  # it would count everybody, and the order that follows refuses it
        raise click.UsageError("--target is empty: write ALL for everybody.")
    with connect() as connection:
        program_id = resolve_program(connection, program)
        row = one(connection, PREVIEW, program=program_id, target=target)
        notice = one(connection, OUTLOOK, program=program_id, at=None, message="")["notice"]
    if json_wanted:
        as_json(row | {"notice": notice})
        return
    print_preview(row)
    if notice:
        click.echo(notice, err=True)


PREVIEW = "select * from public.push_preview(program_id => %(program)s, target => %(target)s)"

OUTLOOK = """
    select o.*, g.name as program, to_char(a.at at time zone o.zone, 'YYYY-MM-DD HH24:MI') as local_at,
           array(select passbell.order_warnings(a.program, a.message)) as warnings
      from (select %(program)s::uuid as program, %(at)s::timestamptz as at, %(message)s::text as message) a
     cross join lateral passbell.order_outlook(a.program, a.at) o
      left join passbell.programs g on g.program_id = a.program
"""
"""When an order can begin, what holds it back until then, and what in its message looks like another tool's."""


def print_preview(row: Row) -> None:
    """Print the count from the widest circle to the narrowest."""
    print_pairs(
        [
            ("matched", number(row["matched"])),
            ("in a wallet", number(row["in_wallet"])),
            ("opted out", number(row["opted_out"])),
            ("capped today", number(row["capped"])),
            *(
                (words, number(row[column]))
                for column, words in (("too_often", "too often"), ("suppressed", "left in peace"))
                if row.get(column)
            ),
            ("reachable", number(row["reachable"])),
            *([("held back to measure", number(row["would_hold"]))] if row.get("would_hold") else []),
            ("takes", f"{row['seconds_at_rate']:,} s"),
            ("would finish", moment(row["finishes_at"])),
        ]
    )
