from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase


@pytest.fixture
def shop(database: MakeDatabase) -> Iterator[Shop]:
    """A shop of generation 2. After the test the conservation law is looked at."""
    made = Shop(database("2"), "2")
    yield made
    broken = made.violations()
    made.close()
    assert not broken, broken
