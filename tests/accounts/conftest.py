from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.shops import make_shop, shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

__all__ = ["make_shop", "shop"]


@pytest.fixture
def tenants(database: MakeDatabase) -> Iterator[Tenants]:
    """A Supabase project with two tenants."""
    made = Tenants(database("3", supabase=True), "3")
    yield made
    made.close()
