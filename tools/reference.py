"""Write the reference from the code and the schema: `make docs`.

    docs/settings.md            the table of settings (the rest of that page is written by hand)
    docs/reference/commands.md  what `passbell COMMAND --help` says
    docs/reference/sql.md       functions, views, tables and audiences, from the database's catalogue
    docs/reference/outcomes.md  statuses, reasons, exit codes and SQLSTATEs, their values from code and catalogue

A test compares all of it with what it would be, so a page cannot fall behind the code. A value that has no words is an
error. Log events (docs/events.md) and metrics (docs/metrics.md) are written by hand and compared by tests of their own.
"""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
import psycopg
from pydantic import AliasChoices

from passbell import settings as settings_module
from passbell.cli import passbell
from passbell.database.migrate import migrate
from passbell.settings import Settings
from passbell.settings.sources import names_of
from reference_markdown import WIDTH, WRITTEN, block, table
from reference_outcomes import outcomes_page
from reference_sql import sql_page

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["outcomes_page", "pages", "sql_page"]

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- settings: written by `make docs` from the class Settings -->", "<!-- end of settings -->"


def pages(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return path → text of every page; `connection` leads to a fresh installation."""
    return {
        "docs/settings.md": settings_page((ROOT / "docs/settings.md").read_text("utf-8")),
        "docs/reference/commands.md": commands_page(),
        "docs/reference/sql.md": sql_page(connection),
        "docs/reference/outcomes.md": outcomes_page(connection),
    }


# ── settings ────────────────────────────────────────────────────


def settings_page(text: str) -> str:
    """Put the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}"


def settings_table() -> str:
    """One row per field of Settings."""
    meanings = attribute_sentences(settings_module)
    rows = []
    for field, info in Settings.model_fields.items():
        own, *others = names_of(field, info, "PASSBELL_")
        parts = [meanings[field]]
        if choices := literals(info):
            parts.append(f"One of {', '.join(f'`{choice}`' for choice in choices)}.")
        if limits := bounds(info):
            parts.append(limits)
        if others:
            names = " and ".join(f"`{name}`" for name in others)
            parts.append(f"{names} {'is' if len(others) == 1 else 'are'} read too.")
        if isinstance(info.validation_alias, AliasChoices):
            parts.append("Secret.")
        rows.append((f"`{own}`", shown(info.default), " ".join(parts)))
    return table(("name", "default", "meaning"), rows)


def attribute_sentences(module: Any) -> dict[str, str]:
    """Return attribute → the string that stands below it in the class Settings."""
    (found,) = [
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    ]
    sentences = {}
    for node, following in zip(found.body, found.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            sentences[node.target.id] = inspect.cleandoc(str(following.value.value))
    return sentences


def literals(info: FieldInfo) -> tuple[str, ...]:
    """Return the choices of a Literal."""
    return get_args(info.annotation) if get_origin(info.annotation) is Literal else ()


def bounds(info: FieldInfo) -> str:
    """Say the range of a number."""
    found = {
        name: getattr(limit, name)
        for limit in info.metadata
        for name in ("gt", "ge", "le")
        if hasattr(limit, name)
    }
    if "le" not in found:
        return ""
    low = f"{found['ge']:,}" if "ge" in found else f"More than {found['gt']:,}"
    return f"{low} to {found['le']:,}."


def shown(default: object) -> str:
    """Write a default as the environment would."""
    if default is None or default == ():
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


# ── commands ────────────────────────────────────────────────────


def commands_page() -> str:
    """Every command's own help."""
    parts = [
        "# Commands",
        WRITTEN.format("the commands themselves"),
        "Exit codes: [outcomes](outcomes.md#exit-codes). Settings: [settings](../settings.md).",
        block(help_of(passbell, "passbell")),
    ]
    context = click.Context(passbell, info_name="passbell")
    for name in passbell.list_commands(context):
        command = passbell.get_command(context, name)
        assert command is not None  # noqa: S101 - it has just been listed
        parts += [f"## passbell {name}", block(help_of(command, f"passbell {name}"))]
        if isinstance(command, click.Group):
            parts += [
                block(help_of(one, f"passbell {name} {below}")) for below, one in command.commands.items()
            ]
    return "\n\n".join(parts) + "\n"


def help_of(command: click.Command, name: str) -> str:
    """Return what --help prints, at a fixed width."""
    context = click.Context(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context)


def main() -> int:
    """Write what has changed and name it."""
    from passbell.devkit.postgres import EmbeddedPostgres  # noqa: PLC0415 - only when run as a script

    with EmbeddedPostgres(durable=False) as server:
        migrate(server.url())
        with psycopg.connect(server.url()) as connection:
            written = pages(connection)
    for name, text in written.items():
        path = ROOT / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
