from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases


@pytest.fixture(scope="module")
def numbers(databases: Databases) -> Iterator[psycopg.Connection]:
    """A migrated database for functions that read no table; shared by a module."""
    url = databases.create("2")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
