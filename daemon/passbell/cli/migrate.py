"""`passbell migrate`: install or upgrade passbell on the database."""

from __future__ import annotations

import dataclasses

import click

from passbell.cli.output import as_json, json_option
from passbell.database import migrate as schema
from passbell.database.bundle import read_bundle
from passbell.errors import SchemaBehind
from passbell.settings import Need, Settings


@click.command()
@click.option(
    "--check",
    "check_only",
    is_flag=True,
    help="Change nothing; exit 3 if behind, 4 if newer than this program.",
)
@click.option(
    "--print",
    "print_only",
    is_flag=True,
    help="Write the whole schema as SQL to stdout; needs no database.",
)
@json_option
@click.pass_context
def migrate(ctx: click.Context, *, check_only: bool, print_only: bool, json_wanted: bool) -> None:
    """Install or upgrade passbell on the database; running it twice changes nothing."""
    if print_only:
        if check_only or json_wanted:
            raise click.UsageError("--print stands alone: it asks no database and answers with SQL.")
        click.echo(read_bundle().text, nl=False)
        return
    url = Settings.for_command(Need.DATABASE).database_dsn
    if check_only:
        comparison = schema.check(url)
        if json_wanted:
            as_json(dataclasses.asdict(comparison))
        if comparison.current:
            _say(f"The database is up to date (schema version {comparison.installed}).", quiet=json_wanted)
            return
        if json_wanted:
            ctx.exit(SchemaBehind.exit_code)
        raise SchemaBehind(comparison.lag)
    report = schema.migrate(url)
    if json_wanted:
        as_json(dataclasses.asdict(report))
        return
    if report.changed:
        _say(f"The database is now at schema version {report.after} (it was at {report.before}).")
    else:
        _say(f"Nothing to do: the database is at schema version {report.after} already.")
    for warning in report.warnings:
        click.echo(f"Warning: {warning}", err=True)


def _say(sentence: str, *, quiet: bool = False) -> None:
    if not quiet:
        click.echo(sentence)
