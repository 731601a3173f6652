"""Campaigns that exist: to look at them, to follow one, to check them, and to pause, resume, cancel or retry them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, LiteralString

import click

from passbell.cli.database import connect, fetch, one, resolve_campaign
from passbell.cli.output import (
    as_json,
    campaign_pairs,
    json_option,
    plain,
    print_campaigns,
    print_pairs,
    progress_bar,
)

if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import Progress, TaskID

    from passbell.cli.database import Connection, Row

__all__ = ["cancel", "follow", "pause", "resume", "retry_failed", "status", "verify"]

PROGRESS = """
    select p.*, passbell.waits_for(p.campaign_id) as waits_for, g.name as program, c.message_text as message,
           c.created_at, c.scheduled_at
      from public.push_progress(id => %(campaign)s) p
      join public.push_campaigns c on c.id = p.campaign_id
      left join passbell.programs g on g.program_id = c.program_id
"""
POLL_SECONDS = 0.5
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}
WAITS = "select passbell.waits_for(p_campaign => %(campaign)s) as waits_for"
NAMING = "CAMPAIGN is an id or the beginning of one, as `passbell status` shows it."
BROKEN = "select * from passbell.check_conservation(id => %(campaign)s)"
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
"""The accounts that send nothing, as running daemons report them."""
HANGS = "select reason from passbell.host_hangs order by relation"
"""What of the platform cannot be read in time."""


@click.command()
@click.argument("campaign", metavar="[CAMPAIGN]", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many to list."
)
@json_option
def status(*, campaign: str | None, limit: int, json_wanted: bool) -> None:
    """Show the latest campaigns, or one with its progress and what it waits for.

    CAMPAIGN is an id or the beginning of one. Lines fit into 80 columns; in a pipe they are not wrapped.
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


def follow(connection: Connection, campaign: UUID, *, json_wanted: bool) -> int:
    """Return 0 when the campaign completes; 1 when it fails, is cancelled, or is paused.

    A paused campaign waits for a person. What else it waits for (quiet hours, a daemon that does not run) is said once
    on standard error. Ctrl-C ends the following, not the campaign.
    """
    # At once, so that the id is known if this command ends before the campaign.
    click.echo(f"Campaign {campaign} is queued.", err=True)
    with progress_bar() as progress:
        task = progress.add_task("waiting", total=None)
        said = None
        try:
            row = one(connection, PROGRESS, campaign=campaign)
            while row["status"] not in ENDED | {"PAUSED"}:
                _show(progress, task, row)
                if row["waits_for"] != said:
                    said = row["waits_for"]
                    if said is not None:
                        progress.console.print(said, highlight=False, markup=False, soft_wrap=True)
                time.sleep(POLL_SECONDS)
                row = one(connection, PROGRESS, campaign=campaign)
            _show(progress, task, row)
        except KeyboardInterrupt:
            click.echo(f"\nThe campaign goes on. Stop it with: passbell cancel {campaign}", err=True)
            raise
    if json_wanted:
        as_json(row)
    else:
        print_pairs(campaign_pairs(row))
    return 0 if row["status"] == "COMPLETED" else 1


def _show(progress: Progress, task: TaskID, row: Row) -> None:
    counted = row["recipient_count"] > 0
    progress.update(
        task,
        completed=row["sent"] + row["failed"] + row["skipped"],
        total=row["recipient_count"] if counted else None,
        description=row["status"].lower() if counted and row["waits_for"] is None else "waiting",
    )


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
    "Resume the paused CAMPAIGN: it goes on with the members not reached yet.",
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
