"""`passbell sandbox`."""

from __future__ import annotations

import click

__all__ = ["sandbox"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one."
)
@click.option("--key", default="sandbox-key", show_default=True, help="REST API key.")
@click.option("--secret", default="sandbox-secret", show_default=True, help="REST API secret.")
@click.option("--token", default="sandbox-token", show_default=True, help="Long-lived API token.")
@click.option("--seed", default=0, show_default=True, help="Makes everything random repeatable.")
@click.option(
    "--option",
    "switches",
    multiple=True,
    metavar="NAME=VALUE",
    help="A switch of docs/sandbox.md, for example metadata=merge. May be repeated.",
)
def sandbox(
    *, host: str, port: int, key: str, secret: str, token: str, seed: int, switches: tuple[str, ...]
) -> None:
    """Run a local PassKit with phones, to try passbell without an account.

    Point PASSBELL_PASSKIT_URL at it. Its control endpoint under /sandbox seeds members, tells which
    phones buzzed, and switches faults on.
    """
    import json  # noqa: PLC0415 - the server is loaded only when it is started

    from passbell.devkit.sandbox import serve  # noqa: PLC0415 - same

    values: dict[str, object] = {"key": key, "secret": secret, "token": token}
    for switch in switches:
        name, sign, value = switch.partition("=")
        if not sign:
            raise click.UsageError(f"--option takes NAME=VALUE, not {switch!r}")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value  # a plain word
    try:
        serve(host, port, seed=seed, **values)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror or error}; take another --port, or 0 for a free one"
        ) from error
