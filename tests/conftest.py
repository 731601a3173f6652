from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shared helpers are imported as `support.…`, from whatever folder pytest was started in.
sys.path.insert(0, str(Path(__file__).parent))

from support.costs import Costs
from support.databases import Databases, Generation, Supabase
from support.servers import server_choice
from support.spread import (
    pytest_collection,
    pytest_collection_modifyitems,
    pytest_configure_node,
    pytest_ignore_collect,
    pytest_make_parametrize_id,
    pytest_runtest_protocol,
    pytest_unconfigure,
    pytest_xdist_auto_num_workers,
)

__all__ = [
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_configure_node",
    "pytest_ignore_collect",
    "pytest_make_parametrize_id",
    "pytest_runtest_protocol",
    "pytest_unconfigure",
    "pytest_xdist_auto_num_workers",
]

# A shell starts its background jobs with SIGINT ignored, and the processes under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What is compiled is kept, whatever the machine is used to: else each worker compiles every test, and each command that
# the tests start compiles passbell.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Workers of a distributed run have it set, and the commands under test would fold their lines.
os.environ.pop("COLUMNS", None)


class MakeDatabase(Protocol):
    """How a test asks for a database; see the fixture `database`."""

    def __call__(
        self, generation: Generation = "1", *, supabase: Supabase = False, migrated: bool = True
    ) -> str: ...


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Costs())


def pytest_report_header() -> str:
    return f"database: {server_choice().title}"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Every database of this session. Nothing is started before the first one is asked for."""
    made = Databases(server_choice())
    yield made
    made.close()


@pytest.fixture
def database(databases: Databases) -> Iterator[MakeDatabase]:
    """A factory of databases that live as long as the test: `url = database("2", supabase=True)`.

    generation: "1", "1_bare", "2", "3" (the host's tables) or "empty" (plain PostgreSQL, no host at all).
    supabase: True for Supabase's roles, schemas and policy; "legacy" also for its old default grants.
    migrated: False leaves passbell's own migration to the test.
    """
    names: list[str] = []

    def make(generation: Generation = "1", *, supabase: Supabase = False, migrated: bool = True) -> str:
        url = databases.create(generation, supabase=supabase, migrated=migrated)
        names.append(urlsplit(url).path.removeprefix("/"))
        return url

    yield make
    for name in names:
        databases.drop(name)


@pytest.fixture(params=["1", "2", "3"], ids=lambda value: f"generation{value}")
def generation(request: pytest.FixtureRequest) -> Generation:
    """Each complete generation of the host's tables in turn."""
    value: Generation = request.param
    return value
