"""`passbell send`: create a campaign, or show what it would be."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from passbell.blank import is_blank
from passbell.cli.campaigns import follow
from passbell.cli.database import connect, one, resolve_program
from passbell.cli.options import TARGETS, TIME, program_option
from passbell.cli.output import as_json, json_option, number
from passbell.cli.preview import OUTLOOK, Measure, Order, count, explain_list, rehearse, say_outlook
from passbell.database.lists import create_list_campaign

if TYPE_CHECKING:
    from datetime import datetime

    from passbell.cli.database import Connection

MEASURE = """
    update public.push_campaigns c
       set holdout_percent = coalesce(%(holdout)s, c.holdout_percent),
           measure_days    = coalesce(%(days)s, c.measure_days),
           priority        = coalesce(%(priority)s, c.priority)
     where c.id = %(campaign)s
"""
REQUIRE = "select passbell.require_order(p_program => %(program)s, p_target => %(target)s, p_scheduled_at => %(at)s)"
CREATE = """
    select public.push_send(
           program_id => %(program)s, message => %(message)s, target => %(target)s, name => %(name)s,
           scheduled_at => %(at)s, expected => %(expected)s) as campaign_id
"""
DECLINED = 1


@click.command()
@program_option
@click.option(
    "--message",
    required=True,
    help="What the phones show. Filled in: {first_name|there}, {last_name}, {points}, {tier_points}, {program}.",
)
@click.option("--target", help=f"{TARGETS} Needed unless --csv is given or a terminal can ask.")
@click.option(
    "--csv",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only to the members listed in this file; a --target narrows the list further.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    help="The list's encoding, such as cp1250 or Shift_JIS, where it was guessed wrong.",
)
@click.option("--name", help="A name for the campaign, for lists and reports.")
@click.option(
    "--at",
    "at",
    type=TIME,
    help="When to send, such as 2026-12-24T18:00 (this machine's time unless an offset is given).",
)
@click.option(
    "--holdout",
    type=click.FloatRange(0, 50),
    metavar="PERCENT",
    help="Hold back this share, drawn by lot, to see what the message brings (`passbell results`).",
)
@click.option(
    "--measure-days",
    type=click.IntRange(1, 60),
    metavar="DAYS",
    help="Days in which visits count for it; 7 by default.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    metavar="0-9",
    help="Of two that are due, the one with the higher number is sent first; 5 by default.",
)
@click.option("--dry-run", is_flag=True, help="Send nothing: show the count and five rendered messages.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@click.option("--wait", is_flag=True, help="Stay, with a progress bar, until the campaign has ended.")
@json_option
@click.pass_context
def send(
    ctx: click.Context,
    *,
    program: str,
    message: str,
    target: str | None,
    file: Path | None,
    encoding: str | None,
    name: str | None,
    at: datetime | None,
    holdout: float | None,
    measure_days: int | None,
    priority: int | None,
    dry_run: bool,
    yes: bool,
    wait: bool,
    json_wanted: bool,
) -> None:
    """Create a campaign. The daemon (`passbell run`) sends it.

    \b
    passbell send --program ID --message "Double points" --target VIP --dry-run
    passbell send --program ID --message "Thank you, {first_name}" --csv guests.csv

    On a terminal it shows the count and asks. Elsewhere, as in a script, the audience must be named: --target ALL for
    everybody. Exit code 1 if the answer is no, or if --wait sees the campaign fail or pause.
    """  # noqa: D301 - a backspace is how click is told to leave lines as they are
    asking = sys.stdin is not None and sys.stdin.isatty() and not yes and not dry_run
    _require_audience(target, file, encoding, unasked=not asking and not dry_run)
    if holdout is not None and math.isnan(holdout):
        raise click.UsageError("--holdout is a percentage from 0 to 50.")
    with connect() as connection:
        order = Order(
            resolve_program(connection, program),
            message,
            target or "ALL",
            name,
            at,
            file,
            encoding,
            Measure(holdout, measure_days, priority),
        )
        one(connection, REQUIRE, program=order.program, target=order.target, at=at)
        outlook = one(connection, OUTLOOK, program=order.program, at=at, message=message)
        if dry_run:
            rehearse(connection, order, outlook, json_wanted=json_wanted)
            return
        expected = None
        if asking:
            say_outlook(order, outlook)
            expected, summary = count(connection, order)
            click.echo(summary, err=True)
            if not click.confirm(_question(order, outlook["program"], expected), default=False, err=True):
                click.echo("Nothing was sent.", err=True)
                ctx.exit(DECLINED)
        made = _create(connection, order, expected)
        if not asking:  # an order that is refused is one sentence alone
            say_outlook(order, outlook)
        if wait:
            ctx.exit(follow(connection, made["campaign_id"], json_wanted=json_wanted))
    if json_wanted:
        as_json(made)
        return
    if file is not None:
        click.echo(f"{made['summary']} {number(made['targeted'])} would be buzzed now.")
        if not asking:
            explain_list(made)
    click.echo(f"Campaign {made['campaign_id']} is queued.")
    click.echo(f"Follow it with: passbell status {made['campaign_id']}", err=True)


def _require_audience(target: str | None, file: Path | None, encoding: str | None, *, unasked: bool) -> None:
    """Refuse an order whose audience is not named."""
    if target is None and file is None and unasked:
        raise click.UsageError(
            "Name the audience: --target ALL for everybody, another --target, or --csv FILE."
        )
    if target is not None and is_blank(target):
        raise click.UsageError("--target is empty: write ALL for everybody.")
    if target is not None and file is None and "CSV" in {part.strip().upper() for part in target.split("&")}:
        raise click.UsageError("The audience CSV is a list: name its file with --csv FILE.")
    if encoding is not None and file is None:
        raise click.UsageError("--encoding is the encoding of a list: it needs --csv FILE.")


def _question(order: Order, program: str, phones: int) -> str:
    """Ask with the number, the audience and the program; on standard error, for standard output is for the result."""
    who = "everybody" if order.target.strip().upper() == "ALL" else order.target
    if order.file is not None:
        who = f"the members in {order.file.name}" + ("" if who == "everybody" else f" who are {who}")
    verb = "Buzz" if order.at is None else "Schedule for"
    return f"{verb} {number(phones)} {'phone' if phones == 1 else 'phones'}: {who} in {program}?"


def _create(connection: Connection, order: Order, expected: int | None) -> dict[str, Any]:
    """Create the campaign; the audience must still be as many as were shown."""
    made: dict[str, Any]
    with connection.transaction():  # no daemon starts it before it is complete
        if order.file is not None:
            made = asdict(create_list_campaign(connection, order.listed, order.file))
        else:
            made = one(
                connection,
                CREATE,
                program=order.program,
                message=order.message,
                target=order.target,
                name=order.name,
                at=order.at,
                expected=expected,
            )
        if order.measure != Measure():
            connection.execute(MEASURE, {**order.measure._asdict(), "campaign": made["campaign_id"]})
    return made
