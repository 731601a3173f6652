from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from support.shop import Shop, utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.databases import Databases

NOON = utc("2026-06-01T12:00:00")


@pytest.fixture(scope="module")
def numbers(databases: Databases) -> Iterator[psycopg.Connection]:
    """A migrated database for functions that read no table; shared by a module."""
    url = databases.create("2")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def town(databases: Databases) -> Iterator[Shop]:
    """A shop in which whole years of campaigns are simulated; shared by a module, a program per test."""
    made = Shop(databases.create("2"), "2")
    yield made
    made.close()


@pytest.fixture
def shop(database: MakeDatabase) -> Iterator[Shop]:
    """A shop of generation 2. After the test the conservation law is looked at."""
    made = Shop(database("2"), "2")
    made.clock(NOON)
    yield made
    broken = made.violations()
    made.close()
    assert not broken, broken
