from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.roles import role_url
from support.shop import Shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.databases import Supabase


@pytest.fixture(params=[True, "legacy"], ids=["new project", "old project"])
def tenants(request: pytest.FixtureRequest, database: MakeDatabase) -> Iterator[Tenants]:
    """A Supabase project, with today's default grants and with those of before 30 October 2026."""
    supabase: Supabase = request.param
    made = Tenants(database("3", supabase=supabase), "3")
    yield made
    made.close()


@pytest.fixture
def daemon_url(database: MakeDatabase) -> Iterator[tuple[Shop, str]]:
    """A shop, and the URL with which the role passbell_daemon reaches it."""
    shop = Shop(database("2"), "2")
    with role_url(shop.url, "passbell_daemon") as url:
        yield shop, url
    shop.close()


@pytest.fixture
def web_url(database: MakeDatabase) -> Iterator[tuple[Shop, str]]:
    """A shop, and the URL with which the role passbell_web reaches it."""
    shop = Shop(database("2"), "2")
    with role_url(shop.url, "passbell_web") as url:
        yield shop, url
    shop.close()
