"""What changes while a chunk is in the daemon's hands: it reaches the passes that are not sent yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from support.scene import Scene

SLOW = {"RATE_PER_SECOND": 30, "CHUNK_SIZE": 100}
CLOSED = (
    "update programs set timezone = 'UTC', push_window_start = (now() at time zone 'UTC' + interval '2 hours')::time,"
    " push_window_end = (now() at time zone 'UTC' + interval '3 hours')::time where id = %s"
)
OPTED_OUT = (
    "update users set marketing_opt_in = false"
    " where id in (select user_id from passes_master where program_id = %s)"
)
UNINSTALLED = "update passes_master set status = 'UNINSTALLED' where program_id = %s"


def people(scene: Scene, passes: int, name: str) -> UUID:
    """A program whose passes belong to users."""
    program = scene.program(name)
    for _ in range(passes):
        scene.member(program, user={})
    scene.publish(program)
    return program


def silent_within_a_second(scene: Scene, program: UUID, order: str) -> None:
    """Run an order about a program; no push to its passes is seen later than a second after it."""
    own = {
        row["passkit_internal_id"]
        for row in scene.rows(
            "select passkit_internal_id from passes_master where program_id = %s", [program]
        )
    }
    scene.conn.execute(order, [program])  # type: ignore[arg-type]
    moment = time.monotonic()
    scene.remote.wait(timeout=1.6, pushes=10**9)
    late = [
        call["time"] - moment
        for call in scene.remote.calls(after=0, method="PUT")
        if call["record"] in own and call["time"] > moment
    ]
    assert max(late, default=0) < 1


@pytest.mark.parametrize(
    ("order", "reason"),
    [(OPTED_OUT, "opted_out"), (UNINSTALLED, "not_installed")],
    ids=["opt-out", "uninstalled"],
)
def test_who_opts_out_or_uninstalls_is_left_alone_although_in_hand(
    scene: Scene, order: str, reason: str
) -> None:
    """A member who opts out or uninstalls while the chunk is being sent is skipped with the reason."""
    program, other = people(scene, 120, "Club"), scene.plain(60, "Other")
    with scene.daemon(**SLOW) as daemon:
        pid = daemon.pid
        campaign, beside = scene.campaign(program), scene.campaign(other)
        scene.until_pushes(20)
        silent_within_a_second(scene, program, order)
        done, good = scene.until(campaign), scene.until(beside)
        assert daemon.pid == pid
    assert good["sent_count"] == 60
    assert 0 < done["sent_count"] < 100
    assert done["skipped_count"] == 120 - done["sent_count"]
    assert set(scene.ledger(campaign).values()) == {"sent", reason}
    assert not scene.violations()
    assert scene.remote.repeats()["repeated"] == 0


def test_one_opt_out_in_a_chunk_stops_that_pass_alone(scene: Scene) -> None:
    """If one member opts out, only that pass is skipped; the others of its chunk are sent once each."""
    program = people(scene, 60, "Club")
    with scene.daemon(**SLOW):
        campaign = scene.campaign(program)
        scene.until_pushes(5)
        scene.conn.execute(
            "update users set marketing_opt_in = false where id in (select p.user_id from passes_master p"
            " where p.id = (select k.pass_ids[cardinality(k.pass_ids)] from passbell.chunks k))"
        )
        done = scene.until(campaign)
    assert (done["sent_count"], done["skipped_count"]) == (59, 1)
    assert min(scene.ledger(campaign).values()) == "opted_out"
    assert scene.remote.overview()["recordsBuzzed"] == 59


def test_quiet_hours_that_begin_stop_what_is_in_hand(scene: Scene) -> None:
    """Within a second; a test send goes through all the same, and the rest goes out when the window opens."""
    program, other = scene.plain(80, "Club"), scene.plain(60, "Other")
    with scene.daemon(**SLOW):
        campaign, beside = scene.campaign(program), scene.campaign(other)
        scene.until_pushes(20)
        silent_within_a_second(scene, program, CLOSED)
        wait_until(lambda: "Quiet hours" in (scene.order(campaign)["status_detail"] or ""), "it says why")
        name = scene.value("select external_id from passes_master where program_id = %s limit 1", [program])
        test = scene.value("select push_test(%s, %s, 'Try')", [program, name])
        assert scene.until(test)["sent_count"] == 1
        assert scene.until(beside)["sent_count"] == 60
        assert scene.status(campaign) == "PROCESSING"
        scene.conn.execute("update programs set push_window_start = null, push_window_end = null")
        assert scene.until(campaign)["sent_count"] == 80
    assert not scene.violations()
