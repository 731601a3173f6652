"""A click group whose commands are imported only when they run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyGroup"]


# Elsewhere a later option overrides an earlier one, as scripts that add to a command expect.
_ORDERS = frozenset({"send", "preview", "birthdays", "automations", "import"})


def _require_once(command: click.Command, ctx: click.Context, name: str | None, args: list[str]) -> None:
    inner = click.Context(command, info_name=name, parent=ctx)
    try:
        _, _, given = command.make_parser(inner).parse_args(list(args))
    except click.UsageError:  # said when the command itself reads them
        return
    seen: set[str] = set()
    for param in given:
        if not isinstance(param, click.Option) or param.multiple or param.is_flag:
            continue
        if param.opts[0] in seen:
            raise click.UsageError(f"{param.opts[0]} is given twice: which one is meant?", ctx=inner)
        seen.add(param.opts[0])


class LazyGroup(click.Group):
    """Maps a name to `(module:attribute, one line of help)`.

    Listing the commands imports none of them; importing psycopg, pydantic and httpx takes half a second.
    """

    def __init__(self, *args: Any, commands_at: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order given, which is the order a newcomer needs them in."""
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command."""
        if cmd_name not in self._commands_at:
            return None
        module, _, attribute = self._commands_at[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; refuse an order with an option given twice: click would drop the first."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name in _ORDERS and not ctx.resilient_parsing:
            _require_once(command, ctx, name, rest)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the one-liners."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._commands_at.items()])
