"""A wrong database URL: the one line that a command, or the daemon's log, says, names what to correct."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from passbell.errors import DatabaseUnavailable, from_database

if TYPE_CHECKING:
    from conftest import MakeDatabase

WRONG: Final = {
    "password": "correct user or password in the database URL",
    "database": "correct the database in the database URL",
    "port": "start PostgreSQL there, or correct host and port in the database URL",
    "host": "correct the host in the database URL",
    "encryption": "leave sslmode out of the database URL",
    "read-only": "give the primary's address",
}


def wrong(url: str, what: str) -> str:
    """The URL with one thing wrong."""
    parts = urlsplit(url)
    user, password, host, port = parts.username, parts.password, parts.hostname, parts.port
    path, query = parts.path, parts.query
    match what:
        case "password":
            password = "wrong"
        case "database":
            path = "/nowhere"
        case "port":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        case "host":
            host = "db.invalid"
        case "encryption":
            query = "sslmode=require"
        case "read-only":
            query = "options=-c%20default_transaction_read_only%3Don"
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}:{port}", path=path, query=query))


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_database_url_says_what_to_correct(what: str, database: MakeDatabase) -> None:
    """One line, with the server's words and then the remedy; never the password."""
    url = wrong(database("empty", migrated=False), what)
    with pytest.raises(psycopg.Error) as caught, psycopg.connect(url, connect_timeout=10) as connection:
        connection.execute("create table remembered (id integer)")
    said = from_database(caught.value)
    assert isinstance(said, DatabaseUnavailable)
    assert WRONG[what] in str(said)
    assert "\n" not in str(said)
    assert f":{urlsplit(url).password}@" not in str(said)
