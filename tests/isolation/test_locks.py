"""A lock of another session holds up the campaign it concerns, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.wait import wait_until

if TYPE_CHECKING:
    from support.bystander import House


def test_a8_a_campaign_that_somebody_keeps_open(house: House) -> None:
    """Its row is locked in the middle of sending: the others go on, and it goes on when the lock is gone."""
    scene = house.scene
    campaign = scene.campaign(house.program(20), "Hello", rate_per_second=5)
    scene.until_sent(campaign, 1)
    house.hold("select from push_campaigns where id = %s for update", [campaign])
    assert "lock" in house.aside(campaign)
    house.serves_the_others()
    assert "lock" in house.words(campaign)
    house.mend()
    house.completes(campaign, 20)


def test_a_waiting_campaign_that_somebody_keeps_open(house: House) -> None:
    """A PENDING row that is locked is passed over."""
    campaign = house.scene.campaign(house.program(), "Hello", status="DRAFT")
    session = house.hold("update push_campaigns set status = 'PENDING' where id = %s", [campaign])
    house.serves_the_others()
    session.commit()
    house.completes(campaign)


def test_a_row_that_refers_to_a_campaign(house: House) -> None:
    """A host table with a foreign key, a row of it not committed yet: not even that campaign waits."""
    scene = house.scene
    house.rule(
        "create table host_notes (campaign_id uuid references push_campaigns (id), note text)",
        undo="drop table host_notes",
    )
    campaign = scene.campaign(house.program(20), "Hello", rate_per_second=10)
    scene.until_sent(campaign, 1)
    house.hold("insert into host_notes values (%s, 'mine')", [campaign])
    row = scene.until(campaign)
    assert (row["status"], row["sent_count"]) == ("COMPLETED", 20)


def test_a_program_and_its_passes_in_an_open_transaction(house: House) -> None:
    """A session edits a program and its members and does not commit: all programs are served, that one too."""
    program = house.program()
    session = house.hold("update programs set name = 'Renamed' where id = %s", [program])
    session.execute("update passes_master set last_updated = now() where program_id = %s", [program])
    house.serves_the_others()
    house.completes(house.scene.campaign(program, "Hello"))


def test_an_audit_table_under_a_migration_of_the_host(house: House) -> None:
    """notification_logs is locked as a whole: campaigns complete, their rows follow."""
    scene = house.scene
    house.hold("lock table notification_logs in access exclusive mode")
    campaign = scene.campaign(house.program(), "Hello")
    assert scene.until(campaign)["status"] == "COMPLETED"
    house.serves_the_others()
    house.mend()
    house.hurry()
    wait_until(lambda: len(scene.logs(campaign)) == 1, "the row follows")


def test_a_table_of_members_under_a_migration_of_the_host(house: House) -> None:
    """passes_master is locked as a whole: all campaigns wait, no pass fails, and all go on when it is free."""
    scene = house.scene
    house.hold("lock table passes_master in access exclusive mode")
    campaign = scene.campaign(house.others, "Hello behind the lock")
    assert "lock" in house.aside(campaign)
    house.mend()
    house.completes(campaign)


def test_the_turn_of_a_program_that_hangs(house: House) -> None:
    """A session keeps a program's place in the queue locked: the others are served first."""
    scene = house.scene
    program = house.program()
    campaign = scene.campaign(program, "First")
    house.completes(campaign)
    house.hold("select from passbell.turns where program_id = %s for update", [program])
    second = scene.campaign(program, "Second")
    scene.until(second, "PROCESSING")
    house.serves_the_others()
    house.mend()
    house.completes(second)
