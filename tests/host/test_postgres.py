"""The private PostgreSQL comes up anywhere, and goes away whatever happens to its owner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from passbell.cli import main
from passbell.database.migrate import check, migrate
from passbell.devkit import binaries
from passbell.devkit.binaries import (
    PostgresUnavailableError,
    copied_binaries,
    debian_binaries,
    wheel_binaries,
)
from passbell.devkit.postgres import EmbeddedPostgres
from support.databases import load_host
from support.kin import family
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

INSTALLATIONS = [*wheel_binaries(), *debian_binaries()]

OWNER = """
import time
from passbell.devkit.postgres import EmbeddedPostgres
with EmbeddedPostgres(durable=False) as postgres:
    print(postgres.directory, postgres.pid, flush=True)
    time.sleep(600)
"""

HALFWAY = """
import pathlib, sys, time
from passbell.devkit.postgres import EmbeddedPostgres
class Halfway(EmbeddedPostgres):
    def _create_cluster(self):
        print(self.directory, flush=True)
        time.sleep(600)
Halfway(durable=False, bin_directory=pathlib.Path(sys.argv[1])).start()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another account can reach: pytest's own are private, and root's server is not root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("binaries", INSTALLATIONS, ids=lambda path: path.parent.name)
def test_every_installation_on_this_machine_works(binaries: Path) -> None:
    """Whichever PostgreSQL is found: it starts, answers, knows time zones, and leaves nothing."""
    with EmbeddedPostgres(durable=False, bin_directory=binaries) as postgres:
        with psycopg.connect(postgres.url()) as conn:
            row = conn.execute(
                "select lower('É'), now() at time zone 'Pacific/Auckland' is not null"
            ).fetchone()
        assert row == ("é", True)
        directory, pid = postgres.directory, postgres.pid
    assert not directory.exists()
    assert not alive(pid)


@pytest.mark.skipif(not wheel_binaries(), reason="the wheel is not installed")
def test_a_copy_of_the_wheel_works_elsewhere(open_folder: Path) -> None:
    """If the server's account may not enter the virtualenv, a copy of the programs starts."""
    copy = copied_binaries(wheel_binaries()[0], open_folder)
    assert open_folder in copy.parents
    with EmbeddedPostgres(durable=False, bin_directory=copy) as postgres:
        psycopg.connect(postgres.url()).close()


def test_two_servers_run_side_by_side() -> None:
    """Two demos or test sessions at the same time do not disturb each other."""
    with EmbeddedPostgres(durable=False) as first, EmbeddedPostgres(durable=False) as second:
        assert first.port != second.port
        with psycopg.connect(first.url(), autocommit=True) as conn:
            conn.execute("create database only_here")
        with psycopg.connect(second.url()) as conn:
            assert conn.execute("select from pg_database where datname = 'only_here'").fetchone() is None
        second.stop()
        psycopg.connect(first.url("only_here")).close()


def test_data_in_a_kept_directory_is_there_the_next_time(open_folder: Path) -> None:
    """A directory of your own keeps the cluster, and only its own password opens it."""
    kept = open_folder / "cluster"
    with EmbeddedPostgres(kept, durable=False) as postgres, psycopg.connect(postgres.url()) as conn:
        conn.execute("create table kept (n int)")
        conn.commit()
    with EmbeddedPostgres(kept, durable=False) as postgres:
        with psycopg.connect(postgres.url()) as conn:
            assert conn.execute("select count(*) from kept").fetchone() == (0,)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host="127.0.0.1", port=postgres.port, user="postgres", password="guess")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
def test_the_server_goes_when_its_owner_dies(number: signal.Signals) -> None:
    """Neither kill -9 nor Ctrl-C leaves a server or a directory behind."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        directory, pid = owner.stdout.readline().split()
        assert alive(int(pid))
        owner.send_signal(number)
        owner.wait(30)
    wait_until(
        lambda: not alive(int(pid)) and not Path(directory).exists(), "the server and its directory are gone"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs under another account")
@pytest.mark.skipif(not wheel_binaries(), reason="the wheel is not installed")
def test_copied_programs_go_as_well_when_the_owner_dies(tmp_path: Path) -> None:
    """From a virtualenv in root's own home the programs are copied; after kill -9 the copy is removed, too."""
    tmp_path.chmod(0o700)
    closed = copied_binaries(wheel_binaries()[0], tmp_path)
    start = OWNER.replace(
        "EmbeddedPostgres(", f"EmbeddedPostgres(bin_directory=pathlib.Path({str(closed)!r}), "
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"import pathlib\n{start}"], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        directory, pid = owner.stdout.readline().split()
        assert Path(directory, "programs").is_dir()
        owner.kill()
        owner.wait(30)
    wait_until(
        lambda: not alive(int(pid)) and not Path(directory).exists(), "the server and its directory are gone"
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_d10_a_session_that_ends_leaves_nothing(number: signal.Signals) -> None:
    """The end of a session or a container tells all processes at once: the server and its directory go all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        directory, pid = owner.stdout.readline().split()
        for told in (*family(owner.pid), owner.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(told, number)
        owner.wait(30)
    wait_until(
        lambda: not alive(int(pid)) and not Path(directory).exists(), "the server and its directory are gone"
    )


@pytest.mark.skipif(not wheel_binaries(), reason="the wheel is not installed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_d10_an_owner_that_dies_before_its_server_is_up_leaves_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Cut off while the cluster is made, with a copy of the programs (70 MB) already there: the directory goes."""
    tmp_path.chmod(0o700)
    closed = copied_binaries(wheel_binaries()[0], tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HALFWAY, closed], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        directory = Path(owner.stdout.readline().strip())
        assert (directory / "programs").is_dir() == (os.geteuid() == 0)
        owner.send_signal(number)
        owner.wait(30)
    wait_until(lambda: not directory.exists(), "the directory is gone")


def test_a_missing_installation_is_one_plain_sentence(tmp_path: Path) -> None:
    """A wrong folder of PostgreSQL is named in one sentence."""
    with pytest.raises(PostgresUnavailableError, match="does not contain initdb and postgres"):
        EmbeddedPostgres(bin_directory=tmp_path)


def test_without_any_server_the_demo_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain installation on a machine without PostgreSQL: one sentence that names the extra, exit 1."""
    for source in ("wheel_binaries", "debian_binaries"):
        monkeypatch.setattr(binaries, source, list)
    with pytest.raises(SystemExit) as ended:
        main(["demo"])
    assert ended.value.code == 1
    assert "pip install 'passbell[demo]'" in capsys.readouterr().err


def test_each_database_of_a_test_is_its_own(database: MakeDatabase) -> None:
    """What one test writes, no other database of the same template shows."""
    first, second = database("1", migrated=False), database("1", migrated=False)
    with psycopg.connect(first, autocommit=True) as conn:
        conn.execute("insert into campaign_runs default values")
    with psycopg.connect(second) as conn:
        assert conn.execute("select count(*) from campaign_runs").fetchone() == (0,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs under another account")
def test_a_private_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If root's TMPDIR is closed to other accounts, the cluster is made where the server can go."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with EmbeddedPostgres(durable=True) as postgres:
        assert not postgres.directory.is_relative_to(tmp_path)
        psycopg.connect(postgres.url()).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
def test_a7_c9_a_database_in_another_encoding_is_served(database: MakeDatabase, encoding: str) -> None:
    """The schema installs and is current; names with accents arrive, and the same text twice is varied, not refused."""
    beside = database("empty", migrated=False)
    name = f"encoded_{encoding.lower()}_{os.getpid()}"
    url = urlunsplit(urlsplit(beside)._replace(path=f"/{name}"))
    with psycopg.connect(beside, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} encoding {} template template0 locale 'C'").format(
                sql.Identifier(name), encoding
            )
        )
        try:
            load_host(url, "2")
            assert migrate(url).changed is True
            assert migrate(url).changed is False
            assert check(url).current
            shop = Shop(url, "2")
            shop.conn.execute("set client_encoding to 'UTF8'")
            club = shop.program()
            shop.member(club, user={"first_name": "Zoé"}, external_id="Z")
            texts = []
            for target in ("ALL", "IDS:Z"):
                shop.start(shop.campaign(club, "Hé {first_name}", target_query=target))
                (chunk,) = shop.send_chunks()
                texts += chunk["texts"]
            assert texts[0] == "Hé Zoé"
            assert texts[1] != texts[0]
            assert texts[1].startswith("Hé Zoé")
            assert shop.violations() == []
            shop.close()
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
