"""`passbell status`: the latest campaigns, or one of them."""

from __future__ import annotations

import click

from passbell.cli.database import connect, one, parse_campaign
from passbell.cli.output import (
    as_json,
    bar,
    campaign_pairs,
    json_option,
    moment,
    number,
    print_pairs,
    print_table,
)
from passbell.cli.watch import PROGRESS

LATEST = """
    select c.id as campaign_id, coalesce(p.name, c.program_id::text) as program, c.name, c.status,
           coalesce(passbell.aside_words(c.id), c.status_detail) as status_detail,
           c.recipient_count, c.sent_count as sent, c.failed_count as failed,
           c.skipped_count as skipped, c.created_at
      from public.push_campaigns c
      left join passbell.programs p on p.program_id = c.program_id
     order by c.created_at desc, c.id
     limit %s
"""


@click.command()
@click.argument("campaign", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many to list."
)
@json_option
def status(*, campaign: str | None, limit: int, json_wanted: bool) -> None:
    """Show the latest campaigns, or one CAMPAIGN with its progress."""
    with connect() as connection:
        if campaign is not None:
            row = one(connection, PROGRESS, (parse_campaign(campaign),))
            if json_wanted:
                as_json(row)
            else:
                print_pairs(campaign_pairs(row))
            return
        rows = connection.execute(LATEST, (limit,)).fetchall()
    if json_wanted:
        as_json(rows)
    elif not rows:
        click.echo(
            "There is no campaign yet. Create one with `passbell send`, or insert a row into push_campaigns."
        )
    else:
        print_table(
            ["campaign", "created", "program", "status", "progress", "sent", "failed", "skipped", "detail"],
            [
                (
                    str(row["campaign_id"]),
                    moment(row["created_at"]),
                    row["program"] or "-",
                    row["status"],
                    bar(row["sent"] + row["failed"] + row["skipped"], row["recipient_count"]),
                    number(row["sent"]),
                    number(row["failed"]),
                    number(row["skipped"]),
                    row["status_detail"] or row["name"] or "",
                )
                for row in rows
            ],
            right=["sent", "failed", "skipped"],
        )
