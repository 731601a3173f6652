"""Runs the web server."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import structlog
import uvicorn

from passbell.errors import ConfigurationError
from passbell.web.app import create_app
from passbell.web.connections import HEAD_BYTES, Bounded

if TYPE_CHECKING:
    from passbell.settings import Settings

__all__ = ["serve"]

log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C, end requests in flight, return 0. Port 0 takes a free one and says which."""
    listening = _listen(settings.web_host, settings.web_port)
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,  # the gate writes one line per request, with its id
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=15,
        http=Bounded,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws="none",
        proxy_headers=True,
        forwarded_allow_ips=settings.web_trusted_proxies,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    # The server catches these while it serves, and raises them once more when it has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info("web_started", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    asyncio.run(server.serve(sockets=[listening]))
    log.info("web_stopped")
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}; "
            "set another PASSBELL_WEB_PORT or PASSBELL_WEB_HOST."
        ) from None
    return listening
