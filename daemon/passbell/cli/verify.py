"""`passbell verify`: each recipient is either waiting or has one outcome."""

from __future__ import annotations

import click

from passbell.cli.database import connect, resolve_campaign
from passbell.cli.output import as_json, json_option

BROKEN = "select * from passbell.check_conservation(id => %(campaign)s)"


@click.command()
@click.argument("campaign", required=False)
@json_option
@click.pass_context
def verify(ctx: click.Context, *, campaign: str | None, json_wanted: bool) -> None:
    """Check the conservation law for every campaign, or for one.

    Each recipient of a campaign is either still waiting or has an outcome, and never both. Exit code 1
    with the campaigns that break it. CAMPAIGN is an id or the beginning of one.
    """
    with connect() as connection:
        chosen = None if campaign is None else resolve_campaign(connection, campaign)
        violations = connection.execute(BROKEN, {"campaign": chosen}).fetchall()
    if json_wanted:
        as_json({"ok": not violations, "violations": violations})
    elif not violations:
        click.echo("Every recipient is accounted for.")
    else:
        for row in violations:
            click.echo(f"{row['campaign_id']} {row['name'] or '-'}: {row['violation']}")
    ctx.exit(1 if violations else 0)
