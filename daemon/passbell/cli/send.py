"""`passbell send`: create a campaign, or show what it would be."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from passbell.cli.database import connect, one, resolve_program
from passbell.cli.output import as_json, json_option
from passbell.cli.preview import PREVIEW, print_preview, program_option, target_option
from passbell.cli.watch import watch
from passbell.db.lists import ListOrder, create_list_campaign

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
@click.option(
    "--csv",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only to the members listed in this file; a --target narrows the list further.",
)
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
    file: Path | None,
    name: str | None,
    at: datetime | None,
    dry_run: bool,
    wait: bool,
    json_wanted: bool,
) -> None:
    """Create a campaign. The daemon (`passbell run`) sends it."""
    with connect() as connection:
        program_id = resolve_program(connection, program)
        if file is not None:
            listed = ListOrder(program=program_id, message=message, target=target, name=name, scheduled_at=at)
            ctx.exit(send_list(connection, listed, file, dry_run=dry_run, wait=wait, json_wanted=json_wanted))
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


def send_list(
    connection: Connection, order: ListOrder, file: Path, *, dry_run: bool, wait: bool, json_wanted: bool
) -> int:
    """Create a campaign to the members in a file, and say at once how many of them were found."""
    made = create_list_campaign(connection, order, file, dry_run=dry_run)
    if wait and made.campaign_id is not None:
        return watch(connection, made.campaign_id, json_wanted=json_wanted)
    if json_wanted:
        as_json({"dry_run": True, **asdict(made)} if dry_run else asdict(made))
        return 0
    click.echo(f"{made.summary} {made.targeted:,} would be buzzed now.")
    if dry_run:
        click.echo("Nothing was sent.")
    else:
        click.echo(f"Campaign {made.campaign_id} is queued.")
        click.echo(f"Follow it with: passbell status {made.campaign_id}", err=True)
    return 0


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
