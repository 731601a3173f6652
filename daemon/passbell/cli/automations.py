"""`passbell automations`: what is due, run now or only listed; `automation_commands` has the commands below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from passbell.cli.automation_commands import COMMANDS
from passbell.cli.database import connect, fetch, one, resolve_program
from passbell.cli.options import DAY, any_program_option
from passbell.cli.output import as_json, json_option, number, print_table

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from passbell.cli.database import Connection, Row

__all__ = ["automations"]

LIST = """
    select a.id as automation_id, a.program_id, coalesce(g.name, a.program_id::text) as program, a.name, a.occasion,
           a.is_on, d.pass_id, d.person_id, d.external_id, d.occasion as key, d.due_on
      from public.push_automations a
      left join passbell.programs g on g.program_id = a.program_id
     cross join lateral public.get_due(automation_id => a.id, on_date => %(day)s) d
     where a.is_on and (%(program)s::uuid is null or a.program_id = %(program)s)
     order by program, a.name, d.external_id
"""
RUN = """
    select r.*, a.name, a.occasion, a.status_detail, a.program_id, coalesce(g.name, a.program_id::text) as program
      from public.run_automations(program_id => %(program)s, on_date => %(day)s) r
      join public.push_automations a on a.id = r.automation_id
      left join passbell.programs g on g.program_id = a.program_id
     order by program, a.name
"""
# A statement of its own: it would not see what RUN wrote.
DETAIL = """
    select r.detail
      from passbell.automation_runs r
     where r.automation_id = %(automation)s and r.local_date = %(day)s
"""


@click.group(invoke_without_command=True, commands=COMMANDS)
@any_program_option
@click.option("--on", "day", type=DAY, help="As of this date instead of today, in each program's zone.")
@click.option("--dry-run", is_flag=True, help="Send nothing: list who is due.")
@json_option
@click.pass_context
def automations(
    ctx: click.Context, *, program: str | None, day: date | None, dry_run: bool, json_wanted: bool
) -> None:
    """Run what is due now, whatever the hour, or list it.

    The daemon does it by itself at each automation's send_at. Running it again sends nothing twice.
    """
    if ctx.invoked_subcommand is not None:
        if program or day or dry_run or json_wanted:
            raise click.UsageError(f"Put the options behind {ctx.invoked_subcommand}.")
        return
    with connect() as connection:
        program_id = None if program is None else resolve_program(connection, program)
        if dry_run:
            rows = connection.execute(LIST, {"day": day, "program": program_id}).fetchall()
        else:
            rows = run(connection, program_id, day)
        silent = not one(connection, "select passbell.daemons_running() as running")["running"]
    if json_wanted:
        as_json(rows)
    elif dry_run:
        print_due(rows)
    else:
        print_runs(rows)
        if silent and any(row["campaign_id"] for row in rows):
            click.echo("No daemon is running: the messages wait until `passbell run` is started.", err=True)
    if not dry_run and any(row["detail"] for row in rows):
        ctx.exit(1)


def run(connection: Connection, program: UUID | None, day: date | None) -> list[Row]:
    """Run once, bounded in time; each row has the trouble of its run in `detail`."""
    rows = fetch(connection, RUN, program=program, day=day)
    for row in rows:
        found = connection.execute(
            DETAIL, {"automation": row["automation_id"], "day": row["local_date"]}
        ).fetchone()
        row["detail"] = None if found is None else found["detail"]
    return rows


def print_due(rows: list[Row]) -> None:
    """One line per person."""
    if not rows:
        click.echo("No member is due.")
        return
    print_table(
        ["program", "automation", "member", "occasion", "due on"],
        [(r["program"], r["name"], r["external_id"] or "-", r["key"], r["due_on"].isoformat()) for r in rows],
    )


def print_runs(rows: list[Row]) -> None:
    """One line per automation, with the sentence of those that have one."""
    if not rows:
        click.echo("No automation is on (push_automations.is_on), or its program is suspended.")
        return
    print_table(
        ["program", "automation", "date", "due", "sent on", "held", "campaign"],
        [
            (
                r["program"],
                r["name"],
                r["local_date"].isoformat(),
                number(r["due"]),
                number(r["fired"]),
                number(r["held_back_by_limit"]),
                str(r["campaign_id"] or "-"),
            )
            for r in rows
        ],
        right=["due", "sent on", "held"],
    )
    for row in rows:
        if row["detail"]:
            click.echo(f"{row['name']}: {row['detail']}", err=True)
