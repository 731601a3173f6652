"""A holdout with real daemons and phones: no member held back is ever buzzed, whatever happens to the daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.scenes import make_scene, sandbox, scene

from .test_holdout import lot

if TYPE_CHECKING:
    from support.scene import Scene

__all__ = ["make_scene", "sandbox", "scene"]

TEXT = "Double points today"


def test_a_daemon_is_killed_and_two_go_on(scene: Scene) -> None:
    """After a kill -9 two daemons go on: the phones that rang are those whose lot is above the share, each once."""
    program = scene.plain(400)
    members = {row["id"] for row in scene.rows("select id from passes_master")}
    campaign = scene.campaign(program, TEXT, holdout_percent=25)
    settings = {"CHUNK_SIZE": 25, "RATE_PER_SECOND": 200}
    with scene.daemon(**settings) as one:
        scene.until_pushes(90)
        one.kill()
        with scene.daemon(**settings), scene.daemon(**settings):
            order = scene.until(campaign, law=True)
    held = {one for one in members if lot(one, campaign) < 0.25}
    ledger = scene.ledger(campaign)
    assert {one for one, what in ledger.items() if what == "held_out"} == held
    assert {one for one, what in ledger.items() if what == "sent"} == members - held
    assert (order["sent_count"], order["skipped_count"]) == (len(members - held), len(held))
    seen = scene.remote.summary(text=TEXT)
    assert (seen["phonesBuzzed"], seen["buzzedMore"], seen["wrongText"]) == (len(members - held), 0, 0)
