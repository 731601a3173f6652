"""`passbell pause | resume | cancel | retry-failed`: one SQL function each."""

from __future__ import annotations

from typing import LiteralString

import click

from passbell.cli.database import connect, one, resolve_campaign
from passbell.cli.output import as_json, json_option, plain

WAITS = "select passbell.waits_for(p_campaign => %(campaign)s) as waits_for"
NAMING = "CAMPAIGN is an id or the beginning of one, as `passbell status` shows it."


def _verb(name: str, sql: LiteralString, help_text: str) -> click.Command:
    @click.command(name, help=f"{help_text}\n\n{NAMING}")
    @click.argument("campaign", metavar="CAMPAIGN")
    @json_option
    def command(*, campaign: str, json_wanted: bool) -> None:
        with connect() as connection:
            row = one(connection, sql, campaign=resolve_campaign(connection, campaign))
            waits = one(connection, WAITS, campaign=row["id"])["waits_for"]
        if json_wanted:
            as_json(row)
            return
        name = f" ({row['name']})" if row["name"] else ""
        detail = f": {row['status_detail']}" if row["status_detail"] else ""
        click.echo(plain(f"Campaign {row['id']} is {row['status']}{name}{detail}"))
        if waits is not None and waits != row["status_detail"]:
            click.echo(plain(waits), err=True)

    return command


pause = _verb(
    "pause",
    "select * from public.push_pause(id => %(campaign)s)",
    "Pause CAMPAIGN; sending stops within a second.",
)
resume = _verb(
    "resume",
    "select * from public.push_resume(id => %(campaign)s)",
    "Resume the paused CAMPAIGN with exactly those not reached.",
)
cancel = _verb(
    "cancel",
    "select * from public.push_cancel(id => %(campaign)s)",
    "Cancel CAMPAIGN; what is not sent yet counts as skipped.",
)
retry_failed = _verb(
    "retry-failed",
    "select * from public.push_retry_failed(id => %(campaign)s)",
    "Try the failed passes of CAMPAIGN again.",
)
