"""`passbell send`: create a campaign, or show what it would be."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from passbell.cli.database import connect, one, resolve_program
from passbell.cli.output import as_json, json_option
from passbell.cli.preview import PREVIEW, print_preview, program_option, target_option
from passbell.cli.watch import watch

if TYPE_CHECKING:
    from uuid import UUID

    from passbell.cli.database import Connection

SAMPLES = 5


class Moment(click.ParamType[datetime]):
    """An ISO 8601 time; one without a zone is the reader's own local time."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read `2026-12-24T18:00` or `2026-12-24 18:00+01:00`."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except ValueError:
            self.fail(
                f"{value!r} is not a time; write it like 2026-12-24T18:00 or 2026-12-24T18:00+01:00",
                param,
                ctx,
            )


@click.command()
@program_option
@click.option(
    "--message",
    required=True,
    help="What the phones show; {first_name|there}, {points} and others are filled in.",
)
@target_option
@click.option("--name", help="A name for the campaign.")
@click.option(
    "--at",
    "at",
    type=Moment(),
    help="When to send, such as 2026-12-24T18:00 (local time unless a zone is given).",
)
@click.option("--dry-run", is_flag=True, help="Send nothing: show the count and five rendered messages.")
@click.option("--wait", is_flag=True, help="Stay, with a progress bar, until the campaign has ended.")
@json_option
@click.pass_context
def send(
    ctx: click.Context,
    *,
    program: str,
    message: str,
    target: str,
    name: str | None,
    at: datetime | None,
    dry_run: bool,
    wait: bool,
    json_wanted: bool,
) -> None:
    """Create a campaign. The daemon (`passbell run`) sends it."""
    with connect() as connection:
        program_id = resolve_program(connection, program)
        if dry_run:
            rehearse(connection, program_id, message, target, json_wanted=json_wanted)
            return
        campaign = one(
            connection,
            "select public.push_send(%s, %s, %s, %s, %s) as id",
            (program_id, message, target, name, at),
        )["id"]
        if wait:
            ctx.exit(watch(connection, campaign, json_wanted=json_wanted))
    if json_wanted:
        as_json({"campaign_id": campaign})
    else:
        click.echo(f"Campaign {campaign} is queued.")
        click.echo(f"Follow it with: passbell status {campaign}", err=True)


def rehearse(connection: Connection, program: UUID, message: str, target: str, *, json_wanted: bool) -> None:
    """Show the count and some messages as their receivers would read them; nothing is written."""
    count = one(connection, PREVIEW, (program, target))
    samples = connection.execute(
        "select external_id, message from passbell.sample_messages(%s, %s, %s, %s)",
        (program, message, target, SAMPLES),
    ).fetchall()
    if json_wanted:
        as_json({"dry_run": True, "preview": count, "samples": samples})
        return
    print_preview(count)
    click.echo(
        "\nNothing was sent. It would read:" if samples else "\nNothing was sent. Nobody would be reached."
    )
    for sample in samples:
        click.echo(f"  {sample['external_id']}: {sample['message']}")
