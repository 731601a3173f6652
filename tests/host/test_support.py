"""The helpers that other tests lean on do what they say."""

from __future__ import annotations

import socket
import threading
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from support.databases import Databases
from support.processes import Command, Daemon, Sandbox
from support.proxy import Proxy
from support.servers import ServerChoice, server_choice
from support.wait import wait_until, wait_until_async

if TYPE_CHECKING:
    from conftest import MakeDatabase


def test_a_cut_wire_ends_a_session_and_a_new_one_works(database: MakeDatabase) -> None:
    """What a failover looks like: the open connection breaks, the next one is fine."""
    url = database("empty", migrated=False)
    with Proxy.before(url) as proxy:
        with psycopg.connect(proxy.url(url), autocommit=True) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
            proxy.cut()
            with pytest.raises(psycopg.OperationalError):
                conn.execute("select 1")
        with psycopg.connect(proxy.url(url)) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        assert proxy.connections == 2


def test_a_refusing_wire_lets_nobody_in_until_it_accepts(database: MakeDatabase) -> None:
    """What an outage looks like: no connection at all, then all is well again."""
    url = database("empty", migrated=False)
    with Proxy.before(url) as proxy:
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.url(url))
        proxy.accept()
        psycopg.connect(proxy.url(url)).close()


def test_a_stalled_wire_holds_the_answer_and_then_delivers_it(database: MakeDatabase) -> None:
    """What a dead but open connection looks like: the call hangs, and ends when bytes flow again."""
    url = database("empty", migrated=False)
    with Proxy.before(url) as proxy, psycopg.connect(proxy.url(url), autocommit=True) as conn:
        proxy.stall()
        answers: list[object] = []
        waiting = threading.Thread(target=lambda: answers.append(conn.execute("select 1").fetchone()))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        proxy.flow()
        waiting.join(30)
        assert answers == [(1,)]


def test_a_proxy_before_nothing_breaks_the_caller_off() -> None:
    """When the target is down, the caller sees a broken connection, not a hanging one."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with (
        Proxy("127.0.0.1", port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 30) as caller,
        suppress(ConnectionError),
    ):
        assert caller.recv(1) == b""


def test_waiting_returns_the_answer_or_fails_with_what_was_awaited() -> None:
    """A condition is asked until it holds; one that never does fails the test in words."""
    answers = iter([0, None, "there"])
    assert wait_until(lambda: next(answers)) == "there"
    with pytest.raises(AssertionError, match="the bell rings"):
        wait_until(lambda: False, "the bell rings", deadline=0.02)


async def test_waiting_works_with_coroutines() -> None:
    """The same on the event loop, with a coroutine function as the condition."""
    answers = iter([0, 5])

    async def condition() -> int:
        return next(answers)

    assert await wait_until_async(condition) == 5
    with pytest.raises(AssertionError, match="the bell rings"):
        await wait_until_async(lambda: False, "the bell rings", deadline=0.02)


def test_a_command_is_run_with_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings never reach a tested process; its answer and exit code do."""
    monkeypatch.setenv("PASSBELL_DATABASE_URL", "postgresql://nowhere/production")
    with Command("--version") as command:
        assert command.wait() == 0
        assert "passbell" in command.output


def test_two_sessions_on_one_server_do_not_collide() -> None:
    """Two test runs at the same moment, both with Supabase's cluster-wide roles, do not disturb each other."""
    with server_choice().start() as server:
        shared = ServerChoice("the same server", lambda: nullcontext(server), shared=True)
        urls: list[str] = []
        failures: list[BaseException] = []

        def session() -> None:
            try:
                databases = Databases(shared)
                try:
                    for _ in range(3):
                        urls.append(databases.create("3", supabase=True, migrated=False))  # noqa: PERF401
                finally:
                    databases.close()
            except BaseException as error:  # noqa: BLE001 - shown by the main thread
                failures.append(error)

        threads = [threading.Thread(target=session) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert len({urlsplit(url).path for url in urls}) == 9
        with psycopg.connect(server.url()) as conn:
            left = conn.execute("select datname from pg_database where datname like 'passbell%'").fetchall()
        assert left == []


def test_a_sandbox_is_ready_on_entry_and_gone_after_the_block() -> None:
    """A test gets an address that answers, and no process outlives it."""
    with Sandbox() as sandbox:
        address = urlsplit(sandbox.url)
        socket.create_connection((address.hostname, address.port), 30).close()
        process = sandbox.process
    assert process.poll() is not None


def test_a_daemon_that_ends_instead_of_starting_fails_the_test_with_its_words() -> None:
    """The reason stands in the failure, and nothing is left running."""
    daemon = Daemon("postgresql://127.0.0.1:1/nowhere", "http://127.0.0.1:1", RATE_PER_SECOND="much")
    with pytest.raises(AssertionError, match=r"ended with 2 before it was ready:\n.*RATE_PER_SECOND"):
        daemon.__enter__()
    assert not daemon.running
