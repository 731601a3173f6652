"""Secrets from files: systemd credentials and `NAME_FILE` variables.

`LoadCredential=database_url:/etc/passbell/database_url` puts a file into `$CREDENTIALS_DIRECTORY` that only
the unit can read (systemd.exec(5), "Credentials"). Docker and Kubernetes mount secrets as files, too, and by
custom a variable with the suffix `_FILE` names one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices
from pydantic_settings import PydanticBaseSettingsSource

from passbell.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

__all__ = ["SecretFiles", "empty_file", "names_of", "read_secret", "secret_names"]

_MAX_BYTES = 64 * 1024  # a secret is a line; anything longer is the wrong file


def names_of(field: str, info: FieldInfo, prefix: str) -> list[str]:
    """Return the variables that a field is read from, our own name first."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(name) for name in alias.choices]
    return [prefix + field.upper()]


def secret_names(settings: type[BaseSettings], prefix: str) -> dict[str, list[str]]:
    """Return field -> variables for the fields that hold a secret: exactly those with spelled-out names."""
    return {
        field: names_of(field, info, prefix)
        for field, info in settings.model_fields.items()
        if isinstance(info.validation_alias, AliasChoices)
    }


class SecretFiles(PydanticBaseSettingsSource):
    """Reads secrets from files, before the environment is asked."""

    def __call__(self) -> dict[str, Any]:
        """Return variable name -> content for every secret that has a file."""
        found = {}
        for field, names in secret_names(self.settings_cls, "PASSBELL_").items():
            file = _credential(field, names) or _named_file(names)
            if file is not None:
                variable, path = file
                if content := _read(variable, path):
                    found[names[0]] = content
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return nothing: `__call__` does the work. The base class asks for this method."""
        return None, field_name, False


def read_secret(field: str, also: Sequence[str] = ()) -> str | None:
    """Return a secret by its field's name as it is now: systemd credential, `_FILE`, variable; None if there is none.

    `also`: other programs' names for the variable.

    Raises:
        ConfigurationError: a file that is named cannot be read.
    """
    names = ["PASSBELL_" + field.upper(), *also]
    file = _find(field, names)
    if file is not None and (content := _read(*file)):
        return content
    return next((value.strip() for name in names if (value := os.environ.get(name)) and value.strip()), None)


def empty_file(field: str, names: Sequence[str]) -> str | None:
    """Say which file of a secret holds nothing yet, as one that is made before its content; None if there is none.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    file = _find(field, [*names])
    if file is None or _read(*file):
        return None
    variable, path = file
    return f"the file {path} is empty ({variable})"


def _find(field: str, names: list[str]) -> tuple[str, Path] | None:
    return _credential(field, [*names, field.lower()]) or _named_file(names)


def _credential(field: str, names: list[str]) -> tuple[str, Path] | None:
    """Find a systemd credential by the field's name or by a variable's, in either case."""
    if folder := os.environ.get("CREDENTIALS_DIRECTORY"):
        for name in (field, *names, *(name.lower() for name in names)):
            path = Path(folder) / name
            if path.is_file():
                return f"the credential {name}", path
    return None


def _named_file(names: list[str]) -> tuple[str, Path] | None:
    for name in names:
        if path := os.environ.get(name + "_FILE", "").strip():
            return name + "_FILE", Path(path)
    return None


def _read(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigurationError(f"{variable}: {path} is too long to be a secret")
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable}: {path} is not text") from None
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot read {path}: {error.strerror or error}") from None
