"""The fixtures `make_shop` and `shop`: a conftest.py that imports them offers them to its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

    from .databases import Generation, Supabase
    from .shop import MakeShop

__all__ = ["make_shop", "shop"]


@pytest.fixture
def make_shop(database: MakeDatabase) -> Iterator[MakeShop]:
    """A factory of shops, each in a database of its own. After the test the conservation law is looked at."""
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
