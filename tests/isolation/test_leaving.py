"""A client leaves: program, members and campaigns go while passes are being sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from support.bystander import House


def sending(house: House) -> tuple[UUID, UUID]:
    """A program, and its campaign with a chunk in the daemon's hands."""
    program = house.program(30)
    campaign = house.scene.campaign(program, "Goodbye", rate_per_second=5)
    house.scene.until_sent(campaign, 1)
    return program, campaign


def delete(conn: psycopg.Connection, program: UUID) -> None:
    """What an off-boarding script deletes."""
    conn.execute("delete from passes_master where program_id = %s", [program])
    conn.execute("delete from programs where id = %s", [program])


def test_everything_in_one_transaction(house: House) -> None:
    """Cancel, delete the passes, delete the program: the campaign is cancelled, and every pass is accounted for."""
    scene = house.scene
    program, campaign = sending(house)
    with psycopg.connect(scene.url) as conn:
        conn.execute("select push_cancel(%s)", [campaign])
        delete(conn, program)
    wait_until(lambda: not scene.waiting(campaign), "the chunk in flight is closed")
    row = scene.order(campaign)
    assert row["status"] == "CANCELLED"
    assert row["sent_count"] + row["failed_count"] + row["skipped_count"] == 30
    assert len(scene.logs(campaign)) == 1


def test_a_program_deleted_under_a_running_campaign(house: House) -> None:
    """If its program is deleted, a running campaign is cancelled and says why."""
    scene = house.scene
    program, campaign = sending(house)
    with psycopg.connect(scene.url) as conn:
        delete(conn, program)
    row = scene.until(campaign, "CANCELLED")
    assert row["status_detail"] == "Cancelled: its program was deleted."
    wait_until(lambda: not scene.waiting(campaign), "what is left is closed")


def test_a_paused_campaign_of_a_deleted_program_can_be_ended(house: House) -> None:
    """push_cancel ends a paused campaign whose program was deleted."""
    scene = house.scene
    program, campaign = sending(house)
    scene.verb("pause", campaign)
    with psycopg.connect(scene.url) as conn:
        delete(conn, program)
    assert scene.verb("cancel", campaign)["status"] == "CANCELLED"
    wait_until(lambda: not scene.waiting(campaign), "what is left is closed")
