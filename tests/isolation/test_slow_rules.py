"""Rules of the host's that take long, or leave something behind in the daemon's session."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import pytest

from passbell.database.pool import Database
from passbell.errors import DatabaseUnavailable
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from support.bystander import House

pytestmark = pytest.mark.timeout(300)  # what hangs is cut after 10 to 30 s, several times in a test

TRIGGER = """
create or replace function host_rule() returns trigger language plpgsql as $$ begin {} return new; end $$;
create or replace trigger a_host_rule before update on {} for each row execute function host_rule();
"""


def trigger(house: House, program: UUID, body: str, table: str = "push_campaigns") -> None:
    """A trigger for one program's rows, until the end of the test."""
    house.rule(
        TRIGGER.format(f"if new.program_id = '{program}' then {body} end if;", table),
        undo=f"drop trigger if exists a_host_rule on {table}",
    )


def test_a_trigger_that_hangs_while_a_campaign_is_sent(house: House) -> None:
    """Outcomes are stored without it, the campaign says so, and at every turn the others have their words."""
    scene = house.scene
    program = house.program(20)
    campaign = scene.campaign(program, "Hello", rate_per_second=10)
    scene.until_sent(campaign, 1)
    trigger(house, program, "perform pg_sleep(3600);")
    house.serves_the_others()
    wait_until(lambda: "time" in house.words(campaign), "it says why", 60)
    house.serves_the_others()
    other = scene.campaign(house.others, "Later", scheduled_at="2090-01-01 00:00+00")
    wait_until(lambda: "Scheduled" in (scene.order(other)["status_detail"] or ""), "words of others", 60)
    scene.verb("cancel", other)
    house.mend()
    house.completes(campaign, 20)
    owner = scene.value("select passkit_program_id from programs where id = %s", [program])
    assert scene.remote.summary(owner=owner)["buzzedMore"] == 0


@pytest.mark.parametrize(
    "setting",
    [
        "set_config('statement_timeout', '1', false)",
        "set_config('default_transaction_read_only', 'on', false)",
        "set_config('search_path', 'nowhere', false)",
        "set_config('lock_timeout', '1', false)",
        "set_config('array_nulls', 'off', false)",
        "set_config('transaction_isolation', 'serializable', false)",
        "set_config('default_transaction_isolation', 'serializable', false)",
        "set_config('datestyle', 'SQL, DMY', false)",
        "set_config('timezone', 'Asia/Kathmandu', false)",
        "set_config('client_encoding', 'LATIN1', false)",
        "set_config('role', 'pg_read_all_data', false)",
        "set_config('passbell.engine', 'x', false)",
        "set_config('session_replication_role', 'replica', false)",
    ],
)
def test_what_a_trigger_leaves_behind_in_the_session(house: House, setting: str) -> None:
    """A setting made by one program's trigger lasts for the daemon's session: the others are served all the same."""
    scene = house.scene
    program = house.program(20)
    trigger(house, program, f"perform {setting};")
    campaign = scene.campaign(program, "Hello", rate_per_second=10)
    for _ in range(3):
        house.serves_the_others()
    wait_until(lambda: house.words(campaign) or scene.ledger(campaign), "it moves, or says why")


async def test_a_session_in_which_a_trigger_switched_triggers_off(house: House) -> None:
    """If a host trigger switches triggers off, they run again in the next call."""
    mode = "select current_setting('session_replication_role')"
    async with Database(house.scene.url, size=1) as database:
        left: LiteralString = "select set_config('session_replication_role', 'replica', false)"
        assert await database.fetch(left, cut_after=5) == [("replica",)]
        assert await database.fetch(mode, cut_after=5) == [("origin",)]
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            await database.fetch("select pg_sleep(60)", cut_after=0.1)


def test_a_trigger_that_ends_its_own_session(house: House) -> None:
    """If a trigger ends the session of a claim, the next claim takes another program."""
    program = house.program(20)
    trigger(house, program, "perform pg_terminate_backend(pg_backend_pid());")
    campaign = house.scene.campaign(program, "Hello")
    for _ in range(5):
        house.serves_the_others()
    house.mend()
    house.completes(campaign, 20)


def test_a_trigger_that_sleeps_while_members_are_skipped(house: House) -> None:
    """If each claim of one program takes seconds, claims of the others do not wait for it."""
    scene = house.scene
    program = house.program(40)
    campaign = scene.campaign(program, "Hello", rate_per_second=2)
    scene.until_sent(campaign, 1)
    trigger(house, program, "perform pg_sleep(8);")
    scene.conn.execute("update passes_master set status = 'UNINSTALLED' where program_id = %s", [program])
    for _ in range(3):
        house.serves_the_others()
    house.mend()
    wait_until(lambda: (house.hurry(), scene.status(campaign))[1] == "COMPLETED", "it ends", 60)


def test_a_trigger_that_hangs_while_a_claim_skips_members(house: House) -> None:
    """If a trigger hangs in a claim, the campaign is set aside with a sentence, and others are claimed first."""
    scene = house.scene
    program = house.program(40)
    campaigns = [scene.campaign(program, f"Hello {number}", rate_per_second=2) for number in range(3)]
    for campaign in campaigns:
        scene.until_sent(campaign, 1)
        scene.verb("pause", campaign)
    in_hand = "select count(*) from passbell.chunks where program_id = %s and worker is not null"
    wait_until(lambda: scene.value(in_hand, [program]) == 0, "all is handed back")
    trigger(house, program, "if new.skipped_count <> old.skipped_count then perform pg_sleep(3600); end if;")
    scene.conn.execute("update passes_master set status = 'UNINSTALLED' where program_id = %s", [program])
    for campaign in campaigns:
        scene.verb("resume", campaign)
    for campaign in campaigns:  # each for as long as it rests, not all at the same moment
        wait_until(lambda one=campaign: "time" in house.words(one), "it says why", 120)  # type: ignore[misc]
    for _ in range(2):
        house.serves_the_others()
    house.rule(
        "create or replace function host_rule() returns trigger language plpgsql as 'begin return new; end'"
    )
    scene.conn.execute("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    house.mend()
    for campaign in campaigns:
        wait_until(lambda one=campaign: (house.hurry(), scene.status(one))[1] == "COMPLETED", "it ends", 60)  # type: ignore[misc]


def test_an_audit_table_that_hangs(house: House) -> None:
    """Its row is owed: the campaign is completed all the same, the others too, and the row follows."""
    scene = house.scene
    program = house.program()
    trigger(house, program, "perform pg_sleep(3600);", "notification_logs")
    scene.conn.execute("drop trigger a_host_rule on notification_logs")
    scene.conn.execute(
        "create trigger a_host_rule before insert on notification_logs for each row execute function host_rule()"
    )
    campaign = scene.campaign(program, "Hello")
    house.serves_the_others()
    wait_until(lambda: (house.hurry(), scene.status(campaign))[1] == "COMPLETED", "it is completed", 90)
    assert scene.rows("select from passbell.owed_logs where campaign_id = %s", [campaign])
    house.serves_the_others()
    house.rule(
        "create or replace function host_rule() returns trigger language plpgsql as 'begin return new; end'"
    )
    scene.conn.execute("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    wait_until(lambda: (house.hurry(), scene.logs(campaign))[1], "the row follows", 60)
    assert len(scene.logs(campaign)) == 1


def test_a_rule_of_the_old_kind_for_one_program(house: House) -> None:
    """CREATE RULE … DO INSTEAD NOTHING for one program affects only that program."""
    scene = house.scene
    program = house.program()
    house.rule(
        f"create rule a_host_rule as on update to push_campaigns where old.program_id = '{program}' do instead nothing",
        undo="drop rule a_host_rule on push_campaigns",
    )
    campaign = scene.campaign(program, "Hello")
    assert "swallows" in house.aside(campaign)
    house.serves_the_others()
    house.mend()
    house.completes(campaign)


def test_a_trigger_hangs_while_many_campaigns_of_a_program_report(house: House) -> None:
    """Ten reports could take all connections of the daemon: two at a time do, and then none asks the host."""
    scene = house.scene
    program = house.program(20)
    campaigns = [scene.campaign(program, f"Hello {number}", rate_per_second=5) for number in range(10)]
    for campaign in campaigns:
        scene.until_sent(campaign, 1)
    trigger(house, program, "perform pg_sleep(3600);")
    for _ in range(4):
        house.serves_the_others()
    house.rule(
        "create or replace function host_rule() returns trigger language plpgsql as 'begin return new; end'"
    )
    scene.conn.execute("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    house.mend()
    for campaign in campaigns:
        wait_until(lambda one=campaign: (house.hurry(), scene.status(one))[1] == "COMPLETED", "it ends", 60)  # type: ignore[misc]
    owner = scene.value("select passkit_program_id from programs where id = %s", [program])
    assert len(scene.remote.buzzes(owner=owner)) == 200


def test_triggers_of_three_programs_hang_while_their_campaigns_start(house: House) -> None:
    """Each is cut after seconds and says so; meanwhile, and while they are tried again, the others start at once."""
    scene = house.scene
    guilty = [house.program() for _ in range(3)]
    names = ", ".join(f"'{program}'" for program in guilty)
    house.rule(
        TRIGGER.format(
            f"if new.program_id in ({names}) then perform pg_sleep(3600); end if;", "push_campaigns"
        ),
        undo="drop trigger if exists a_host_rule on push_campaigns",
    )
    campaigns = [scene.campaign(program, f"Hello {number}") for program in guilty for number in range(2)]
    house.serves_the_others(within=60)  # after the first try of each
    slow = "select count(*) from passbell.slow_programs where program_id = any (%s)"
    wait_until(lambda: scene.value(slow, [guilty]) == 3, "all of them are slow", 60)
    assert "enough time" in "".join(map(house.words, campaigns))
    waits = (
        "select count(*) from pg_stat_activity"
        " where wait_event = 'PgSleep' and strpos(query, 'passbell.claim_campaign') > 0"
    )
    wait_until(
        lambda: (house.hurry(), scene.value(waits))[1] == 1, "one of them is tried with more patience", 60
    )
    for _ in range(3):
        house.serves_the_others()
        assert scene.value(waits) <= 1
    # The rule ends before its trigger is dropped: that needs a lock, which the claim that hangs would hold up.
    house.rule(
        "create or replace function host_rule() returns trigger language plpgsql as 'begin return new; end'"
    )
    scene.conn.execute("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")
    house.mend()
    for campaign in campaigns:
        house.completes(campaign)


def test_a_program_that_was_slow_once_is_like_the_others_again(house: House) -> None:
    """A claim that was quick takes the program off the list of slow ones."""
    program = house.program()
    house.scene.conn.execute("insert into passbell.slow_programs values (%s, false, 30, now())", [program])
    house.scene.until(house.scene.campaign(program, "Hello"))
    assert house.scene.rows("select from passbell.slow_programs where program_id = %s", [program]) == []
