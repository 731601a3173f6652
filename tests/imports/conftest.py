from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.files import FileHost
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.databases import Generation, Supabase
    from support.shop import MakeShop


@pytest.fixture
def make_shop(database: MakeDatabase) -> Iterator[MakeShop]:
    """A factory of shops; after the test the conservation law is looked at."""
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
    return make_shop("2")


@pytest.fixture
def host() -> Iterator[FileHost]:
    with FileHost() as running:
        yield running
