"""Which PostgreSQL the tests run on, and starting it.

The ladder, first hit wins:

1. `PASSBELL_TEST_DATABASE_URL`: a server you name, as a superuser.
2. `PASSBELL_TEST_POSTGRES_BIN`: an installation you name, a folder with initdb and postgres.
3. A Docker engine that answers: `postgres:17-alpine`, or the image in `PASSBELL_TEST_POSTGRES_IMAGE`.
4. The wheel with PostgreSQL inside.
5. Debian's packages.
"""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from passbell.devkit.binaries import debian_binaries, postgres_version, wheel_binaries
from passbell.devkit.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Server", "ServerChoice", "server_choice"]

IMAGE = "postgres:17-alpine"
ITERATIONS_SINCE = 16_00_00


@dataclass(frozen=True)
class Server:
    """A running server; its maintenance database is where databases are created from."""

    admin_url: str

    def url(self, database: str | None = None) -> str:
        """Return the URL of one database; of the maintenance database when none is named."""
        if database is None:
            return self.admin_url
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))


@dataclass(frozen=True)
class ServerChoice:
    """A rung of the ladder: what to print, and how to start it. A shared one runs only once."""

    title: str
    start: Callable[[], AbstractContextManager[Server]]
    shared: bool = False


@cache
def server_choice() -> ServerChoice:
    """Find the first rung that holds. Nothing is started yet."""
    if url := os.environ.get("PASSBELL_TEST_DATABASE_URL"):
        with psycopg.connect(url) as conn:
            version = conn.info.parameter_status("server_version")
        return ServerChoice(
            f"PostgreSQL {version} at PASSBELL_TEST_DATABASE_URL", lambda: _given(url), shared=True
        )
    if folder := os.environ.get("PASSBELL_TEST_POSTGRES_BIN"):
        return _private(Path(folder), folder)
    if _docker_answers():
        image = os.environ.get("PASSBELL_TEST_POSTGRES_IMAGE", IMAGE)
        return ServerChoice(f"{image} in Docker", lambda: _docker(image))
    for source, installations in (("wheel", wheel_binaries()), ("Debian package", debian_binaries())):
        if installations:
            return _private(installations[0], source)
    return ServerChoice("none found", _missing)


def _private(binaries: Path, source: str) -> ServerChoice:
    return ServerChoice(
        f"PostgreSQL {postgres_version(binaries)} of our own ({source})", lambda: _embedded(binaries)
    )


@contextlib.contextmanager
def _given(url: str) -> Iterator[Server]:
    yield Server(url)


@contextlib.contextmanager
def _embedded(binaries: Path) -> Iterator[Server]:
    with EmbeddedPostgres(durable=False, bin_directory=binaries) as postgres:
        _hash_once(postgres.url())
        yield Server(postgres.url())


def _hash_once(url: str) -> None:
    """Let a login hash its password once instead of 4,096 times, which protects passwords that can be guessed.

    The superuser's is random. A login then takes 2 ms of processor time instead of 7, and a run logs in ten thousand
    times.
    """
    with psycopg.connect(url, autocommit=True) as conn:
        if conn.info.server_version >= ITERATIONS_SINCE:
            conn.execute("alter system set scram_iterations = 1")
            conn.execute("select pg_reload_conf()")
            conn.execute("set scram_iterations = 1")
            password = sql.Literal(conn.info.password)
            conn.execute(sql.SQL("alter role current_user password {}").format(password))


@contextlib.contextmanager
def _missing() -> Iterator[Server]:
    raise RuntimeError("No PostgreSQL for the tests: run `make setup`, or set PASSBELL_TEST_DATABASE_URL.")
    yield


def _docker_answers() -> bool:
    """Whether an engine is there. Asked by hand: Docker's own client leaks its socket when there is none."""
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        if where.scheme == "unix":
            wire = socket.socket(socket.AF_UNIX)
            address: str | tuple[str, int] = where.path
        else:
            wire = socket.socket()
            address = (where.hostname or "127.0.0.1", where.port or 2375)
        with wire:
            wire.settimeout(5)
            wire.connect(address)
            wire.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in wire.recv(1_024)
    except OSError:
        return False


@contextlib.contextmanager
def _docker(image: str) -> Iterator[Server]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from testcontainers.postgres import PostgresContainer  # noqa: PLC0415 - slow to import

        container = PostgresContainer(image, driver=None).with_command(
            "postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"
        )
        container.start()
    try:
        yield Server(container.get_connection_url())
    finally:
        container.stop()
