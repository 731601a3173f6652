"""Credentials of PassKit accounts beside the daemon's own: from the environment, files or systemd credentials.

An account `Blue Bottle` of `passbell.accounts` is served by a daemon that has `PASSBELL_PASSKIT_API_KEY__BLUE_BOTTLE`
and `PASSBELL_PASSKIT_API_SECRET__BLUE_BOTTLE`, or `PASSBELL_PASSKIT_TOKEN__BLUE_BOTTLE`: the name in upper case, every
other character than a letter or digit as `_`. Each may be a file (`…__BLUE_BOTTLE_FILE`) or a systemd credential
(`passkit_api_key__blue_bottle`). They are read anew every few seconds, so a key is rotated without a restart.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from passbell.errors import ConfigurationError
from passbell.settings.sources import empty_file, read_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Secrets",
    "account_secret_values",
    "account_secrets",
    "has_account_secrets",
    "is_account_variable",
    "own_secrets",
    "suffix_of",
    "suffixes",
]

Secrets = tuple[str | None, str | None, str | None]
"""API key, API secret, long-lived token; complete: the first two, or the third."""

_PARTS: Final = ("passkit_api_key", "passkit_api_secret", "passkit_token")
_VARIABLE: Final = re.compile(r"PASSBELL_PASSKIT_(API_KEY|API_SECRET|TOKEN)__[A-Z0-9_]+$")
_CREDENTIAL: Final = re.compile(r"(passbell_)?passkit_(api_key|api_secret|token)__\w+$", re.IGNORECASE)


def suffix_of(account: str) -> str:
    """Return what an account's variables end with: `BLUE_BOTTLE` of `Blue Bottle`. Only ASCII counts as a letter."""
    return re.sub(r"[^A-Za-z0-9]", "_", account).upper()


def account_secrets(account: str) -> Secrets | None:
    """Return the account's credentials as they are now; None if there are none.

    Raises:
        ConfigurationError: a file that is named is empty or cannot be read, one half is missing, or no HTTP header
            can carry it.
    """
    suffix = suffix_of(account)
    key, secret, token = (read_secret(f"{part}__{suffix}") for part in _PARTS)
    if token and not all("!" <= letter <= "~" for letter in token):
        raise ConfigurationError(
            f"PASSBELL_PASSKIT_TOKEN__{suffix} holds a character that an HTTP header cannot carry"
        )
    if token or (key and secret):
        return key, secret, token
    for part in _PARTS:
        variable = f"PASSBELL_{part.upper()}__{suffix}"
        if words := empty_file(f"{part}__{suffix}", [variable]):
            raise ConfigurationError(f"{variable} has no value: {words}")
    if key or secret:
        given, lacking = ("KEY", "SECRET") if key else ("SECRET", "KEY")
        raise ConfigurationError(
            f"PASSBELL_PASSKIT_API_{lacking}__{suffix} is not set, and PASSBELL_PASSKIT_API_{given}__{suffix} is"
        )
    return None


def is_account_variable(name: str) -> bool:
    """Whether a variable belongs to an account, so that it is no misspelt setting."""
    return _VARIABLE.match(name) is not None


def suffixes(environ: Mapping[str, str]) -> set[str]:
    """Return the suffixes that variables and systemd credentials carry: `BLUE_BOTTLE`."""
    names = {
        name.removesuffix("_FILE")
        for name, value in environ.items()
        if is_account_variable(name) and value.strip()
    }
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        names |= {path.name for path in _files(folder) if _CREDENTIAL.match(path.name)}
    return {name.partition("__")[2].upper() for name in names}


def has_account_secrets(environ: Mapping[str, str]) -> bool:
    """Whether there are complete credentials of any account with a name.

    Raises:
        ConfigurationError: there are only halves, or files that cannot be read; the first one is named.
    """
    trouble: ConfigurationError | None = None
    for suffix in sorted(suffixes(environ)):
        try:
            if account_secrets(suffix) is not None:
                return True
        except ConfigurationError as error:
            trouble = trouble or error
    if trouble is not None:
        raise trouble
    return False


def account_secret_values(environ: Mapping[str, str]) -> set[str]:
    """Return values that must never appear in a log, of every account that the environment names."""
    values: set[str] = set()
    for suffix in suffixes(environ):
        for part in _PARTS:
            # A file that cannot be read now holds nothing that could be logged.
            with contextlib.suppress(ConfigurationError):
                values.add(read_secret(f"{part}__{suffix}") or "")
    return values - {""}


def _files(folder: str) -> list[Path]:
    try:
        return [path for path in Path(folder).iterdir() if path.is_file()]
    except OSError:
        return []


def own_secrets() -> Secrets:
    """Return the daemon's own credentials as they are now, from wherever `Settings` reads them."""
    key, secret = (
        read_secret(part, also=(name,))
        for part, name in zip(_PARTS, ("PASSKIT_API_KEY", "PASSKIT_API_SECRET"), strict=False)
    )
    return key, secret, read_secret(_PARTS[2])
