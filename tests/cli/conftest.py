from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psycopg
import pytest

from passbell.cli import main
from support.environment import no_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["no_settings"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Passbell(Protocol):
    def __call__(self, *arguments: str, **environment: str) -> Outcome: ...


@pytest.fixture
def passbell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Passbell:
    """Run the command line in this process: `passbell("status", PASSBELL_DATABASE_URL=url)`."""

    def run(*arguments: str, **environment: str) -> Outcome:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        return Outcome(int(stop.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture
def host(database: Callable[..., str]) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """A migrated database and a connection to it."""
    url = database("2")
    with psycopg.connect(url, autocommit=True) as connection:
        yield url, connection


class Club(NamedTuple):
    """A program with members: three reachable, one opted out, one not in a wallet."""

    url: str
    connection: psycopg.Connection[Any]
    program: uuid.UUID


@pytest.fixture
def club(host: tuple[str, psycopg.Connection[Any]], monkeypatch: pytest.MonkeyPatch) -> Club:
    url, connection = host
    monkeypatch.setenv("PASSBELL_DATABASE_URL", url)
    program = uuid.uuid4()
    connection.execute(
        """
        insert into programs (id, name, protocol, passkit_program_id)
        values (%s, 'Tea Club', 'MEMBERSHIP', 'pkTea')
        """,
        (program,),
    )
    members = [
        ("Ann", "INSTALLED", True, 1500),
        ("Bo", "INSTALLED", True, 20),
        ("Cy", "INSTALLED", None, 600),
        ("Di", "INSTALLED", False, 10),
        ("Ed", "UNINSTALLED", True, 10),
    ]
    for name, status, opt_in, points in members:
        connection.execute(
            """
            with member as (
                insert into users (id, email, first_name, marketing_opt_in)
                values (gen_random_uuid(), %(name)s || '@example.com', %(name)s, %(opt_in)s)
                returning id)
            insert into passes_master (id, user_id, program_id, protocol, passkit_internal_id, external_id,
                                       status, is_active, points_balance)
            select gen_random_uuid(), id, %(program)s, 'MEMBERSHIP', 'pk-' || %(name)s, 'M-' || %(name)s,
                   %(status)s, true, %(points)s
              from member
            """,
            {"name": name, "status": status, "opt_in": opt_in, "points": points, "program": program},
        )
    return Club(url, connection, program)
