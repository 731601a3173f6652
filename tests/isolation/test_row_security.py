"""FORCE ROW LEVEL SECURITY on a table of the host's: passbell's owner, a plain role, sees no row of it any more."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from passbell.database.migrate import migrate
from support.scene import Scene
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Databases
    from support.processes import Daemon, Sandbox

TABLES = ("programs", "users", "passes_master", "push_campaigns")


@pytest.fixture(scope="module")
def owned(databases: Databases, sandbox: Sandbox) -> Iterator[tuple[Scene, Daemon, str]]:
    """A platform whose tables belong to a plain role, installed as that role, and one daemon for all tests."""
    url = databases.create("2", migrated=False)
    parts = urlsplit(url)
    role, password = f"owner_{secrets.token_hex(4)}", secrets.token_hex(8)
    plain = parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()
    owner = sql.Identifier(role)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password {}").format(owner, password))
        try:
            admin.execute(
                sql.SQL("alter database {} owner to {}").format(sql.Identifier(admin.info.dbname), owner)
            )
            admin.execute(sql.SQL("alter schema public owner to {}").format(owner))
            for (table,) in admin.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            ):
                admin.execute(sql.SQL("alter table {} owner to {}").format(sql.Identifier(table), owner))
            migrate(plain)
            scene = Scene(url, "2", sandbox)
            with scene.daemon(plain, LEASE_SECONDS=6, REQUEST_TIMEOUT=5) as daemon:
                yield scene, daemon, plain
            scene.close()
        finally:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [role])
            admin.execute(sql.SQL("reassign owned by {} to current_user").format(owner))
            admin.execute(sql.SQL("drop owned by {}").format(owner))
            admin.execute(sql.SQL("drop role {}").format(owner))
            databases.drop(parts.path.removeprefix("/"))


def hide(scene: Scene, table: str, *, hidden: bool) -> None:
    """Hide all rows of a table from its owner, or show them again."""
    words = "enable row level security, force row level security" if hidden else "no force row level security"
    scene.conn.execute(f"alter table {table} {words}".encode())


@pytest.mark.parametrize("table", TABLES)
def test_a_campaign_waits_until_the_rows_are_seen(owned: tuple[Scene, Daemon, str], table: str) -> None:
    """While rows are hidden, campaigns wait and say why; afterwards they reach every member."""
    scene, daemon, plain = owned
    pid, program = daemon.pid, scene.plain(60)
    running = scene.campaign(program, f"Hello {table}", rate_per_second=20)
    scene.until_sent(running, 5)
    hide(scene, table, hidden=True)
    try:
        ordered = scene.campaign(program, f"Good news, {table}")
        if table == "push_campaigns":
            with psycopg.connect(plain) as conn:
                told = [row[0] for row in conn.execute("select warning from passbell.migration_warnings()")]
            assert any("row security on public.push_campaigns" in line for line in told), told
            scene.until_quiet()
        else:
            for campaign in (ordered, running):
                wait_until(
                    lambda campaign=campaign: (
                        f"row security on public.{table}" in (scene.order(campaign)["status_detail"] or "")
                    ),
                    f"campaign says why it waits: {scene.order(campaign)['status_detail']}",
                )
        scene.until_quiet()
        assert scene.status(ordered) == "PENDING"
        assert scene.status(running) == "PROCESSING"
    finally:
        hide(scene, table, hidden=False)
    scene.conn.execute("update passbell.set_aside set next_look_at = now()")
    for campaign in (running, ordered):
        row = scene.until(campaign)
        assert (row["status"], row["sent_count"]) == ("COMPLETED", 60), row
    owner = scene.value("select passkit_program_id from programs where id = %s", [program])
    seen = scene.remote.summary(owner=owner)
    assert seen["buzzes"] == 2 * seen["phonesBuzzed"] > 0, seen
    assert daemon.running
    assert daemon.pid == pid
    assert not scene.violations()


def test_orders_and_imports(owned: tuple[Scene, Daemon, str]) -> None:
    """While programs are hidden, an order is refused with that reason, and an import waits."""
    scene, _, plain = owned
    program = scene.plain(5)
    hide(scene, "programs", hidden=True)
    try:
        with (
            psycopg.connect(plain) as conn,
            pytest.raises(psycopg.Error, match=r"row security on public\.programs"),
        ):
            conn.execute("select push_send(%s, 'Hello')", [program])
        order = "insert into member_imports (program_id, csv_upload_url) values (%s, %s) returning id"
        with psycopg.connect(plain, autocommit=True) as conn:
            told = [row[0] for row in conn.execute("select warning from passbell.migration_warnings()")]
        assert any("row security on public.programs" in line for line in told), told
        taken = scene.value(order, [program, "https://127.0.0.1/m.csv"])
        wait_until(
            lambda: scene.rows("select 1 from passbell.import_leases where import_id = %s", [taken]), "a look"
        )
        assert scene.value("select status from member_imports where id = %s", [taken]) == "PENDING"
        scene.conn.execute("update member_imports set status = 'CANCELLED' where id = %s", [taken])
    finally:
        hide(scene, "programs", hidden=False)
