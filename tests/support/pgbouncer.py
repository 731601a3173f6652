"""PgBouncer in transaction mode on loopback, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from passbell.devkit.postgres import _free_port

from .wait import wait_until

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PgBouncer", "needs_pgbouncer"]

PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="no pgbouncer here (Debian: apt-get install pgbouncer)"
)


class PgBouncer:
    """Stands before the server of `url`; `self.url` is the same database through it.

    `settings` are lines of its configuration: `PgBouncer(url, default_pool_size=1)`. The port stays the same when it
    is stopped and started.
    """

    def __init__(self, url: str, **settings: object) -> None:
        self._there = urlsplit(url)
        self._port = _free_port()
        self._settings = {"default_pool_size": 3, "max_client_conn": 100, **settings}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        login = f"{self._there.username}:{self._there.password or ''}"
        self.url = self._there._replace(netloc=f"{login}@127.0.0.1:{self._port}").geturl()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="passbell-pgbouncer-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)  # PgBouncer refuses to run as root, so another account must read its files
        user = self._there.username
        (folder / "users").write_text(f'"{user}" "{self._there.password or ""}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port,
            "unix_socket_dir": "",
            "pool_mode": "transaction",
            "auth_type": "plain",
            "auth_file": folder / "users",
            "admin_users": user,
            **self._settings,
        }
        (folder / "ini").write_text(
            f"[databases]\n* = host={self._there.hostname} port={self._there.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in lines.items())
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def start(self) -> None:
        """Start it and wait until a query comes through."""
        assert PGBOUNCER is not None
        assert self._folder is not None
        folder = Path(self._folder.name)
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PGBOUNCER, str(folder / "ini")],
                stdout=log,
                stderr=log,
                **({"user": "nobody"} if os.geteuid() == 0 else {}),
            )

        def up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (folder / "log").read_text()
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(up, "PgBouncer answers")

    def stop(self) -> None:
        """End it at once: every connection through it breaks."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)

    def tell(self, command: str) -> list[Any]:
        """Say PAUSE, RESUME, RECONNECT or SHOW … on its console."""
        console = urlsplit(self.url)._replace(path="/pgbouncer").geturl()
        with psycopg.connect(console, autocommit=True, cursor_factory=psycopg.ClientCursor) as conn:
            cursor = conn.execute(sql.SQL(command))  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
