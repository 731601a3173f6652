"""The commands below `passbell automations`: list, add, change, switch, try on the past, measure, delete, limit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from passbell.cli.database import MAX_NAMED, connect, one, resolve_program
from passbell.cli.options import program_option
from passbell.cli.output import as_json, bar, json_option, number, print_pairs, print_table
from passbell.cli.results import print_result
from passbell.errors import CampaignError

if TYPE_CHECKING:
    from passbell.cli.database import Connection, Row

__all__ = ["COMMANDS"]

COLUMNS: Final = (
    "name", "occasion", "message_text", "target_query", "is_on", "send_at", "send_days", "again_after_days",
    "catch_up_days", "daily_limit", "holdout_percent", "measure_days", "reward_points", "priority", "starts_on",
    "ends_on",
)  # fmt: skip
CARDS: Final = (
    "select * from passbell.automation_cards(p_program => %(program)s, p_automation => %(automation)s)"
)
SAVE: Final = (
    "select passbell.save_automation(p_owner => null, p_automation => %(automation)s,"
    " p_fields => %(fields)s::jsonb) as id"
)
NAMED: Final = """
    select id, name
      from public.push_automations
     where id::text like %(begins)s or name = %(name)s
     order by id
     limit %(most)s
"""
DUE: Final = "select local_date, due from public.automation_preview(id => %(automation)s, days => %(days)s)"
RESULTS: Final = "select * from public.automation_results(id => %(automation)s)"
DELETE: Final = "delete from public.push_automations where id = %(automation)s"
LIMITS: Final = ("push_max", "push_max_days", "push_min_hours", "push_consent")
SET_LIMITS: Final = (
    "select passbell.set_message_limits(p_owner => null, p_program => %(program)s,"
    " p_fields => %(fields)s::jsonb)"
)
SHOW_LIMITS: Final = (
    "select program_id, name, push_max, push_max_days, push_min_hours, push_consent"
    " from passbell.program_list() where program_id = %(program)s"
)
automation_argument = click.argument("automation")
assignments = click.argument("fields", nargs=-1, metavar="COLUMN=VALUE…")


def resolve_automation(connection: Connection, value: str) -> UUID:
    """Return the id of the automation whose id begins like this, or that has this name.

    Raises:
        CampaignError: PB404 if there is none; PB409 with the candidates if there are several.
    """
    text = value.strip()
    begins = text.lower() if text.replace("-", "").isalnum() else ""
    rows = connection.execute(
        NAMED, {"begins": f"{begins}%" if begins else "", "name": text, "most": MAX_NAMED + 1}
    ).fetchall()
    if not rows:
        raise CampaignError(
            f"There is no automation {text!r}; `passbell automations list` shows them.", "PB404"
        )
    if len(rows) > 1:
        listed = ", ".join(f"{row['id']} ({row['name']})" for row in rows[:MAX_NAMED])
        raise CampaignError(f"Several automations match {text!r}: {listed}.", "PB409")
    return UUID(str(rows[0]["id"]))


def parse(fields: tuple[str, ...], columns: tuple[str, ...] = COLUMNS) -> dict[str, Any]:
    """Return columns and values; an empty value is the column's default."""
    found: dict[str, Any] = {}
    for field in fields:
        column, separator, value = field.partition("=")
        column = column.strip().lower()
        if not separator:
            raise click.UsageError(f"Write {field!r} as COLUMN=VALUE.")
        if column not in columns:
            raise click.UsageError(f"There is no column {column!r}. Known: {', '.join(columns)}.")
        if column in found:
            raise click.UsageError(f"{column} is given twice.")
        found[column] = value if value.strip() else None
    return found


def save(connection: Connection, automation: UUID | None, fields: dict[str, Any]) -> Row:
    """Save the fields that are given; the automation as it is afterwards."""
    made = one(connection, SAVE, automation=automation, fields=json.dumps(fields))["id"]
    return one(connection, CARDS, program=None, automation=made)


def show(row: Row, *, as_document: bool) -> None:
    """Print an automation."""
    if as_document:
        as_json(row)
        return
    pairs = [
        ("automation", str(row["id"])),
        ("name", row["name"]),
        ("program", row["program_name"] or str(row["program_id"])),
        ("on", f"since {row['switched_on_on']}" if row["is_on"] else "no"),
        *(
            (column, "-" if row[column] is None else str(row[column]))
            for column in COLUMNS[1:]
            if column != "is_on"
        ),
        ("last run", str(row["last_run_on"] or "-")),
        ("sent so far", number(row["fired_count"])),
        ("detail", row["status_detail"] or "-"),
    ]
    print_pairs(pairs)


@click.command("list")
@click.option("--program", metavar="ID", help="Only this program's.")
@json_option
def list_(*, program: str | None, json_wanted: bool) -> None:
    """List the automations, switched off ones too."""
    with connect() as connection:
        chosen = None if program is None else resolve_program(connection, program)
        rows = connection.execute(CARDS, {"program": chosen, "automation": None}).fetchall()
    if json_wanted:
        as_json(rows)
    elif not rows:
        click.echo("There is no automation yet: passbell automations add.")
    else:
        print_table(
            ["automation", "program", "name", "occasion", "on", "last run", "sent so far"],
            [
                (
                    str(row["id"]),
                    row["program_name"] or "-",
                    row["name"],
                    row["occasion"],
                    "on" if row["is_on"] else "off",
                    str(row["last_run_on"] or "-"),
                    number(row["fired_count"]),
                )
                for row in rows
            ],
            right=["sent so far"],
        )


@click.command()
@program_option
@click.option("--occasion", required=True, help="Such as DORMANT:30, AFTER_VISIT:1, EVERY:FRI.")
@click.option(
    "--message", required=True, help="The text on the lock screen; {points} and others are filled in."
)
@assignments
@json_option
def add(*, program: str, occasion: str, message: str, fields: tuple[str, ...], json_wanted: bool) -> None:
    """Make an automation. It is off unless is_on=true is given.

    COLUMN is one of name, target_query (such as VIP; everybody if left out), send_at (09:00), send_days (THU,FRI),
    again_after_days, catch_up_days, daily_limit, holdout_percent, measure_days, reward_points, priority, starts_on,
    ends_on, is_on.
    """
    columns = parse(fields)
    with connect() as connection:
        columns |= {
            "program_id": str(resolve_program(connection, program)),
            "occasion": occasion,
            "message_text": message,
        }
        row = save(connection, None, columns)
    show(row, as_document=json_wanted)


@click.command(short_help="Change an automation, or show it.")
@automation_argument
@assignments
@json_option
def change(*, automation: str, fields: tuple[str, ...], json_wanted: bool) -> None:
    """Change an automation, named by its name or the beginning of its id; without fields it is shown.

    COLUMN is occasion, message_text or one of those of `passbell automations add`. Without a value it is the column's
    default; target_query needs a value, ALL for all members. A change counts from the next run.
    """
    columns = parse(fields)
    with connect() as connection:
        found = resolve_automation(connection, automation)
        row = (
            save(connection, found, columns)
            if columns
            else one(connection, CARDS, program=None, automation=found)
        )
    show(row, as_document=json_wanted)


def switch(name: str, words: str, *, is_on: bool) -> click.Command:
    """Return the command that switches on, or off."""

    @click.command(name, help=words)
    @automation_argument
    @json_option
    def switched(*, automation: str, json_wanted: bool) -> None:
        with connect() as connection:
            row = save(connection, resolve_automation(connection, automation), {"is_on": is_on})
        if json_wanted:
            as_json(row)
        else:
            click.echo(f"{row['name']} is {'on' if row['is_on'] else 'off'}.")

    return switched


@click.command(short_help="Try it on the past: how many would have been due, day by day.")
@automation_argument
@click.option(
    "--days", type=click.IntRange(1, 400), default=30, show_default=True, help="How many days back."
)
@json_option
def preview(*, automation: str, days: int, json_wanted: bool) -> None:
    """Try it on the past: for how many members it would have been due on each of the last days."""
    with connect() as connection:
        found = resolve_automation(connection, automation)
        rows = connection.execute(DUE, {"automation": found, "days": days}).fetchall()
    if json_wanted:
        as_json(rows)
        return
    most = max(row["due"] for row in rows)
    for row in rows:
        click.echo(f"{row['local_date']}  {bar(row['due'], most)[:20] if most else ''}  {number(row['due'])}")
    total = sum(row["due"] for row in rows)
    click.echo(
        f"It would have rung {number(total)} members in {len(rows)} days,"
        f" between {number(min(row['due'] for row in rows))} and {number(most)} a day;"
        f" {number(rows[-1]['due'])} today."
    )


@click.command()
@automation_argument
@json_option
def results(*, automation: str, json_wanted: bool) -> None:
    """Say what it has brought so far. The interval stays valid however often you look."""
    with connect() as connection:
        found = resolve_automation(connection, automation)
        row = one(connection, RESULTS, automation=found)
    if json_wanted:
        as_json(row)
    else:
        print_result(row)


@click.command()
@automation_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(*, automation: str, yes: bool) -> None:
    """Delete it, with its runs and the record of who got it."""
    with connect() as connection:
        row = one(connection, CARDS, program=None, automation=resolve_automation(connection, automation))
        if not yes:
            click.confirm(
                f"Delete {row['name']}, with its runs and the record of who got it?", abort=True, err=True
            )
        connection.execute(DELETE, {"automation": row["id"]})
    click.echo(f"{row['name']} is deleted.")


@click.command()
@program_option
@assignments
@json_option
def limits(*, program: str, fields: tuple[str, ...], json_wanted: bool) -> None:
    """Show or change a program's limits on how often a member gets a message.

    push_max messages in push_max_days days, with push_min_hours hours between two; push_max= removes the limit.
    push_consent says what no answer about messages means: yes with OPT_OUT, no with OPT_IN.
    """
    columns = parse(fields, LIMITS)
    with connect() as connection:
        found = resolve_program(connection, program)
        if columns:
            connection.execute(SET_LIMITS, {"program": found, "fields": json.dumps(columns)})
        row = one(connection, SHOW_LIMITS, program=found)
    if json_wanted:
        as_json(row)
    else:
        shown = [(column, "-" if row[column] is None else str(row[column])) for column in LIMITS]
        print_pairs([("program", row["name"]), *shown])


COMMANDS: Final = (
    list_,
    add,
    change,
    switch("on", "Switch it on. Only occasions from today on count.", is_on=True),
    switch("off", "Switch it off. Nothing more is sent, even in the middle of a run.", is_on=False),
    preview,
    results,
    delete,
    limits,
)
