from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from support.pages import free_port, get
from support.processes import Daemon
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.databases import Generation, Supabase
    from support.shop import MakeShop


class StartDaemon(Protocol):
    """How a test asks for a running daemon."""

    def __call__(self, **settings: object) -> Daemon: ...


@pytest.fixture
def make_shop(database: MakeDatabase) -> Iterator[MakeShop]:
    """A factory of shops, each in a database of its own."""
    shops: list[Shop] = []

    def make(generation: Generation = "2", *, supabase: Supabase = False) -> Shop:
        shops.append(Shop(database(generation, supabase=supabase), generation))
        return shops[-1]

    yield make
    broken = [row for shop in shops for row in shop.violations()]
    for shop in shops:
        shop.close()
    assert not broken, broken


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    """A shop of generation 2, without Supabase."""
    return make_shop("2")


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
