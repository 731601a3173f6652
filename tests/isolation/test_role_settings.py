"""A role setting that PostgreSQL keeps for the daemon's sessions, and protocols that no wallet knows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from passbell.database.lists import ListOrder, create_list_campaign
from passbell.database.migrate import migrate
from support.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase
    from support.processes import Sandbox


@pytest.fixture
def scene(database: MakeDatabase, sandbox: Sandbox) -> Iterator[Scene]:
    """A database whose sessions do not read NULL in an array, and whose protocols are texts."""
    url = database("2")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("drop view passbell.recipients, passbell.programs cascade")
        for table in ("programs", "passes_master"):
            conn.execute(f"alter table {table} alter protocol type text".encode())
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("alter database {} set array_nulls = off").format(name))
    migrate(url)
    made = Scene(url, "2", sandbox)
    yield made
    made.close()


def test_protocols_that_say_nothing(scene: Scene) -> None:
    """A blank protocol is the program's, or a membership; an unknown one fails that pass alone, with its reason."""
    blank, club = scene.plain(5, "Blank"), scene.plain(5)
    passes = [row["id"] for row in scene.rows("select id from passes_master where program_id = %s", [club])]
    scene.conn.execute("update programs set protocol = ' ' where id = %s", [blank])
    scene.conn.execute("update passes_master set protocol = '' where program_id = %s", [blank])
    for word, one in zip(("", "  ", "membership ", "LOYALTY"), passes, strict=False):
        scene.conn.execute("update passes_master set protocol = %s where id = %s", [word, one])
    with scene.daemon():
        unsaid, odd = scene.until(scene.campaign(blank)), scene.until(scene.campaign(club))
    assert (unsaid["status"], unsaid["sent_count"]) == ("COMPLETED", 5)
    assert (odd["status"], odd["sent_count"], odd["failed_count"]) == ("COMPLETED", 4, 1)
    failed = scene.row(
        "select pass_id, http_status, detail from passbell.deliveries where outcome = 'failed'"
    )
    assert (failed["pass_id"], failed["http_status"]) == (passes[3], None)
    assert failed["detail"] == "passbell cannot update passes of the protocol LOYALTY"
    details = "select count(*) from passbell.deliveries where outcome = 'sent' and detail is not null"
    assert scene.value(details) == 0


def test_a_list_with_unusable_rows(scene: Scene) -> None:
    """The rows without a problem have none, although NULL is not read in an array."""
    club = scene.program()
    scene.member(club, external_id="card-7")
    with psycopg.connect(scene.url, autocommit=True) as conn:
        assert conn.execute("show array_nulls").fetchone() == ("off",)
        file = io.BytesIO(b"member_id\ncard-7\n1.23E+11\n")
        made = create_list_campaign(conn, ListOrder(program=club, message="Hello"), file)
    assert (made.rows, made.matched) == (2, 1)
    told = scene.rows(
        "select value, reason from push_list_problems where campaign_id = %s", [made.campaign_id]
    )
    assert told == [{"value": "1.23E+11", "reason": "unusable"}]
