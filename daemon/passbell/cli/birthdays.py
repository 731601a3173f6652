"""`passbell birthdays`: today's gifts, given now or only listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from passbell.cli.database import connect, fetch, one, resolve_program
from passbell.cli.options import DAY, any_program_option
from passbell.cli.output import as_json, json_option, number, print_table

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from passbell.cli.database import Connection, Row

LIST = """
    select b.*, coalesce(p.name, b.program_id::text) as program
      from public.get_birthdays_today(program_id => %(program)s, on_date => %(day)s) b
      left join passbell.programs p on p.program_id = b.program_id
     order by program, b.external_id
"""
RUN = """
    select r.*, coalesce(p.name, r.program_id::text) as program
      from public.run_birthdays(program_id => %(program)s, on_date => %(day)s) r
      left join passbell.programs p on p.program_id = r.program_id
     order by program
"""
# A statement of its own: it would not see what RUN wrote.
REASON = """
    select f.reason
      from passbell.birthday_failures f
     where f.program_id = %(program)s and f.local_date = %(day)s
     order by f.last_at desc, f.pass_id
     limit 1
"""


@click.command()
@any_program_option
@click.option(
    "--on", "day", type=DAY, help="The birthdays of this date instead of today's, in each program's zone."
)
@click.option(
    "--dry-run", is_flag=True, help="Give nothing: list whose birthday it is and what they would read."
)
@json_option
@click.pass_context
def birthdays(
    ctx: click.Context,
    program: str | None,
    day: date | None,
    dry_run: bool,  # noqa: FBT001
    json_wanted: bool,  # noqa: FBT001
) -> None:
    """Give today's birthday gifts now, whatever the hour, or list them.

    The daemon does it by itself at each program's birthday_send_at. Running it again gives nothing twice.
    Exit code 1 if an award failed.
    """
    with connect() as connection:
        program_id = None if program is None else resolve_program(connection, program)
        rows = (
            connection.execute(LIST, {"program": program_id, "day": day}).fetchall()
            if dry_run
            else give(connection, program_id, day)
        )
        silent = not one(connection, "select passbell.daemons_running() as running")["running"]
    if json_wanted:
        as_json(rows)
    elif dry_run:
        print_people(rows)
    else:
        print_runs(rows)
        if silent and any(row["campaign_id"] for row in rows):
            click.echo("No daemon is running: the greetings wait until `passbell run` is started.", err=True)
    if not dry_run and any(row["failed"] for row in rows):
        ctx.exit(1)


def give(connection: Connection, program: UUID | None, day: date | None) -> list[Row]:
    """Run until each member was tried: a call stops before its time limit and keeps the gifts that it gave."""
    total: dict[UUID, Row] = {}
    while True:
        rows = fetch(connection, RUN, program=program, day=day)
        for row in rows:
            earlier = total.get(row["program_id"])
            if earlier is not None:
                row["gifted"] += earlier["gifted"]
                row["already_gifted"] -= earlier["gifted"]
        gained = any(
            row["gifted"] > (total[row["program_id"]]["gifted"] if row["program_id"] in total else 0)
            for row in rows
        )
        total |= {row["program_id"]: row for row in rows}
        waiting = any(
            row["eligible"] > row["gifted"] + row["already_gifted"] + row["failed"] for row in total.values()
        )
        if not waiting or not gained:
            break
    for row in total.values():
        reason = (
            connection.execute(REASON, {"program": row["program_id"], "day": row["local_date"]}).fetchone()
            if row["failed"]
            else None
        )
        row["last_reason"] = None if reason is None else reason["reason"]
    return list(total.values())


def print_people(rows: list[Row]) -> None:
    """One line per person."""
    if not rows:
        click.echo("No birthdays in programs whose birthday bot is on.")
        return
    print_table(
        ["program", "member", "name", "born", "points", "gift", "message"],
        [
            (
                row["program"],
                row["external_id"] or "-",
                row["first_name"] or "-",
                row["birth_date"].isoformat(),
                number(row["reward_points"]),
                "given" if row["already_gifted"] else "due",
                row["message"] or "-",
            )
            for row in rows
        ],
        right=["points"],
    )


def print_runs(rows: list[Row]) -> None:
    """One line per program, with the reason if awards failed."""
    if not rows:
        click.echo("No program has its birthday bot on (programs.birthday_bot_enabled), or it is suspended.")
        return
    print_table(
        ["program", "date", "birthdays", "gifted", "already", "failed"],
        [
            (
                row["program"],
                row["local_date"].isoformat(),
                number(row["eligible"]),
                number(row["gifted"]),
                number(row["already_gifted"]),
                number(row["failed"]),
            )
            for row in rows
        ],
        right=["birthdays", "gifted", "already", "failed"],
    )
    for row in rows:
        if row["campaign_id"]:  # a line of its own, so that the id can be copied
            click.echo(f"{row['program']}: the greetings are campaign {row['campaign_id']}")
    for row in rows:
        if row["failed"]:
            click.echo(
                f"{row['program']}: {row['failed']} awards failed and are tried again: {row['last_reason']}"
            )
