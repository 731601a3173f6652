"""What is wrong with the settings, one plain line per problem."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

from pydantic import SecretStr

from passbell.settings.account_secrets import is_account_variable
from passbell.settings.sources import names_of, secret_names

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails
    from pydantic_settings import BaseSettings

__all__ = ["EXAMPLES", "misspelled", "one_line_each"]

EXAMPLES = {
    "database_url": "postgresql://postgres:PASSWORD@db.example.com:5432/postgres",
    "listen_url": "postgresql://postgres:PASSWORD@db.example.com:5432/postgres",
    "passkit_api_key": "the key in PassKit under Settings > Developer Tools",
    "passkit_api_secret": "the secret in PassKit under Settings > Developer Tools",
    "passkit_token": "a long-lived token from PassKit, Settings > Developer Tools",
    "csv_hosts": "files.example.com,sheets.example.com",
    "api_keys": "the output of `openssl rand -hex 24`",
}

# Read elsewhere than in Settings: a traceback instead of a sentence.
_OTHER_NAMES = {"PASSBELL_DEBUG"}
# Variables of the test suite and of benchmarks are not ours to judge.
_FOREIGN = ("PASSBELL_TEST_", "PASSBELL_BENCH_")
_QUOTED_LENGTH = 60
_ALIKE = 0.85


def one_line_each(error: ValidationError, settings: type[BaseSettings]) -> str:
    """Return one line per problem: the variable, what is wrong, an example."""
    return "\n".join(_line(problem, settings) for problem in error.errors())


def _line(problem: ErrorDetails, settings: type[BaseSettings]) -> str:
    first = str(problem["loc"][0]) if problem["loc"] else ""
    field, variable = _find(first, settings)
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    message = message.partition(", unable to parse string")[0]  # the value that follows shows it
    given = problem["input"]
    secret = field in secret_names(settings, "PASSBELL_") or isinstance(given, SecretStr)
    quoted = "" if secret or len(str(given)) > _QUOTED_LENGTH else f" (it is {given!r})"
    return f"{variable} {message}{quoted}; example: {_example(field, settings)}"


def _find(name: str, settings: type[BaseSettings]) -> tuple[str, str]:
    """Return the field, and the variable that holds its value, for what pydantic calls a location."""
    for field, info in settings.model_fields.items():
        names = names_of(field, info, "PASSBELL_")
        if name in names or name.lower() == field:
            return field, next((known for known in names if os.environ.get(known)), names[0])
    return name, name


def _example(field: str, settings: type[BaseSettings]) -> str:
    if field in EXAMPLES:
        return EXAMPLES[field]
    info = settings.model_fields.get(field)
    return (
        "unset it"
        if info is None
        else str(info.default).lower()
        if info.default is False
        else str(info.default)
    )


def misspelled(environ: Mapping[str, str], settings: type[BaseSettings], prefix: str) -> list[str]:
    """Return one sentence per PASSBELL_ variable that is not a setting, with the nearest known name.

    A variable whose prefix alone is misspelt counts, too.
    """
    secrets = {name for names in secret_names(settings, prefix).values() for name in names}
    known = {
        *_OTHER_NAMES,
        *(name for field, info in settings.model_fields.items() for name in names_of(field, info, prefix)),
        *(name + "_FILE" for name in secrets),
    }
    sentences = []
    for name in sorted(environ):
        if not name.startswith(prefix) and not _nearly(name, prefix, known):
            continue
        if name.startswith(_FOREIGN) or name in known or is_account_variable(name):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        sentences.append(f"{name} is set, but there is no such setting{hint}")
    return sentences


def _nearly(name: str, prefix: str, known: Container[str]) -> bool:
    """Tell whether only the prefix is misspelt: PASSBEL_DRY_RUN would otherwise send without a word."""
    head, _, rest = name.partition("_")
    alike = difflib.SequenceMatcher(None, head, prefix.rstrip("_")).ratio()
    return alike > _ALIKE and prefix + rest in known
