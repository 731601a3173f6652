"""Credentials of PassKit accounts beside the daemon's own: from the environment, files or systemd credentials.

An account `Blue Bottle` of `passbell.accounts` is served by a daemon that has `PASSBELL_PASSKIT_API_KEY__BLUE_BOTTLE`
and `PASSBELL_PASSKIT_API_SECRET__BLUE_BOTTLE`, or `PASSBELL_PASSKIT_TOKEN__BLUE_BOTTLE`: the name in upper case, every
other character than a letter or digit as `_`. Each may be a file (`…__BLUE_BOTTLE_FILE`) or a systemd credential
(`passkit_api_key__blue_bottle`). They are read anew every few seconds, so a key is rotated without a restart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from passbell.settings_sources import read_secret

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
]

Secrets = tuple[str | None, str | None, str | None]
"""API key, API secret, long-lived token; complete: the first two, or the third."""

_PARTS: Final = ("passkit_api_key", "passkit_api_secret", "passkit_token")
_VARIABLE: Final = re.compile(r"PASSBELL_PASSKIT_(API_KEY|API_SECRET|TOKEN)__[A-Z0-9_]+$")
_CREDENTIAL: Final = re.compile(r"(passbell_)?passkit_(api_key|api_secret|token)__\w+$", re.IGNORECASE)


def suffix_of(account: str) -> str:
    """Return what an account's variables end with: `BLUE_BOTTLE` of `Blue Bottle`."""
    return re.sub(r"[^A-Z0-9]", "_", account.upper())


def account_secrets(account: str) -> Secrets | None:
    """Return the account's credentials as they are now; None if they are not complete.

    Raises:
        ConfigurationError: a file that is named cannot be read.
    """
    suffix = suffix_of(account)
    key, secret, token = (read_secret(f"{part}__{suffix}") for part in _PARTS)
    return (key, secret, token) if (key and secret) or token else None


def is_account_variable(name: str) -> bool:
    """Whether a variable belongs to an account, so that it is no misspelt setting."""
    return _VARIABLE.match(name) is not None


def has_account_secrets(environ: Mapping[str, str]) -> bool:
    """Whether there are credentials of any account with a name."""
    if any(is_account_variable(name) and value.strip() for name, value in environ.items()):
        return True
    folder = environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and any(_CREDENTIAL.match(path.name) for path in _files(str(folder)))


def account_secret_values(environ: Mapping[str, str]) -> set[str]:
    """Return values that must never appear in a log, of every account that the environment names."""
    names = {name.removesuffix("_FILE") for name in environ if is_account_variable(name)}
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        names |= {path.name for path in _files(folder) if _CREDENTIAL.match(path.name)}
    parts = (name.lower().removeprefix("passbell_").partition("__") for name in names)
    return {value for part, _, suffix in parts if (value := read_secret(f"{part}__{suffix.upper()}"))}


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
