"""`passbell status`: the latest campaigns, or one of them."""

from __future__ import annotations

from typing import Any

import click

from passbell.cli.database import connect, fetch, one, resolve_campaign
from passbell.cli.follow import PROGRESS
from passbell.cli.output import as_json, campaign_pairs, json_option, print_campaigns, print_pairs

LATEST = """
    select c.id as campaign_id, coalesce(p.name, c.program_id::text) as program, c.name, c.message_text, c.status,
           c.status_detail, w.waits_for, coalesce(w.waits_for, c.status_detail) as detail,
           c.recipient_count, c.sent_count as sent, c.failed_count as failed, c.skipped_count as skipped, c.created_at
      from public.push_campaigns c
      left join passbell.known_programs() p on p.program_id = c.program_id
     cross join lateral passbell.waits_for(c.id) as w (waits_for)
     order by c.created_at desc, c.id
     limit %(limit)s
"""


ACCOUNTS = """
    select account, trouble, breaker, breaker_kind, breaker_reason
      from passbell.account_states()
     where trouble is not null and programs > 0 and passbell.daemons_running() > 0 or breaker = 'open'
"""
"""The accounts that send nothing; none where all is well, and none where no daemon could say so."""

HANGS = "select reason from passbell.host_hangs order by relation"
"""What of the platform cannot be read in time; none where all is well."""


@click.command()
@click.argument("campaign", metavar="[CAMPAIGN]", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many to list."
)
@json_option
def status(*, campaign: str | None, limit: int, json_wanted: bool) -> None:
    """Show the latest campaigns, or one with its progress and what it waits for.

    CAMPAIGN is an id or the beginning of one. At 80 columns every line fits; in a pipe lines are whole.
    """
    with connect() as connection:
        if campaign is not None:
            row = one(connection, PROGRESS, campaign=resolve_campaign(connection, campaign))
            if json_wanted:
                as_json(row)
            else:
                print_pairs(campaign_pairs(row))
            return
        rows = fetch(connection, LATEST, limit=limit)
        accounts = [] if json_wanted else fetch(connection, ACCOUNTS)
        hangs = [] if json_wanted else fetch(connection, HANGS)
    for row in hangs:
        click.echo(row["reason"])
    for account in accounts:
        click.echo(_account(account))
    if json_wanted:
        as_json(rows)
    elif not rows:
        click.echo(
            "There is no campaign yet. Create one with `passbell send`, or insert a row into push_campaigns."
        )
    else:
        print_campaigns(rows)


def _account(row: dict[str, Any]) -> str:
    """An account that sends nothing, in a sentence."""
    if row["trouble"] is not None:
        return str(row["trouble"])
    whose = f' for the account "{row["account"]}"' if row["account"] else ""
    what = "refuses the credentials" if row["breaker_kind"] == "credentials" else "does not answer"
    return f"PassKit {what}{whose} ({row['breaker_reason']})."
