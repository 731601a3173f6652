"""The count before anything is sent: `passbell preview`, and what `passbell send` shows of an order beforehand."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from passbell.blank import is_blank
from passbell.cli.database import connect, one, resolve_program
from passbell.cli.options import TARGETS, program_option
from passbell.cli.output import as_json, json_option, moment, number, print_pairs
from passbell.database.lists import MAX_PROBLEMS, ListOrder, create_list_campaign

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from passbell.cli.database import Connection, Row

__all__ = [
    "OUTLOOK",
    "Measure",
    "Order",
    "count",
    "explain_list",
    "preview",
    "rehearse",
    "say_outlook",
]

PREVIEW = "select * from public.push_preview(program_id => %(program)s, target => %(target)s)"

OUTLOOK = """
    select o.*, g.name as program, to_char(a.at at time zone o.zone, 'YYYY-MM-DD HH24:MI') as local_at,
           array(select passbell.order_warnings(a.program, a.message)) as warnings
      from (select %(program)s::uuid as program, %(at)s::timestamptz as at, %(message)s::text as message) a
     cross join lateral passbell.order_outlook(a.program, a.at) o
      left join passbell.programs g on g.program_id = a.program
"""
"""When an order can begin, what holds it back until then, and what in its message looks like another tool's."""
TEXTS = """
    select external_id, message
      from passbell.sample_messages(
           p_program => %(program)s, p_message => %(message)s, p_target => %(target)s, p_limit => %(most)s)
"""
SAMPLES = 5
LEFT_OUT = {
    "opted_out": "opted out",
    "capped": "already got their messages today",
    "too_often": "over the limits of the program",
    "suppressed": "suppressed",
}
REACHES_NOBODY = {"unknown_member": "not found", "other_program": "of another program"}


@click.command()
@program_option
@click.option("--target", default="ALL", show_default=True, help=TARGETS)
@json_option
def preview(*, program: str, target: str, json_wanted: bool) -> None:
    """Count who a campaign would reach, how long it would take, and what holds it back."""
    if is_blank(target):  # it would count all members, while `send` refuses it
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
                for column, words in (("too_often", "too often"), ("suppressed", "suppressed"))
                if row.get(column)
            ),
            ("reachable", number(row["reachable"])),
            *([("held back to measure", number(row["would_hold"]))] if row.get("would_hold") else []),
            ("takes", f"{row['seconds_at_rate']:,} s"),
            ("would finish", moment(row["finishes_at"])),
        ]
    )


class Measure(NamedTuple):
    """What an order says of its measurement and its turn; None: as the program says, or by default."""

    holdout: float | None = None
    """Percent of the audience that is held back."""
    days: int | None = None
    priority: int | None = None


class Order(NamedTuple):
    """What was asked for."""

    program: UUID
    message: str
    target: str
    name: str | None
    at: datetime | None
    file: Path | None
    encoding: str | None
    measure: Measure

    @property
    def listed(self) -> ListOrder:
        """The order with the members of the file."""
        return ListOrder(
            program=self.program,
            message=self.message,
            target=self.target,
            name=self.name,
            scheduled_at=self.at,
            encoding=self.encoding,
        )


def say_outlook(order: Order, outlook: Row) -> None:
    """Warn on standard error: merge tags of other tools, the time of sending, what holds the order back."""
    for warning in outlook["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    if order.at is not None:
        local = order.at.strftime("%Y-%m-%d %H:%M %z")
        click.echo(f"It is sent at {outlook['local_at']} {outlook['zone']} ({local} here).", err=True)
    if outlook["notice"]:
        click.echo(outlook["notice"], err=True)


def explain_list(made: dict[str, Any]) -> None:
    """Say on standard error how the list was read, and the rows that reach no member, with what is wrong with them."""
    for note in made["notes"]:
        click.echo(f"  {note}", err=True)
    for row in made["problems"]:
        why = REACHES_NOBODY.get(row["reason"], "cannot be used")
        advice = f": {row['detail']}" if row["detail"] else ""
        click.echo(f'  row {row["row_number"]}, "{row["value"]}": {why}{advice}', err=True)
    if len(made["problems"]) == MAX_PROBLEMS:
        click.echo("  All such rows are in public.push_list_problems.", err=True)


def count(connection: Connection, order: Order) -> tuple[int, str]:
    """How many phones the order reaches now, and the sentence about it."""
    if order.file is not None:
        made = create_list_campaign(connection, order.listed, order.file, dry_run=True)
        explain_list(asdict(made))
        return made.targeted, made.summary
    row = _preview(connection, order)
    left_out = [f"{number(row[column])} {words}" for column, words in LEFT_OUT.items() if row.get(column)]
    inside = f"{number(row['matched'])} matched, {number(row['in_wallet'])} in a wallet"
    held = (
        f" {number(row['would_hold'])} of the {number(row['reachable'])} are held back to measure."
        if row["would_hold"]
        else ""
    )
    return row["reachable"], ", ".join([inside, *left_out]) + "." + held


def _preview(connection: Connection, order: Order) -> Row:
    """Count the audience; a share of the order's own holds so many of it back."""
    row = one(connection, PREVIEW, program=order.program, target=order.target)
    share = order.measure.holdout
    return row if share is None else row | {"would_hold": round(row["reachable"] * share / 100)}


def rehearse(connection: Connection, order: Order, outlook: Row, *, json_wanted: bool) -> None:
    """Show the count and some messages as their receivers would read them; nothing is written."""
    if order.file is not None:
        made = create_list_campaign(connection, order.listed, order.file, dry_run=True)
        if json_wanted:
            as_json(
                {
                    "dry_run": True,
                    **asdict(made),
                    "warnings": outlook["warnings"],
                    "notice": outlook["notice"],
                }
            )
            return
        click.echo(f"{made.summary} {made.targeted:,} would be buzzed now.")
        explain_list(asdict(made))
        say_outlook(order, outlook)
        click.echo("Nothing was sent.")
        return
    count = _preview(connection, order)
    samples = connection.execute(
        TEXTS,
        {"program": order.program, "message": order.message, "target": order.target, "most": SAMPLES},
    ).fetchall()
    if json_wanted:
        as_json(
            {
                "dry_run": True,
                "preview": count,
                "samples": samples,
                "warnings": outlook["warnings"],
                "notice": outlook["notice"],
            }
        )
        return
    print_preview(count)
    click.echo(
        "\nNothing was sent. It would read:" if samples else "\nNothing was sent. No member would be reached."
    )
    for sample in samples:
        click.echo(
            f"  {sample['external_id']}: {sample['message'] or '(nothing: this text cannot be written to this member)'}"
        )
    say_outlook(order, outlook)
