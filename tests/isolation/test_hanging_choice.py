"""What the host has built hangs where the next campaign is chosen: the programs are read one at a time from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.processes import Command
from support.wait import wait_until

if TYPE_CHECKING:
    from support.bystander import House
    from support.shop import Shop

pytestmark = pytest.mark.timeout(300)  # what hangs is cut after ten seconds, several times in a test

HANG = """
    create or replace function public.host_hang(program uuid) returns boolean language plpgsql as $$
    begin
        if {condition} then perform pg_sleep(3600); end if;
        return false;
    end $$
"""
COLUMNS = (
    "name, protocol, passkit_program_id, timezone, {suspended} as suspended, push_window_start, push_window_end,"
    " tier_bronze_max, tier_silver_max, tier_gold_max, birthday_bot_enabled, birthday_reward_points, birthday_message,"
    " birthday_send_at, birthday_leap_day, push_consent, holdout_percent, holdout_group, average_bill, push_max,"
    " push_max_days, push_min_hours, passkit_account, account"
)
VIEW = "create view passbell.programs as select b.program_id, {columns} from passbell.programs_before b{rest}"
VIEWS = {
    "a column of one program": {
        "columns": COLUMNS.format(suspended="b.suspended or host_hang(b.program_id)"),
        "rest": "",
    },
    "the row of one program": {
        "columns": COLUMNS.format(suspended="b.suspended"),
        "rest": " cross join lateral (select host_hang(b.program_id) as hung offset 0) h where not h.hung",
    },
}  # fmt: skip


def hang(house: House, condition: str, view: dict[str, str]) -> None:
    """An operator's own view of programs, with a function that hangs under a condition on `program`."""
    house.rule(HANG.format(condition=condition))
    house.rule(
        f"begin; alter view passbell.programs rename to programs_before; {VIEW.format(**view)}; commit",
        undo="begin; drop view passbell.programs; alter view passbell.programs_before rename to programs; commit",
    )


def ends(house: House) -> None:
    """The function is corrected, and what hangs in it is cancelled."""
    house.rule(HANG.format(condition="false"))
    house.scene.conn.execute(
        "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep' and pid <> pg_backend_pid()"
    )


def hangs(house: House) -> list[str]:
    """The relations that are known to hang."""
    return [
        row["relation"] for row in house.scene.rows("select relation from passbell.host_hangs order by 1")
    ]


def healthy(house: House) -> bool:
    """Nothing is known to hang any more; the looks that are due are hurried."""
    house.hurry()
    return not hangs(house) and not house.scene.rows("select from passbell.program_copies")


@pytest.mark.parametrize("view", VIEWS)
def test_reading_one_program_hangs(house: House, view: str) -> None:
    """The others go on after the first cut, its own campaigns say so, and all is as before when it ends."""
    scene = house.scene
    program = house.program()
    hang(house, f"program = '{program}'", VIEWS[view])
    campaign = scene.campaign(program, "Hello")
    house.serves_the_others(within=60)  # the first cut of the choice, and the first of the program
    wait_until(lambda: "enough time" in house.words(campaign), "it says why", 90)
    for _ in range(3):
        house.serves_the_others()
    assert scene.status(campaign) == "PENDING"
    ends(house)
    house.completes(campaign)
    wait_until(lambda: healthy(house), "the programs are read at once again", 60)


def test_reading_one_program_hangs_while_it_is_sent(house: House) -> None:
    """Its chunks are handed back or wait; leases, claims and reports of the others do not wait for it."""
    scene = house.scene
    program = house.program(40)
    campaign = scene.campaign(program, "Hello", rate_per_second=4)
    scene.until_sent(campaign, 1)
    hang(house, f"program = '{program}'", VIEWS["a column of one program"])
    house.serves_the_others(within=60)
    wait_until(lambda: "enough time" in house.words(campaign), "it says why", 90)
    for _ in range(2):
        house.serves_the_others()
    ends(house)
    house.completes(campaign, 40)
    owner = scene.value("select passkit_program_id from programs where id = %s", [program])
    assert scene.remote.summary(owner=owner)["buzzedMore"] == 0


def test_reading_every_program_hangs(house: House) -> None:
    """Nothing can be left out then: the daemon lives, says so, and goes on when it ends."""
    scene = house.scene
    hang(house, "true", VIEWS["the row of one program"])
    campaign = scene.campaign(house.others, "Hello")
    wait_until(lambda: hangs(house) == ["programs"], "it is noted", 60)
    reason = scene.value("select reason from passbell.host_hangs")
    assert "read all programs at once, in its function public.host_hang (canceling statement" in reason
    wait_until(lambda: "enough time" in house.words(campaign), "the campaign says why", 60)
    assert house.daemon.running
    ends(house)
    house.completes(campaign)
    wait_until(lambda: healthy(house), "the programs are read at once again", 60)


def test_check_names_what_hangs(house: House) -> None:
    """`passbell check` ends and names the function that hangs."""
    program = house.program()
    hang(house, f"program = '{program}'", VIEWS["the row of one program"])
    with Command("check", settings=house.daemon.settings) as check:
        code = check.wait(120)
        ends(house)
        assert code == 1, check.log
        assert "host_hang hangs" in check.output


def test_orders_that_could_not_be_read_are_read_again(shop: Shop) -> None:
    """Orders that hang are not read until the pause is over; the first read that succeeds ends it."""
    program = shop.program()
    shop.members(program, 3)
    shop.campaign(program)
    claim = "select action from passbell.claim_campaign(%s, 50)"
    shop.conn.execute("select passbell.note_hang('push_campaigns', 'canceling statement', null)")
    shop.conn.execute("select passbell.note_hang('users', 'canceling statement', null)")
    assert shop.rows(claim, [shop.worker]) == []
    (row,) = shop.rows("select relation, reason from passbell.host_hangs")  # users have no row security here
    assert row["reason"].startswith(
        "Waiting: the database did not allow enough time to read public.push_campaigns"
    )
    shop.conn.execute("update passbell.host_hangs set next_look_at = now() - interval '1 second'")
    assert shop.rows(claim, [shop.worker]) == [{"action": "expanded"}]
    assert shop.rows("select from passbell.host_hangs") == []
