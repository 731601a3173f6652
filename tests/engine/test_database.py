"""The database goes away in every way it can: the daemon keeps its process and goes on by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from passbell.db.migrate import migrate
from passbell.demo.postgres import EmbeddedPostgres, _free_port
from support.databases import load_host
from support.proxy import Proxy
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from support.scene import Scene

PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="no pgbouncer here (Debian: apt-get install pgbouncer)"
)
HALF = {"RATE_PER_SECOND": 200, "CHUNK_SIZE": 50}


def passes(scene: Scene) -> set[UUID]:
    """Every pass of the scene."""
    return {row["id"] for row in scene.rows("select id from passes_master")}


def recovered(scene: Scene, begun: float, what: str) -> None:
    """Wait for the next push and say how long it took."""
    pushes = scene.remote.overview()["pushes"]
    scene.until_pushes(pushes + 1, deadline=45)
    print(f"{what}: sending again after {time.monotonic() - begun:.2f} s")  # noqa: T201 - a measurement, shown with -s


def test_every_connection_is_terminated_again_and_again(scene: Scene) -> None:
    """An administrator ends all sessions, three times in a campaign."""
    program = scene.plain(400)
    with scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello")
        for sent in (50, 150, 250):
            scene.until_sent(campaign, sent)
            scene.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name = 'passbell'"
            )
            assert not scene.violations()
        scene.until(campaign, law=True)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene), "Hello")


def test_the_wire_to_the_database_is_cut_and_stalls(scene: Scene) -> None:
    """Cut, refused for a while, and half open: sending goes on by itself each time."""
    program = scene.plain(700)
    with Proxy.before(scene.url) as wire, scene.daemon(wire.url(scene.url), **HALF) as daemon:
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 100)
        wire.cut()
        recovered(scene, time.monotonic(), "wire cut")
        wire.refuse()
        wait_until(lambda: len(daemon.events("database_unavailable")) > 2, "it notices")
        begun = time.monotonic()
        wire.accept()
        recovered(scene, begun, "connections refused")
        wire.stall()
        wait_until(
            lambda: [e for e in daemon.events("database_unavailable") if "did not answer" in e["reason"]],
            "a deadline passes",
            40,
        )
        begun = time.monotonic()
        wire.flow()
        recovered(scene, begun, "wire stalled")
        scene.until(campaign, law=True)
        assert daemon.running
    scene.everybody_once(campaign, passes(scene), "Hello")


def test_a_read_only_database_is_waited_for(scene: Scene) -> None:
    """As after a failover to a standby: writing is refused for some seconds, then it works again."""
    program = scene.plain(400)
    name = urlsplit(scene.url).path.lstrip("/")
    with scene.daemon(**HALF) as daemon:
        campaign = scene.campaign(program, "Hello")
        scene.until_sent(campaign, 50)
        for setting in ("on", "off"):
            with psycopg.connect(scene.url, autocommit=True) as conn:
                conn.execute("set default_transaction_read_only = off")
                conn.execute(
                    psycopg.sql.SQL("alter database {} set default_transaction_read_only = {}").format(
                        psycopg.sql.Identifier(name), psycopg.sql.SQL(setting)
                    )
                )
                conn.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and application_name = 'passbell'"
                )
            if setting == "on":
                wait_until(lambda: len(daemon.events("database_unavailable")) > 3, "it notices")
                assert daemon.running
        scene.until(campaign, law=True)
    scene.everybody_once(campaign, passes(scene), "Hello")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["restarted", "killed"])
def test_postgresql_itself_goes_down_in_a_campaign(make_scene: Callable[..., Scene], how: int) -> None:
    """A server of the test's own is stopped (fast, or kill -9) and started again: nobody lost, nobody twice."""
    with EmbeddedPostgres(durable=True) as server:
        load_host(server.url(), "2")
        migrate(server.url())
        port = server.port
        with Proxy("127.0.0.1", port) as wire:
            scene = make_scene("2", server.url())
            program = scene.plain(500)
            with scene.daemon(wire.url(server.url()), **HALF) as daemon:
                campaign = scene.campaign(program, "Hello")
                scene.until_sent(campaign, 100)
                os.kill(server.pid, how)
                assert server._leash is not None
                server._leash.wait(30)
                assert server._leash.stdin is not None
                server._leash.stdin.close()
                wait_until(lambda: daemon.events("database_unavailable"), "it notices")
                server._run()  # on another port; the daemon's URL leads through the proxy
                wire._target = ("127.0.0.1", server.port)
                begun = time.monotonic()
                scene.conn.close()
                scene.conn = psycopg.connect(server.url(), autocommit=True)
                recovered(scene, begun, f"PostgreSQL stopped by signal {how}")
                scene.until(campaign, law=True)
                assert daemon.running
            scene.everybody_once(campaign, passes(scene), "Hello")


def test_a_daemon_may_start_before_the_database(scene: Scene) -> None:
    """A machine that boots in the wrong order: the daemon waits."""
    program = scene.plain(10)
    campaign = scene.campaign(program)
    with Proxy.before(scene.url) as wire:
        wire.refuse()
        daemon = scene.daemon(wire.url(scene.url))
        try:
            daemon.start(wait=False)
            wait_until(lambda: daemon.events("database_unavailable"), "it waits")
            wire.accept()
            scene.until(campaign)
        finally:
            daemon.close()


@pytest.fixture
def pooled(scene: Scene, tmp_path: Path) -> Iterator[str]:
    """The scene's database through PgBouncer in transaction mode."""
    assert PGBOUNCER is not None
    parts = urlsplit(scene.url)
    port = _free_port()
    tmp_path.chmod(0o755)
    (tmp_path / "users").write_text(f'"{parts.username}" "{parts.password or ""}"\n')
    (tmp_path / "ini").write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\npool_mode = transaction\nauth_type = plain\n"
        f"auth_file = {tmp_path / 'users'}\nignore_startup_parameters = extra_float_digits\n"
        "default_pool_size = 3\nmax_client_conn = 50\n"
    )
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.owner() == tmp_path.owner() and parent != Path(tmp_path.anchor) and parent.name != "tmp":
            parent.chmod(0o755)
    # PgBouncer refuses to run as root.
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, str(tmp_path / "ini")], stdout=log, stderr=log, **user)
        try:
            url = parts._replace(netloc=f"{parts.username}:{parts.password or ''}@127.0.0.1:{port}").geturl()

            def up() -> bool:
                assert process.poll() is None, (tmp_path / "log").read_text()
                try:
                    psycopg.connect(url).close()
                except psycopg.OperationalError:
                    return False
                return True

            wait_until(up, "PgBouncer answers")
            yield url
        finally:
            process.terminate()
            process.wait(10)


@needs_pgbouncer
@pytest.mark.parametrize("direct", [True, False], ids=["LISTEN directly", "polling only"])
def test_a_transaction_pooler_may_stand_between(scene: Scene, pooled: str, direct: bool) -> None:  # noqa: FBT001
    """Through PgBouncer in transaction mode everything works, with LISTEN on a direct connection and without."""
    program = scene.plain(400)
    settings = {"LISTEN_URL": scene.url} if direct else {}
    with scene.daemon(pooled, **HALF, **settings) as one, scene.daemon(pooled, **HALF, **settings):
        campaign = scene.campaign(program, "Hello {first_name|you}")
        scene.until_sent(campaign, 100)
        scene.verb("pause", campaign)
        scene.until_quiet()
        scene.verb("resume", campaign)
        scene.until(campaign, law=True)
        wait_until(
            lambda: one.events("listening" if direct else "listen_unavailable"), "it says how it hears"
        )
    scene.everybody_once(campaign, passes(scene), "Hello you")
