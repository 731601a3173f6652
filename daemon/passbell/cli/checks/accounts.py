"""What `passbell check` says of each PassKit account: are there credentials, and what does PassKit say to them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple

import psycopg

from passbell.cli.checks import Finding, bad, good, note
from passbell.cli.checks.passkit import ask_account, look_at_passkit
from passbell.cli.database import LOOK_MILLISECONDS, limited
from passbell.errors import ConfigurationError
from passbell.passkit.credentials import Credentials
from passbell.settings.account_secrets import account_secrets, suffix_of, suffixes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from passbell.cli.checks.passkit import Program
    from passbell.cli.database import Connection
    from passbell.settings import Settings

__all__ = ["AccountRow", "look_at_accounts", "read_accounts"]

_STATES: Final[LiteralString] = """
    select s.account, coalesce(s.passkit_url, '') as passkit_url, a.message_key, s.programs, s.served, s.enabled,
           a.account is not null as entered, passbell.daemons_running() > 0 as running, s.trouble
      from passbell.account_states() s
      left join passbell.accounts a on a.account = s.account
"""
# A daemon's own role may not count programs.
_SETTINGS: Final[LiteralString] = """
    select account, passkit_url, message_key, 0 as programs, true as served, true as enabled, true as entered,
           true as running, null as trouble
      from passbell.account_settings()
"""
AT_ONCE: Final = 8
"""Accounts that are asked at the same time."""


class AccountRow(NamedTuple):
    """An account as the database knows it; the one of programs that name none has no name."""

    account: str
    passkit_url: str
    message_key: str | None
    programs: int
    served: bool
    enabled: bool
    entered: bool
    running: bool
    """Whether any daemon runs."""
    trouble: str | None


def read_accounts(connection: Connection) -> list[AccountRow]:
    """All accounts that are entered or named by a program."""
    try:
        with limited(connection, LOOK_MILLISECONDS):
            rows = connection.execute(_STATES).fetchall()
    except psycopg.errors.QueryCanceled:  # a view that hangs, as the findings say
        return []
    except psycopg.errors.InsufficientPrivilege:
        try:
            rows = connection.execute(_SETTINGS).fetchall()
        except psycopg.errors.InsufficientPrivilege:  # passbell_web may not read accounts
            return []
    return [AccountRow(**row) for row in rows]


async def look_at_accounts(
    settings: Settings, accounts: Sequence[AccountRow], programs: Sequence[Program]
) -> list[Finding]:
    """Our own account and every other one, each with the programs that belong to it."""
    own = [program for program in programs if not program.account]
    findings = await look_at_passkit(settings, own)
    if not settings.has_own_account and not settings.dry_run:
        findings += _no_credentials(next((row for row in accounts if not row.account), None))
    places = asyncio.Semaphore(AT_ONCE)

    async def look(row: AccountRow) -> list[Finding]:
        async with places:
            return await _look_at_one(settings, row, [p for p in programs if p.account == row.account])

    for found in await asyncio.gather(*(look(row) for row in accounts if row.account)):
        findings += found
    return [*findings, *_unknown(accounts)]


async def _look_at_one(settings: Settings, row: AccountRow, programs: Sequence[Program]) -> list[Finding]:
    if not row.entered:
        return [bad("accounts", f"{_what(row)} is not in passbell.accounts")]
    if not row.enabled:
        return [note("accounts", f"{_what(row)} is switched off (enabled is false)")]
    if settings.dry_run:
        return [note("accounts", f"{_what(row)} is not asked: PASSBELL_DRY_RUN=true")]
    try:
        secrets = account_secrets(row.account)
    except ConfigurationError as error:
        return [bad("accounts", f"{_what(row)}: {error}")]
    if secrets is None:
        return _no_credentials(row)
    findings = [good("accounts", f"{_what(row)} has credentials here")]
    asked = await ask_account(
        settings, row.passkit_url, Credentials(*secrets), row.message_key or settings.message_key, programs
    )
    return findings + [
        Finding(finding.name, ok=finding.ok, detail=f'account "{row.account}": {finding.detail}')
        for finding in asked
    ]


def _no_credentials(row: AccountRow | None) -> list[Finding]:
    """An account without credentials here: another daemon may have them."""
    if row is None or (not row.account and not row.programs):
        return []
    variable = "PASSBELL_PASSKIT_API_KEY" + (f"__{suffix_of(row.account)}" if row.account else "")
    detail = f"{_what(row)} has no credentials here ({variable} and its secret)"
    if row.served and row.running:
        return [note("accounts", f"{detail}; a running daemon serves it")]
    if not row.programs:
        return [note("accounts", detail)]
    if not row.running:
        return [note("accounts", f"{detail}; another daemon must have them")]
    return [bad("accounts", f"{detail}, and no running daemon has them: they wait")]


def _what(row: AccountRow) -> str:
    name = f'the account "{row.account}"' if row.account else "the account of programs that name none"
    return f"{name} ({row.programs} program{'' if row.programs == 1 else 's'})"


def _unknown(accounts: Sequence[AccountRow]) -> Iterator[Finding]:
    """Credentials that belong to no account: the name is misspelt, or the row was deleted."""
    for suffix in sorted(suffixes(os.environ) - {suffix_of(row.account) for row in accounts}):
        yield note("accounts", f"there are credentials …__{suffix}, but no account of that name")
