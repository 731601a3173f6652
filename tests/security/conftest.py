from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.roles import role_url
from support.shops import make_shop, shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.databases import Supabase
    from support.shop import Shop

__all__ = ["make_shop", "shop"]


@pytest.fixture(params=[True, "legacy"], ids=["new project", "old project"])
def tenants(request: pytest.FixtureRequest, database: MakeDatabase) -> Iterator[Tenants]:
    """A Supabase project, with today's default grants and with those of before 30 October 2026."""
    supabase: Supabase = request.param
    made = Tenants(database("3", supabase=supabase), "3")
    yield made
    made.close()


@pytest.fixture
def daemon_url(shop: Shop) -> Iterator[tuple[Shop, str]]:
    """A shop, and the URL with which the role passbell_daemon reaches it."""
    with role_url(shop.url, "passbell_daemon") as url:
        yield shop, url


@pytest.fixture
def web_url(shop: Shop) -> Iterator[tuple[Shop, str]]:
    """A shop, and the URL with which the role passbell_web reaches it."""
    with role_url(shop.url, "passbell_web") as url:
        yield shop, url
