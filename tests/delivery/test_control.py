"""Pausing, cancelling, stopping: what a person or a service manager does to a running campaign."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from passbell.database.migrate import migrate
from support.wait import wait_until

if TYPE_CHECKING:
    from conftest import MakeDatabase
    from support.scene import Scene

SLOW = {"RATE_PER_SECOND": 200, "CHUNK_SIZE": 50}


def last_push_after(scene: Scene, moment: float) -> float:
    """Seconds from a monotonic moment to the last update that PassKit saw, once it is quiet."""
    scene.until_quiet()
    return float(scene.remote.window()["last"]) - moment


def test_pause_stops_within_a_second_and_resume_reaches_exactly_the_rest(scene: Scene) -> None:
    """Pause by function and by a form's UPDATE; at the end everybody was buzzed exactly once."""
    program = scene.plain(400)
    everybody = {row["id"] for row in scene.rows("select id from passes_master")}
    with scene.daemon(**SLOW):
        campaign = scene.campaign(program)
        for turn, pause in enumerate(
            ("select push_pause(%s)", "update push_campaigns set status = 'PAUSED' where id = %s")
        ):
            scene.until_sent(campaign, 60 + 100 * turn)
            moment = time.monotonic()
            scene.conn.execute(pause, [campaign])  # type: ignore[arg-type]
            assert last_push_after(scene, moment) < 1
            assert not scene.violations()
            order = scene.order(campaign)
            assert (order["status"], order["sent_count"]) == (
                "PAUSED",
                scene.remote.overview()["recordsBuzzed"],
            )
            assert scene.waiting(campaign) == everybody - set(scene.ledger(campaign))
            scene.verb("resume", campaign)
        scene.until(campaign)
    scene.everybody_once(campaign, everybody)
    assert scene.remote.repeats()["repeated"] == 0  # not even the same bytes twice


def test_cancel_stops_within_a_second_and_the_counts_add_up(scene: Scene) -> None:
    """Members not reached are skipped as cancelled; the ledger says of each phone what really happened."""
    program = scene.plain(400)
    with scene.daemon(**SLOW):
        campaign = scene.campaign(program)
        scene.until_sent(campaign, 100)
        moment = time.monotonic()
        scene.verb("cancel", campaign)
        assert last_push_after(scene, moment) < 1
        wait_until(lambda: scene.logs(campaign), "the campaign is closed")
    order = scene.order(campaign)
    assert order["status"] == "CANCELLED"
    assert order["sent_count"] == scene.remote.overview()["recordsBuzzed"] < 400
    assert order["sent_count"] + order["skipped_count"] == 400
    assert not scene.violations()


def test_a_suspended_program_falls_silent_within_a_second(scene: Scene) -> None:
    """If a program is suspended, its running campaign stops within a second."""
    program = scene.plain(400)
    with scene.daemon(**SLOW):
        campaign = scene.campaign(program)
        scene.until_sent(campaign, 50)
        moment = time.monotonic()
        scene.conn.execute("update programs set is_suspended = true")
        assert last_push_after(scene, moment) < 1
        wait_until(lambda: "suspended" in (scene.order(campaign)["status_detail"] or ""), "it says why")
        scene.conn.execute("update programs set is_suspended = false")
        assert scene.until(campaign)["sent_count"] == 400
    assert scene.remote.repeats()["repeated"] == 0


def test_sigterm_ends_what_is_in_flight_and_hands_back_the_rest(scene: Scene) -> None:
    """Exit code 0; no attempt is counted, no pass is sent twice, the next daemon goes on."""
    program = scene.plain(250)
    everybody = {row["id"] for row in scene.rows("select id from passes_master")}
    scene.remote.fault("slow", seconds=0.2)
    daemon = scene.daemon(**SLOW)
    with daemon:
        campaign = scene.campaign(program)
        for sent in (40, 130):
            scene.until_sent(campaign, sent)
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert not scene.violations()
            assert scene.value("select count(*) from passbell.chunks where lease_until is not null") == 0
            assert scene.value("select coalesce(max(attempt), 0) from passbell.chunks") == 0
            assert scene.value("select count(*) from passbell.workers") == 0
            assert scene.order(campaign)["sent_count"] == scene.remote.overview()["recordsBuzzed"]
            daemon.start()
        scene.until(campaign)
    scene.everybody_once(campaign, everybody)
    assert scene.remote.repeats()["repeated"] == 0


def test_a_second_signal_cuts(scene: Scene) -> None:
    """A second signal ends the process at once, and no member is missed."""
    program = scene.plain(200)
    everybody = {row["id"] for row in scene.rows("select id from passes_master")}
    number = scene.remote.fault("timeout")["number"]
    daemon = scene.daemon(REQUEST_TIMEOUT=30, LEASE_SECONDS=60)
    with daemon:
        campaign = scene.campaign(program)
        wait_until(lambda: scene.remote.overview()["calls"] >= 1, "calls are in flight")
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: daemon.events("daemon_stopping"), "it is stopping")
        assert daemon.running
        daemon.signal(signal.SIGINT)
        assert daemon.wait(5) != 0
        scene.remote.faults_off(number)
        daemon.start()
        scene.until(campaign)
    scene.everybody_once(campaign, everybody)


def test_refused_credentials_fail_nobody_and_sending_resumes_by_itself(scene: Scene) -> None:
    """401 in the middle of a campaign: it says why, misses no member, and goes on when the key works again."""
    program = scene.plain(400)
    everybody = {row["id"] for row in scene.rows("select id from passes_master")}
    with scene.daemon(**SLOW):
        campaign = scene.campaign(program)
        scene.until_sent(campaign, 60)
        fault = scene.remote.fault("unauthorized")["number"]
        wait_until(lambda: "401" in (scene.order(campaign)["status_detail"] or ""), "the campaign says why")
        assert "refuses the credentials" in scene.order(campaign)["status_detail"]
        scene.until_quiet()
        assert (scene.order(campaign)["failed_count"], scene.status(campaign)) == (0, "PROCESSING")
        assert not scene.violations()
        scene.remote.faults_off(fault)
        order = scene.until(campaign)
    scene.everybody_once(campaign, everybody)
    assert "401" not in (order["status_detail"] or "")


def test_a_wrong_key_from_the_start_waits_too(scene: Scene) -> None:
    """A daemon with a wrong secret sends nothing, fails no pass, and another one with the right secret goes on."""
    program = scene.plain(10)
    campaign = scene.campaign(program)
    with scene.daemon(PASSKIT_API_SECRET="wrong"):
        wait_until(lambda: "401" in (scene.order(campaign)["status_detail"] or ""), "the campaign says why")
        assert scene.order(campaign)["failed_count"] == 0
    with scene.daemon():
        assert scene.until(campaign)["sent_count"] == 10


# ── what the daemon refuses ─────────────────────────────────────


def test_a_wrong_configuration_ends_with_2_and_one_line_each(scene: Scene) -> None:
    """Missing credentials or an unreadable number: exit code 2 and a line for each, without a traceback."""
    for settings, words in (
        ({"PASSKIT_API_SECRET": ""}, "PASSBELL_PASSKIT_API_SECRET"),
        ({"RATE_PER_SECOND": "fast"}, "PASSBELL_RATE_PER_SECOND"),
        ({"RATE_PER_SECOND": 0}, "PASSBELL_RATE_PER_SECOND"),
        ({"DATABASE_URL": ""}, "PASSBELL_DATABASE_URL"),
    ):
        daemon = scene.daemon(**settings)
        try:
            daemon.start(wait=False)
            assert daemon.wait() == 2
            assert words in daemon.log
            assert "Traceback" not in daemon.log
        finally:
            daemon.close()


def test_a_schema_that_is_behind_ends_with_3_and_a_newer_one_with_4(
    scene: Scene, database: MakeDatabase
) -> None:
    """The daemon never works on a schema that it does not know."""

    def exit_code(url: str) -> int:
        daemon = scene.daemon(url)
        try:
            daemon.start(wait=False)
            code = daemon.wait()
            assert "Traceback" not in daemon.log
            return code
        finally:
            daemon.close()

    assert exit_code(database("2", migrated=False)) == 3
    scene.conn.execute("update passbell.settings set bundle = 'older'")
    assert exit_code(scene.url) == 3
    migrate(scene.url)
    scene.conn.execute("update passbell.settings set schema_version = 9999")
    assert exit_code(scene.url) == 4
