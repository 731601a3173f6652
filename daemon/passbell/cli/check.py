"""`passbell check`: everything that must be right before the first campaign."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING

import click
import psycopg

from passbell.cli.database import connect, one, resolve_program
from passbell.cli.findings import Finding, look_at_database
from passbell.cli.output import as_json, json_option
from passbell.cli.watch import watch
from passbell.errors import PassbellError
from passbell.log import configure_logging
from passbell.settings import Need, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import SecretStr

    from passbell.passkit import PassKit

MAX_SKEW = 5.0  # seconds; PassKit refuses tokens from a clock that is further off
WRONG_KEY = (
    "Copy key and secret again from PassKit's page Settings, Developer Tools; they belong to one region."
)
UNREACHED = "Check PASSBELL_PASSKIT_URL, the network and HTTPS_PROXY."
TEMPLATE = "the pass design needs a field with unique name meta.{} whose change message contains %@"
TEST_MESSAGE = "Test from passbell: if you can read this, it works."


@click.command()
@click.option(
    "--send", "send_to", metavar="EXTERNAL_ID", help="Send one real test push to this member's pass."
)
@click.option("--program", metavar="ID", help="The program of that member.")
@json_option
@click.pass_context
def check(ctx: click.Context, *, send_to: str | None, program: str | None, json_wanted: bool) -> None:
    """Check configuration, database, schema, host tables, PassKit credentials, region and clock."""
    if send_to and not program:
        raise click.UsageError("--send needs --program as well.")
    settings = Settings.for_command(Need.NOTHING)
    # Standard output is the report's alone, and what the client would log is in the findings.
    configure_logging("error", settings.log_format, secrets=settings.secrets)
    programs: list[str] = []
    findings = [*_configuration(settings), *_database(settings, programs)]
    findings += asyncio.run(_passkit(settings, programs))
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
        campaign = one(
            connection, "select public.push_test(%s, %s, %s) as id", (program_id, send_to, TEST_MESSAGE)
        )["id"]
        ctx.exit(watch(connection, campaign, json_wanted=json_wanted))


def _configuration(settings: Settings) -> Iterator[Finding]:
    missing = settings.missing(Need.DATABASE | Need.PASSKIT)
    for line in missing:
        yield Finding("configuration", ok=False, detail=line)
    for warning in settings.warnings:
        yield Finding("configuration", ok=None, detail=warning)
    if not missing:
        yield Finding("configuration", ok=True, detail="every required setting is there")


def _database(settings: Settings, programs: list[str]) -> Iterator[Finding]:
    """Look from the outside in, and stop at the first thing that fails: the rest would only repeat it.

    Appends the PassKit ids of membership programs to `programs`.
    """
    if settings.database_url is None:
        return
    try:
        with connect(settings) as connection:
            version = connection.execute("select current_setting('server_version') as version").fetchone()
            yield Finding(
                "database",
                ok=True,
                detail=f"PostgreSQL {(version or {})['version']} at {settings.redacted_database_url}",
            )
            schema = _schema(settings)
            yield schema
            if not schema.ok:
                return
            yield from look_at_database(settings, connection)
            with contextlib.suppress(
                psycopg.errors.InsufficientPrivilege
            ):  # passbell_daemon reads no programs
                programs += [row["id"] for row in connection.execute(PROGRAMS, (MAX_PROGRAMS,))]
    except PassbellError as error:
        yield Finding("database", ok=False, detail=str(error))


def _schema(settings: Settings) -> Finding:
    from passbell.db import migrate as schema  # noqa: PLC0415 - reads all SQL files

    try:
        comparison = schema.check(settings.database_dsn)
    except PassbellError as error:
        return Finding("schema", ok=False, detail=str(error))
    if comparison.current:
        return Finding("schema", ok=True, detail=f"version {comparison.installed}")
    return Finding("schema", ok=False, detail="behind this program: run `passbell migrate`")


PROGRAMS = """
    select passkit_program_id as id
      from passbell.programs
     where protocol = 'MEMBERSHIP' and passkit_program_id is not null
     order by 1
     limit %s
"""
MAX_PROGRAMS = 20


async def _passkit(settings: Settings, programs: list[str]) -> list[Finding]:
    """Ask PassKit harmless questions: does it accept us, and does it know the programs in this region?"""
    if settings.dry_run:
        return [Finding("PassKit", ok=None, detail="not asked: PASSBELL_DRY_RUN=true sends nothing")]
    if settings.missing(Need.PASSKIT):
        return []
    from passbell.passkit import Credentials, PassKit, Verdict  # noqa: PLC0415 - only where it is asked

    credentials = Credentials(
        _reveal(settings.passkit_api_key),
        _reveal(settings.passkit_api_secret),
        _reveal(settings.passkit_token),
    )
    async with PassKit(
        settings.passkit_url,
        credentials,
        timeout=settings.request_timeout,
        http_client=settings.http_client,
    ) as passkit:
        answer = await passkit.probe()
        unknown = []
        if answer.verdict is Verdict.SENT:
            # An answer that names the program says that it does not exist; else the member does not.
            unknown = [program for program in programs if program in (await passkit.probe(program)).detail]
        skew = passkit.clock_skew
        templates = []
        if answer.verdict is Verdict.SENT:
            key = settings.message_key
            templates = [
                await _template(passkit, program, key) for program in programs if program not in unknown
            ]
    reached = Finding("PassKit", ok=True, detail=f"{settings.passkit_url} accepts the credentials")
    if answer.verdict is Verdict.REFUSED:
        reached = Finding("PassKit", ok=False, detail=f"{answer.detail}. {WRONG_KEY}")
    elif answer.verdict is not Verdict.SENT:
        reached = Finding("PassKit", ok=False, detail=f"{answer.detail}. {UNREACHED}")
    if not answer.answered:
        return [reached]
    clock = Finding("clock", ok=True, detail=f"{skew:+.1f} s beside PassKit's")
    if abs(skew) > MAX_SKEW:
        clock = Finding(
            "clock", ok=False, detail=f"{skew:+.1f} s beside PassKit's: switch on time synchronisation (NTP)"
        )
    if not unknown:
        return [reached, clock, *templates]
    region = (
        f"{', '.join(unknown)} not known at {settings.passkit_url}: wrong region (pub1 or pub2) or account?"
    )
    return [reached, clock, Finding("programs", ok=False, detail=region), *templates]


async def _template(passkit: PassKit, program: str, key: str) -> Finding:
    """Does the program's pass ring when our key changes? PassKit does not always tell."""
    found = await passkit.change_messages(program, f"meta.{key}")
    if found is None:
        return Finding(
            "template",
            ok=None,
            detail=f"{program}: PassKit does not show its template; look that {TEMPLATE.format(key)}",
        )
    if all(message is not None and "%@" in message for message in found):
        return Finding("template", ok=True, detail=f"{program}: the field meta.{key} rings")
    what = f"has no field meta.{key}" if None in found else f"has no %@ in the change message of meta.{key}"
    return Finding(
        "template", ok=False, detail=f"{program} {what}, so nobody is buzzed: {TEMPLATE.format(key)}"
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
