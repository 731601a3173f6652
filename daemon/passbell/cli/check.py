"""`passbell check`: everything that must be right before the first campaign."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING

import click
import psycopg

from passbell.cli.campaigns import follow
from passbell.cli.checks import Finding, bad, good
from passbell.cli.checks.accounts import AccountRow, look_at_accounts, read_accounts
from passbell.cli.checks.database import look_at_database
from passbell.cli.checks.passkit import Program
from passbell.cli.database import LOOK_MILLISECONDS, connect, limited, one, resolve_program
from passbell.cli.output import as_json, json_option
from passbell.errors import PassbellError
from passbell.log import configure_logging
from passbell.settings import Need, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

TEST_MESSAGE = "Test from passbell: if you can read this, it works."
TEST = """
    select public.push_test(program_id => %(program)s, external_id => %(member)s, message => %(message)s) as id
"""


@click.command()
@click.option(
    "--send", "send_to", metavar="EXTERNAL_ID", help="Send one real test push to this member's pass."
)
@click.option("--program", metavar="ID", help="The program of that member.")
@json_option
@click.pass_context
def check(ctx: click.Context, *, send_to: str | None, program: str | None, json_wanted: bool) -> None:
    """Check configuration, database, schema, host tables, PassKit credentials, region, pass templates and clock.

    Exit code 1 if something must be mended before the first campaign.
    """
    if send_to and not program:
        raise click.UsageError("--send needs --program as well.")
    settings = Settings.for_command(Need.NOTHING)
    # Standard output is the report's alone, and what the client would log is in the findings.
    configure_logging("error", settings.log_format, secrets=settings.secrets)
    programs: list[Program] = []
    accounts: list[AccountRow] = []
    findings = [*_configuration(settings), *_database(settings, programs, accounts)]
    findings += asyncio.run(look_at_accounts(settings, accounts, programs))
    failed = any(finding.ok is False for finding in findings)
    if json_wanted:
        if failed or not send_to:  # else the one document is that of the test push
            as_json({"ok": not failed, "checks": [dataclasses.asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.ok]
            click.echo(f"{mark} {finding.name}: {finding.detail}")
    if failed or not send_to:
        ctx.exit(1 if failed else 0)
    with connect(settings) as connection:
        program_id = resolve_program(connection, program or "")
        campaign = one(connection, TEST, program=program_id, member=send_to, message=TEST_MESSAGE)["id"]
        ctx.exit(follow(connection, campaign, json_wanted=json_wanted))


def _configuration(settings: Settings) -> Iterator[Finding]:
    missing = settings.missing(Need.DATABASE | Need.PASSKIT)
    for line in missing:
        yield bad("configuration", line)
    for warning in settings.warnings:
        # passbell.accounts refuses such an address at once.
        refused = warning == settings.unencrypted and not (settings.dry_run or settings.passkit_is_near)
        yield Finding("configuration", ok=False if refused else None, detail=warning)
    if not missing:
        yield good("configuration", "every required setting is there")


def _database(settings: Settings, programs: list[Program], accounts: list[AccountRow]) -> Iterator[Finding]:
    """Look from the outside in, and stop at the first thing that fails, because the rest depends on it.

    Appends the programs that PassKit is to be asked about to `programs`, the accounts to `accounts`.
    """
    if settings.database_url is None:
        return
    try:
        with connect(settings) as connection:
            version = connection.execute("select current_setting('server_version') as version").fetchone()
            yield good(
                "database",
                f"PostgreSQL {(version or {})['version']} at {settings.redacted_database_url}",
            )
            schema = _schema(settings)
            yield schema
            if not schema.ok:
                return
            yield from look_at_database(settings, connection)
            accounts += read_accounts(connection)
            # passbell_daemon may not read programs; a view that hangs is among the findings.
            with (
                contextlib.suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled),
                limited(connection, LOOK_MILLISECONDS),
            ):
                programs += [
                    Program(row["id"], row["protocol"], row["name"], row["account"])
                    for row in connection.execute(PROGRAMS, {"most": MAX_PROGRAMS})
                ]
    except PassbellError as error:
        yield bad("database", str(error))


def _schema(settings: Settings) -> Finding:
    from passbell.database import migrate as schema  # noqa: PLC0415 - reads all SQL files

    try:
        comparison = schema.check(settings.database_dsn)
    except PassbellError as error:
        return bad("schema", str(error))
    if comparison.current:
        return good("schema", f"version {comparison.installed}")
    return bad("schema", "behind this program: run `passbell migrate`")


PROGRAMS = """
    select g.id, g.protocol, g.name, g.account
      from (select passkit_program_id as id, protocol, coalesce(name, passkit_program_id) as name, account,
                   row_number() over (partition by account order by passkit_program_id) as nth
              from passbell.programs
             where passkit_program_id is not null) g
     where g.nth <= %(most)s
     order by g.account, g.id
"""
MAX_PROGRAMS = 20
"""Of one account."""
