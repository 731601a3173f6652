"""Which error ends the daemon, which is waited out, and which concerns one work item."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from passbell.database.pool import CONNECTION_OPTIONS, Database
from passbell.delivery.loops import Loops, ends_the_process
from passbell.errors import (
    CampaignError,
    ConfigurationError,
    DatabaseRefused,
    DatabaseUnavailable,
    LeaseLost,
    PassbellError,
    SchemaBehind,
)
from passbell.settings import Settings

if TYPE_CHECKING:
    from conftest import MakeDatabase


async def error_of(url: str, query: Any, parameters: Any = ()) -> PassbellError:
    """What a call is answered with."""
    async with Database(url, size=1) as database:
        with pytest.raises(PassbellError) as caught:
            await database.fetch(query, parameters)
    return caught.value


def test_each_refusal_of_the_database_has_its_kind(database: MakeDatabase) -> None:
    """A host's rule, value or missing table is the work item's; ours missing is the schema's; a lock passes."""
    url = database("1")
    raised = "do $$ begin raise exception 'no way' using errcode = '{}'; end $$"
    kinds: dict[str, type[PassbellError]] = {
        "23514": DatabaseRefused,
        "P0001": DatabaseRefused,
        "22P02": DatabaseRefused,
        "42501": DatabaseRefused,
        "XX000": DatabaseRefused,
        "55P03": DatabaseUnavailable,
        "40P01": DatabaseUnavailable,
        "57014": DatabaseUnavailable,
        "53200": DatabaseUnavailable,
        "PB412": LeaseLost,
        "PB422": CampaignError,
    }
    for sqlstate, kind in kinds.items():
        assert type(asyncio.run(error_of(url, raised.format(sqlstate)))) is kind, sqlstate
    assert type(asyncio.run(error_of(url, "select from public.host_table"))) is DatabaseRefused
    assert type(asyncio.run(error_of(url, "select public.host_function()"))) is DatabaseRefused
    assert type(asyncio.run(error_of(url, "select passbell.no_such_function()"))) is SchemaBehind
    assert type(asyncio.run(error_of(url, "select %s::text", ("a\0b",)))) is DatabaseRefused
    assert type(asyncio.run(error_of(url, "select %s::text", ("half a \ud83d",)))) is DatabaseRefused


def test_a_missing_object_ends_the_daemon_only_if_the_schema_is_behind(database: MakeDatabase) -> None:
    """A view of ours that went with a table of the host's is no reason; an old schema is."""
    error = SchemaBehind("relation passbell.recipients does not exist")
    url = database("1")
    assert not asyncio.run(ends_the_process(error, url))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("update passbell.settings set bundle = 'older', schema_version = 3")
        conn.execute("delete from passbell.migrations where version > 3")
    assert asyncio.run(ends_the_process(error, url))
    assert asyncio.run(ends_the_process(ConfigurationError("a setting"), url))
    assert not asyncio.run(ends_the_process(DatabaseRefused("a rule"), url))
    assert not asyncio.run(ends_the_process(ZeroDivisionError(), url))


def test_a_loop_that_breaks_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop goes on after an unexpected error or a refusal; a wrong configuration ends the daemon."""
    monkeypatch.setattr("passbell.delivery.loops.Backoff.next", lambda _: 0.0)
    errors = iter([ZeroDivisionError("odd"), DatabaseRefused("a rule"), ConfigurationError("a setting")])
    rounds = itertools.count(1)
    begun = 0

    async def breaks() -> None:
        nonlocal begun
        begun = next(rounds)
        raise next(errors)

    async def fatal(error: Exception) -> bool:
        return isinstance(error, ConfigurationError)

    async def main() -> int | None:
        loops = Loops({"breaks": breaks, "calm": asyncio.Event().wait}, fatal)  # type: ignore[dict-item]
        code = await loops.run_until(asyncio.Event())
        await loops.end()
        return code

    assert asyncio.run(main()) == 2
    assert begun == 3


def test_the_encoding_of_the_environment_does_not_matter(
    database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGCLIENTENCODING=LATIN1: an emoji arrives as it is."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with psycopg.connect(database("1"), **CONNECTION_OPTIONS) as conn:
        assert conn.execute("select %s::text", ["Hi 👋"]).fetchone() == ("Hi 👋",)


@pytest.mark.parametrize("token", ["tökén", "„quoted“", "two words", "line\nbreak"])
def test_a_token_that_no_header_can_carry_is_told_at_the_start(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and the variable's name, without the token; not one failed request after the other."""
    monkeypatch.setenv("PASSBELL_PASSKIT_TOKEN", token)
    with pytest.raises(ConfigurationError, match="PASSBELL_PASSKIT_TOKEN") as told:
        Settings.for_command()
    assert token not in str(told.value)
