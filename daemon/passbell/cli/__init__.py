"""The command `passbell`: each subcommand is imported only when it is called, so that --help is instant."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, NoReturn

import click

from passbell import __version__
from passbell.errors import ConfigurationError, PassbellError, from_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["main", "passbell", "uncollected"]

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C

# name -> where it lives, and the line that `passbell --help` shows without importing it
COMMANDS = {
    "demo": ("passbell.devkit.demo.command:demo", "See it work: a database, a sandbox, thousands of phones."),
    "migrate": ("passbell.cli.migrate:migrate", "Install or upgrade passbell on the database."),
    "check": ("passbell.cli.check:check", "Check configuration, database, host tables, PassKit and clock."),
    "run": ("passbell.cli.run:run", "Run the daemon until SIGTERM."),
    "preview": ("passbell.cli.preview:preview", "Count who a campaign would reach."),
    "send": ("passbell.cli.send:send", "Create a campaign."),
    "status": ("passbell.cli.campaigns:status", "Show the latest campaigns, or one of them."),
    "pause": ("passbell.cli.campaigns:pause", "Pause a campaign."),
    "resume": ("passbell.cli.campaigns:resume", "Resume a paused campaign."),
    "cancel": ("passbell.cli.campaigns:cancel", "Cancel a campaign: what is not sent yet is skipped."),
    "retry-failed": ("passbell.cli.campaigns:retry_failed", "Try the failed passes of a campaign again."),
    "birthdays": ("passbell.cli.birthdays:birthdays", "Give today's birthday gifts now, or list them."),
    "automations": ("passbell.cli.automations:automations", "Run what is due now, or list it."),
    "results": ("passbell.cli.results:results", "Say what a message, or all of a program's, brought."),
    "report": ("passbell.cli.results:report", "Put a program's month on one page."),
    "import": ("passbell.cli.import_:import_", "Import a member CSV."),
    "verify": ("passbell.cli.campaigns:verify", "Check that no member was lost: the conservation law."),
    "web": ("passbell.cli.run:web", "Serve the HTTP API and the Notification Manager page."),
    "sandbox": ("passbell.devkit.sandbox.command:sandbox", "Run a local PassKit with phones."),
}


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector out of an import: what is imported stays, and a tenth of the start is spent on it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


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
        with uncollected():
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


@click.group(cls=LazyGroup, commands_at=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="passbell", message="%(prog)s %(version)s")
def passbell() -> None:
    """Ring the lock screen of wallet passes.

    To see it work: passbell demo. To set it up: migrate, check, run; then send, or the page of web.

    Settings come from the environment; PASSBELL_DATABASE_URL is the only one that every command needs.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: an error is one plain sentence on stderr, never a traceback."""
    _show_what_the_terminal_can()
    # The driver reads dates in ISO's order alone, whatever the database's or the role's default. libpq sends it at each
    # connection's start, which a transaction pooler keeps as well.
    os.environ["PGDATESTYLE"] = "ISO"
    try:
        result: Any = passbell.main(
            args=None if arguments is None else list(arguments), prog_name="passbell", standalone_mode=False
        )
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Stopped.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `passbell status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("PASSBELL_DEBUG"):
            raise
        known = _known(error)
        if known is None:
            _say(
                f"Unexpected {type(error).__name__}: {str(error) or 'no further detail'}. "
                "PASSBELL_DEBUG=1 shows where it happened."
            )
            sys.exit(1)
        _say(str(known))
        sys.exit(known.exit_code)
    sys.exit(result if isinstance(result, int) else 0)


def _show_what_the_terminal_can() -> None:
    """Print a question mark for a bar or a letter that the terminal's code page lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _known(error: Exception) -> PassbellError | None:
    """Return one of our errors, translated if the driver raised it; None for a defect."""
    if isinstance(error, PassbellError):
        return error
    if isinstance(error, UnicodeEncodeError):  # on its way to the database; what we print is replaced
        return ConfigurationError("An argument is not text in UTF-8.")
    psycopg = sys.modules.get("psycopg")  # not imported just to look
    return from_database(error) if psycopg is not None and isinstance(error, psycopg.Error) else None


def _say(sentence: str) -> None:
    click.echo(f"passbell: {sentence}", err=True)
