"""Slow campaigns, test floods and huge audiences of one program: 50 passes of another start all the same.

The judge is the other program's campaign: how many pushes of the first PassKit sees before its first and its last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.holdup import Holdup
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from support.scene import Scene

RATE = 50
SETTINGS = {"RATE_PER_SECOND": RATE, "CHUNK_SIZE": 50, "POLL_SECONDS": 1, "DAILY_CAP": 0, "SAME_TEXT": "send"}


def records(scene: Scene, program: UUID) -> set[str]:
    """PassKit's ids of a program's passes."""
    query = "select passkit_internal_id as id from passes_master where program_id = %s"
    return {row["id"] for row in scene.rows(query, [program])}


def others_before(scene: Scene, after: int, own: set[str]) -> tuple[int, int]:
    """Pushes of others that PassKit saw before the first and before the last of these records."""
    order = [call["record"] in own for call in scene.remote.calls(after=after, method="PUT")]
    last = len(order) - 1 - order[::-1].index(True)
    return order.index(True), last + 1 - sum(order)


def test_a9_seventy_slow_campaigns_leave_room_for_another_program(scene: Scene) -> None:
    """Each sends one push in ten seconds: they hold their share, and a test send of theirs is not kept back."""
    slow, quick = scene.plain(70 * 5, "Slow"), scene.plain(50, "Quick")
    names = [
        row["external_id"]
        for row in scene.rows("select external_id from passes_master where program_id = %s", [slow])
    ]
    with scene.daemon(**SETTINGS) as daemon:
        for n in range(70):
            mine = ",".join(names[5 * n : 5 * n + 5])
            scene.campaign(slow, f"Slow {n}", target_query=f"IDS:{mine}", rate_per_second=0.1)
        wait_until(
            lambda: scene.value("select count(*) from push_campaigns where sent_count > 0") >= 32,
            "they are under way",
        )
        held = "select max(cardinality(pass_ids)) from passbell.chunks where worker is not null"
        assert scene.value(held) in {None, 1}
        after = scene.remote.overview()["calls"]
        campaign = scene.campaign(quick)
        test = scene.value("select push_test(%s, %s, 'Try')", [slow, names[0]])
        assert scene.until(campaign)["sent_count"] == 50
        assert scene.until(test)["sent_count"] == 1
        first, last = others_before(scene, after, records(scene, quick))
        assert first <= 2 * RATE
        assert last <= 3 * RATE
        wait_until(
            lambda: scene.value("select count(*) from push_campaigns where sent_count > 0") == 72,
            "all of them are served",
        )
        assert not scene.violations()
        assert daemon.running


def test_a_flood_of_test_sends_does_not_delay_another_program(scene: Scene) -> None:
    """They take turns with other programs, in the claims and in the line for PassKit."""
    flood, quick = scene.plain(10, "Flood"), scene.plain(50, "Quick")
    name = scene.value("select external_id from passes_master where program_id = %s limit 1", [flood])
    for n in range(400):
        scene.campaign(flood, f"Try {n}", target_query=f"IDS:{name}", kind="TEST")
    with scene.daemon(**SETTINGS) as daemon:
        scene.until_pushes(10)
        after = scene.remote.overview()["calls"]
        campaign = scene.campaign(quick)
        assert scene.until(campaign)["sent_count"] == 50
        first, last = others_before(scene, after, records(scene, quick))
        assert first <= RATE
        assert last <= 2 * RATE
        assert (
            scene.value("select count(*) from push_campaigns where status = 'PENDING' and kind = 'TEST'") > 0
        )
        scene.conn.execute(
            "update push_campaigns set status = 'CANCELLED' where status in ('PENDING', 'PROCESSING')"
        )
        assert daemon.running


def test_a10_huge_audiences_of_one_program_take_one_freezing_slot(scene: Scene) -> None:
    """While one is being frozen the others of that program wait, and another program's campaign goes out."""
    huge, quick = scene.plain(200, "Huge"), scene.plain(50, "Quick")
    with scene.daemon(**{**SETTINGS, "CHUNK_SIZE": 2}), Holdup(scene.url, "large expansion") as hold:
        campaigns = [scene.campaign(huge, f"Huge {n}") for n in range(4)]
        hold.wait()
        campaign = scene.campaign(quick)
        assert scene.until(campaign)["sent_count"] == 50
        assert {scene.status(one) for one in campaigns} == {"PENDING"}
        hold.release()
        for one in campaigns:
            scene.until(one, "PROCESSING", "COMPLETED")
