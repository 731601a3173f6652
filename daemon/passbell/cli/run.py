"""`passbell run`: the daemon; `passbell web`: the HTTP API and the page. Both serve until they are told to stop."""

from __future__ import annotations

import gc
import sys

import click

# structlog draws tracebacks with rich where that is installed: 80 modules and 4 MB for a server, whose are plain.
_without_rich = "rich" not in sys.modules
if _without_rich:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if _without_rich:
    del sys.modules["rich"]

from passbell.cli import uncollected  # noqa: E402
from passbell.errors import ConfigurationError  # noqa: E402
from passbell.log import configure_logging  # noqa: E402
from passbell.settings import Need, Settings  # noqa: E402


@click.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the daemon, all loops, until SIGTERM or Ctrl-C.

    The first signal lets calls in flight end and hands the rest back; the second one ends the process at once.
    """
    settings = _begin(Need.DATABASE | Need.PASSKIT)
    with uncollected():
        from passbell.delivery.daemon import main  # noqa: PLC0415 - a wrong setting should be told at once

        gc.freeze()  # what is loaded stays, and no collection looks through it again
    ctx.exit(main(settings))


@click.command()
@click.pass_context
def web(ctx: click.Context) -> None:
    """Serve the HTTP API and the Notification Manager page until SIGTERM or Ctrl-C."""
    settings = _begin(Need.DATABASE | Need.WEB)
    try:
        from passbell.web.serve import serve  # noqa: PLC0415 - a wrong setting should be told at once
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`passbell web` needs the extra `web` ({error.name} is missing): pip install 'passbell[web]'."
        ) from None
    ctx.exit(serve(settings))


def _begin(need: Need) -> Settings:
    """Read the settings, set up logging, and warn of settings that may not be meant."""
    settings = Settings.for_command(need)
    configure_logging(settings.log_level, settings.log_format, secrets=settings.secrets)
    for warning in settings.warnings:
        structlog.get_logger("passbell.settings").warning("setting_doubtful", detail=warning)
    return settings
