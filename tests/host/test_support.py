"""The helpers that other tests lean on do what they say."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
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
    """A developer's own settings do not reach a tested command."""
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


class Telling(Command):
    """A program that says what it was given, and then waits to be ended or ends with 7."""

    def __init__(self, folder: Path, *, fresh: bool, ends: bool, **settings: str) -> None:
        super().__init__("one", "two", settings=settings)
        self.fresh = fresh
        script = folder / f"telling_{ends}.py"
        script.write_text(
            "import json, os, signal, sys, time\n"
            "given = [__name__, sys.argv, os.environ.get('TOLD'), 'TMPDIR' in os.environ]\n"
            "given += [os.getsid(0) == os.getpid(), sys.stdin.read(), os.getcwd(), sys.path[0]]\n"
            "print(json.dumps(given), flush=True)\n"
            "signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL or sys.exit('signals of another')\n"
            + ("sys.exit(7)\n" if ends else "time.sleep(600)\n")
        )
        self.program = (str(script),)  # type: ignore[misc]


@pytest.mark.parametrize("fresh", [True, False], ids=["started", "forked"])
def test_a_process_that_is_forked_is_as_one_that_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fresh: bool
) -> None:
    """Its own arguments, environment, session, streams, folder, signals and exit code, whichever way it came to be."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with (
        Telling(tmp_path, fresh=fresh, ends=True, TOLD="this") as first,
        Telling(tmp_path, fresh=fresh, ends=False) as second,
    ):
        for command, told in ((first, "this"), (second, None)):
            wait_until(lambda command=command: command.output.endswith("\n"), "it has said what it was given")
            expected = ["__main__", [*command.program, "one", "two"], told, True, True, "", str(tmp_path)]
            assert json.loads(command.output) == [*expected, str(tmp_path)]
        assert first.wait() == 7
        assert (second.running, second.kill(), second.running) == (True, -signal.SIGKILL, False)
        assert first.log == second.log == ""


def test_what_was_forked_ends_with_the_tests(tmp_path: Path) -> None:
    """A run of the tests that is killed leaves no daemon behind."""
    (tmp_path / "owner.py").write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from support.processes import Sandbox\n"
        "print(Sandbox().__enter__().url, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, tmp_path / "owner.py"], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        address = urlsplit(owner.stdout.readline().strip())
        socket.create_connection((address.hostname, address.port), 30).close()
        owner.kill()

        def gone() -> bool:
            with suppress(ConnectionRefusedError):
                socket.create_connection((address.hostname, address.port), 30).close()
                return False
            return True

        wait_until(gone, "the sandbox has ended too")
