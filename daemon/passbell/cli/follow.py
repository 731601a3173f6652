"""Follow a campaign with a progress bar until it has ended."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from passbell.cli.database import one
from passbell.cli.output import as_json, campaign_pairs, print_pairs

if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import TaskID

    from passbell.cli.database import Connection, Row

__all__ = ["PROGRESS", "follow"]

PROGRESS = """
    select p.*, passbell.waits_for(p.campaign_id) as waits_for, g.name as program, c.message_text as message,
           c.created_at, c.scheduled_at
      from public.push_progress(id => %(campaign)s) p
      join public.push_campaigns c on c.id = p.campaign_id
      left join passbell.programs g on g.program_id = c.program_id
"""
POLL_SECONDS = 0.5
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


def follow(connection: Connection, campaign: UUID, *, json_wanted: bool) -> int:
    """Return 0 when the campaign completes; 1 when it fails, is cancelled, or is paused.

    A paused campaign waits for a person. What else it waits for (quiet hours, a daemon that does not run) is said once
    on standard error. Ctrl-C ends the following, not the campaign.
    """
    click.echo(f"Campaign {campaign} is queued.", err=True)  # to find it again, should this end before it
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
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
