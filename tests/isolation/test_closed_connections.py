"""What an operator reads of connections that a call has closed."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from passbell.database.pool import Database
from passbell.errors import DatabaseUnavailable
from passbell.log import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a process logs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_connection_that_was_closed_on_purpose_is_no_line(database: MakeDatabase, log: io.StringIO) -> None:
    """A read-only server refuses every call: the error has the advice, and the pool says nothing beside it."""
    url = f"{database('empty', migrated=False)}?options=-c%20default_transaction_read_only%3Don"

    async def ask() -> None:
        async with Database(url) as there:
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable, match="give the primary's address"):
                    await there.fetch("create table t ()")

    asyncio.run(ask())
    assert log.getvalue() == ""
    logging.getLogger("psycopg.pool").warning("error connecting in %r", "passbell")
    assert "error connecting in 'passbell'" in log.getvalue()
