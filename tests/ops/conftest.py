from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from support.pages import free_port, get
from support.processes import Daemon
from support.shops import make_shop, shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import Shop

__all__ = ["make_shop", "shop"]


class StartDaemon(Protocol):
    """How a test asks for a running daemon."""

    def __call__(self, **settings: object) -> Daemon: ...


@pytest.fixture
def start_daemon(shop: Shop) -> Iterator[StartDaemon]:
    """Start dry-running daemons on the shop's database, each with /metrics on a port of its own."""
    started: list[Daemon] = []

    def start(**settings: object) -> Daemon:
        named = {
            "METRICS_PORT": free_port(),
            "DRY_RUN": True,
            "POLL_SECONDS": 0.2,
            "DATABASE_URL": shop.url,
            **settings,
        }
        daemon = Daemon(shop.url, "http://127.0.0.1:9", **named)
        started.append(daemon)
        daemon.start()
        if port := int(daemon.settings["PASSBELL_METRICS_PORT"]):
            # It says that it is there before its loops go round; the numbers are there from then on.
            wait_until(lambda: '"running"' in get(port, "/live").body)
        return daemon

    yield start
    for daemon in started:
        daemon.close()
