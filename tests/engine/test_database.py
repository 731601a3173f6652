"""A transaction pooler between the daemon and PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from passbell.demo.postgres import _free_port
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
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
