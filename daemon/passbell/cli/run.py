"""`passbell run`: the daemon."""

from __future__ import annotations

import sys

import click

# structlog draws tracebacks with rich where that is installed: 80 modules and 4 MB for a daemon, whose are plain.
_without_rich = "rich" not in sys.modules
if _without_rich:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if _without_rich:
    del sys.modules["rich"]

from passbell.log import configure_logging  # noqa: E402
from passbell.settings import Need, Settings  # noqa: E402


@click.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the daemon, all loops, until SIGTERM or Ctrl-C.

    The first signal lets calls in flight end and hands the rest back; the second one ends the process at once.
    """
    settings = Settings.for_command(Need.DATABASE | Need.PASSKIT)
    configure_logging(settings.log_level, settings.log_format, secrets=settings.secrets)
    for warning in settings.warnings:
        structlog.get_logger("passbell.settings").warning("setting_doubtful", detail=warning)
    from passbell.delivery.daemon import main  # noqa: PLC0415 - a wrong setting should be told at once

    ctx.exit(main(settings))
