from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.shop import Shop
from support.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase


@pytest.fixture
def shop(database: MakeDatabase) -> Iterator[Shop]:
    """A shop of generation 2, without Supabase."""
    made = Shop(database("2"), "2")
    yield made
    made.close()


@pytest.fixture
def tenants(database: MakeDatabase) -> Iterator[Tenants]:
    """A Supabase project with two tenants."""
    made = Tenants(database("3", supabase=True), "3")
    yield made
    made.close()
