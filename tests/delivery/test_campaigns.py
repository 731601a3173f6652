"""Insert a row, and the phones buzz."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest

from passbell.devkit.demo.members import passkit_records
from support.independent import expected
from support.scene import LONG
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from support.databases import Generation
    from support.scene import Scene

KEY = "marketingMessage"


def stored(scene: Scene) -> dict[str, tuple[dict[str, str], float]]:
    """What PassKit holds of every record, by id: metaData and points."""
    return {
        record.passkit_id: (found["metaData"], found["points"] if record.protocol == "MEMBERSHIP" else 0)
        for record in passkit_records(scene.conn)
        for found in (scene.remote.record(record.passkit_id)["record"],)
    }


def test_a_row_by_psql_buzzes_every_reachable_member_once(
    make_scene: Callable[..., Scene], generation: Generation
) -> None:
    """Members, coupons and tickets: exactly once, the right text; no other phone; nothing else in a record changes."""
    scene = make_scene(generation)
    programs = scene.populate(180)
    text = "Doors open at 9 👋"
    with scene.daemon(CHUNK_SIZE=50) as daemon:
        before = stored(scene)
        for name, program in programs.items():
            wanted = expected(scene.conn, generation, program)
            campaign = scene.value(
                "insert into push_campaigns (program_id, name, message_text) values (%s, %s, %s) returning id",
                [program, name, text],
            )
            scene.until(campaign, law=True)
            scene.everybody_once(campaign, wanted, text)
            after = stored(scene)
            rung = set(scene.records(wanted).values())
            for one, (meta, points) in before.items():
                assert after[one] == ({**meta, KEY: text} if one in rung else meta, points), one
            before = after
            scene.remote.reset("history")
        daemon.signal(15)
        assert daemon.wait() == 0


@pytest.mark.parametrize(
    "target", ["WHALE:200 & LOCAL:90210,10001", *(["VIP", "SLUMBER:14"] if LONG else [])]
)
def test_a_target_rings_exactly_those_it_names(make_scene: Callable[..., Scene], target: str) -> None:
    """The phones that buzzed are those that an independent query of the audience names."""
    scene = make_scene("3")
    program = next(iter(scene.populate(400).values()))
    wanted = expected(scene.conn, "3", program, target)
    assert wanted
    with scene.daemon():
        campaign = scene.campaign(program, "For you", target_query=target)
        scene.until(campaign)
        scene.everybody_once(campaign, wanted, "For you")


def test_each_member_reads_their_own_text(scene: Scene) -> None:
    """Names, points and fallbacks are the member's."""
    program = scene.program("Club")
    texts = {
        scene.member(program, user={"first_name": "Ada"}, points=3): "Hi Ada: 3 points at Club",
        scene.member(program, points=0): "Hi friend: 0 points at Club",
        scene.member(program, user={"first_name": "José"}): "Hi José: 0 points at Club",
    }
    scene.publish()
    with scene.daemon():
        campaign = scene.campaign(program, "Hi {first_name|friend}: {points} points at {program}")
        scene.until(campaign)
    names = scene.records(texts)
    seen = scene.remote.summary(texts={names[one]: text for one, text in texts.items()})
    assert (seen["wrongText"], seen["unexpected"], seen["buzzedOnce"]) == (0, 0, 3), seen


def test_the_same_text_a_second_time_buzzes_again(scene: Scene) -> None:
    """A wallet shows only what changed; passbell varies a repeated text, so the phone buzzes."""
    program = scene.plain(5)
    with scene.daemon():
        for number in range(3):
            scene.verb("pause", campaign := scene.campaign(program, "Happy hour"))
            scene.verb("resume", campaign)  # a person insists, so it is no double submit
            scene.until(campaign)
            assert scene.remote.overview()["buzzes"] == 5 * (number + 1)
        capped = scene.campaign(program, "A fourth in one day")
        assert scene.until(capped)["skipped_count"] == 5
    assert scene.remote.overview()["buzzes"] == 15


def test_uninstalled_and_unknown_records_fail_alone(scene: Scene) -> None:
    """A pass that PassKit has deleted fails with the reason; all other members are reached."""
    program = scene.plain(40)
    gone = scene.member(program, passkit_internal_id="nobody0000000000000000")
    with scene.daemon():
        campaign = scene.campaign(program)
        order = scene.until(campaign)
    assert (order["sent_count"], order["failed_count"]) == (40, 1)
    assert scene.ledger(campaign)[gone] == "not_found"
    assert "1 failed (1 not found)" in order["status_detail"]


def first_push(scene: Scene, program: UUID, rounds: int) -> list[float]:
    """Seconds from the insert to the first update that PassKit saw, several times."""
    found = []
    for number in range(rounds):
        scene.remote.reset("history")
        begun = time.monotonic()
        campaign = scene.campaign(program, f"Message {number}")
        scene.until_pushes(1)
        found.append(float(scene.remote.window()["first"]) - begun)
        scene.until(campaign)
    return found


def test_the_first_push_leaves_at_once_with_listen(
    scene: Scene, record_property: Callable[..., None]
) -> None:
    """With LISTEN the insert itself wakes the daemon, whatever the poll interval."""
    program = scene.plain(3)
    with scene.daemon(POLL_SECONDS=30, DAILY_CAP=0) as daemon:
        wait_until(lambda: daemon.events("listening"), "the daemon listens")
        took = first_push(scene, program, 12)
    record_property("first_push_median_ms", round(statistics.median(took) * 1000))
    record_property("first_push_worst_ms", round(max(took) * 1000))
    print(  # noqa: T201 - a measurement, shown with -s
        f"first push after {statistics.median(took) * 1000:.0f} ms (median), {max(took) * 1000:.0f} ms (worst)"
    )
    assert max(took) < 5  # the order of magnitude: a poll would take 30 s


def test_the_first_push_leaves_within_a_poll_without_listen(scene: Scene) -> None:
    """Without LISTEN polling alone finds the order."""
    program = scene.plain(3)
    with scene.daemon(
        LISTEN_URL="postgresql://nobody@127.0.0.1:1/none", POLL_SECONDS=1, DAILY_CAP=0
    ) as daemon:
        took = first_push(scene, program, 3)
        assert not daemon.events("listening")
    assert max(took) < 5


def test_a_dry_run_does_everything_but_sending(scene: Scene) -> None:
    """PASSBELL_DRY_RUN goes through every step and sends nothing."""
    program = scene.plain(30)
    with scene.daemon(DRY_RUN=True):
        order = scene.until(scene.campaign(program))
    assert (order["status"], order["sent_count"]) == ("COMPLETED", 30)
    assert scene.remote.overview()["calls"] == 0


def test_a_small_campaign_of_another_program_does_not_wait_for_a_big_one(scene: Scene) -> None:
    """Beside a long campaign a short one starts and ends soon."""
    big, small = scene.program("Big"), scene.program("Small")
    scene.members(big, 2_000)
    scene.members(small, 20)
    scene.publish()
    with scene.daemon(RATE_PER_SECOND=100, CHUNK_SIZE=50):
        long = scene.campaign(big, "Long")
        scene.until_sent(long, 100)
        short = scene.campaign(small, "Short")
        scene.until(short, deadline=15)
        assert scene.order(long)["sent_count"] < 1_900


def test_a_campaigns_own_rate_is_kept(scene: Scene) -> None:
    """rate_per_second on the campaign slows it alone."""
    program, other = scene.program("Slow"), scene.program("Fast")
    scene.members(program, 30)
    scene.members(other, 200)
    scene.publish()
    with scene.daemon(METADATA="replace"):
        slow = scene.campaign(program, "Slowly", rate_per_second=10)
        scene.until_pushes(5)
        fast = scene.campaign(other, "Fast")
        scene.until(fast, deadline=15)
        assert scene.status(slow) == "PROCESSING"
        scene.until(slow)
    rows: list[dict[str, Any]] = scene.remote.buzzes()
    times = [row["time"] for row in rows if row["text"] == "Slowly"]
    assert len(times) == 30
    assert times[-1] - times[0] > 2.5
