"""A restore from a snapshot with real daemons and phones: docs/howto/restore.md, acted out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.scene import Scene

SENT_BEFORE = 100
PASSES = 400


@pytest.fixture
def snapshot() -> Iterator[Callable[[Scene], str]]:
    """Copies a scene's database file by file, as it is this very moment; the URL of the copy."""
    made: list[tuple[str, str]] = []

    def copy(scene: Scene) -> str:
        scene.conn.close()
        parts = urlsplit(scene.url)
        name = parts.path.removeprefix("/")
        admin, copied = urlunsplit(parts._replace(path="/postgres")), f"{name}_snapshot"
        with psycopg.connect(admin, autocommit=True) as conn:
            # What a killed daemon had asked for ends by itself.
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
            conn.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(copied), sql.Identifier(name))
            )
        made.append((admin, copied))
        scene.conn = psycopg.connect(scene.url, autocommit=True)
        return urlunsplit(parts._replace(path=f"/{copied}"))

    yield copy
    for admin, copied in made:
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(copied)))


def test_a_restored_snapshot_buzzes_nobody_again(scene: Scene, snapshot: Callable[[Scene], str]) -> None:
    """The snapshot is of the middle of a campaign, and before another; both ended meanwhile.

    After the restore nothing is sent by itself. The running one, resumed, is pushed again to those that the snapshot
    does not know: with identical bytes, so that no phone shows it twice. The other, cancelled, is never sent.
    """
    running = scene.campaign(scene.plain(PASSES), "Pumpkin spice is back.")
    waiting = scene.campaign(scene.plain(PASSES, "Tea"), "Closed today.", status="DRAFT")
    with scene.daemon(RATE_PER_SECOND=200, CHUNK_SIZE=50) as daemon:
        scene.until_sent(running, SENT_BEFORE)
        daemon.kill()
    scene.conn.execute(
        "update push_campaigns set scheduled_at = now(), status = 'PENDING' where id = %s", [waiting]
    )
    url = snapshot(scene)

    with scene.daemon():
        scene.until(running)
        scene.until(waiting)
    assert scene.remote.overview()["buzzes"] == 2 * PASSES

    # The lost hours are over; the live database is gone, and the snapshot takes its place.
    scene.conn.close()
    scene.conn = psycopg.connect(url, autocommit=True)
    scene.conn.execute("update passbell.workers set heartbeat_at = now() - interval '1 hour'")
    held = scene.rows("select * from passbell.after_restore()")
    assert {row["id"]: row["status"] for row in held} == {running: "PAUSED", waiting: "PAUSED"}
    left = len(scene.waiting(running))
    assert 0 < left <= PASSES - SENT_BEFORE

    before = scene.remote.overview()["pushes"]
    with scene.daemon(url=url):
        assert scene.until_quiet() == before
        scene.verb("cancel", waiting)
        scene.verb("resume", running)
        order = scene.until(running)
    assert order["sent_count"] == PASSES
    assert scene.remote.overview()["pushes"] == before + left
    assert scene.remote.overview()["buzzes"] == 2 * PASSES
    assert scene.remote.repeats()["differing"] == 0
    assert not scene.violations()
