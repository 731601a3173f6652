"""`passbell web`: the HTTP API and the page."""

from __future__ import annotations

import click
import structlog

from passbell.errors import ConfigurationError
from passbell.log import configure_logging
from passbell.settings import Need, Settings


@click.command()
@click.pass_context
def web(ctx: click.Context) -> None:
    """Serve the HTTP API and the Notification Manager page until SIGTERM or Ctrl-C."""
    settings = Settings.for_command(Need.DATABASE | Need.WEB)
    configure_logging(settings.log_level, settings.log_format, secrets=settings.secrets)
    for warning in settings.warnings:
        structlog.get_logger("passbell.settings").warning("setting_doubtful", detail=warning)
    try:
        from passbell.web.serve import serve  # noqa: PLC0415 - a wrong setting should be told at once
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"`passbell web` needs the extra `web` ({error.name} is missing): pip install 'passbell[web]'."
        ) from None
    ctx.exit(serve(settings))
