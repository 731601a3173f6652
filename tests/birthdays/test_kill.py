"""Birthdays end to end: real daemons, killed again and again, and the phones of a sandbox PassKit."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql

from passbell.devkit.demo.members import DemoProgram, passkit_records, populate
from passbell.devkit.demo.stock import bring_in
from passbell.devkit.sandbox.remote import Remote
from support.processes import Daemon, Sandbox
from support.wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import Host, MakeHost

LONG = os.environ.get("PASSBELL_LONG") == "1"
MEMBERS = 20_000 if LONG else 1_500
BIRTHDAYS = 500
KILLS = 10

# The 500: on a phone, one pass each, everybody else's birthday on another day; some never said whether to be buzzed.
CHOOSE = """
with eligible as (
    select r.user_id, min(r.pass_id::text) as pass_id
      from passbell.recipients r
     where r.user_id is not null
     group by r.user_id having count(*) = 1 and bool_and(r.reachable and r.opted_in)
), chosen as (
    select user_id from eligible order by pass_id limit {count}
), others as (
    update users set birth_date = date '1991-03-03' where id not in (select user_id from chosen)
)
update users set birth_date = (now() at time zone 'America/New_York')::date - interval '32 years'
 where id in (select user_id from chosen)
"""
# The platform's own award takes a moment, so that daemons are killed while gifts are given as well.
SLOW = """
do $$
declare
    v_name  text := (select p.oid::regprocedure::text from pg_proc p
                      where p.proname = 'process_membership_transaction' order by p.pronargs desc limit 1);
    v_type  text := (select pg_get_function_result(v_name::regprocedure));
begin
    execute format('alter function %s rename to award_at_once', v_name);
    execute format('create function process_membership_transaction(p_external_id text, p_action text, p_amount integer)
                    returns %s language plpgsql as $f$ begin
                        perform pg_sleep(0.015); return award_at_once(p_external_id, p_action, p_amount);
                    end $f$', v_type);
end $$;
select passbell.build_award_points();
"""


def seed(sandbox: Sandbox, host: Host) -> None:
    """Give the sandbox the record of every pass."""
    with host.another() as connection, Remote(sandbox.url) as remote:
        connection.autocommit = False
        bring_in(remote, passkit_records(connection))


def balances(host: Host) -> dict[UUID, int]:
    return {
        row.pass_id: row.points or 0 for row in host.fetch("select pass_id, points from passbell.recipients")
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("generation", ["1", "2", "3"] if LONG else ["2"])
def test_500_birthdays_through_ten_kills(make_host: MakeHost, generation: Any) -> None:
    """500 birthdays among thousands of members, two daemons, ten kill -9: 500 gifts and greetings, each once."""
    host = make_host(generation)
    dice = random.Random(5)  # noqa: S311 - a repeatable die
    with host.another() as connection:
        connection.autocommit = False
        club = DemoProgram("Club", "MEMBERSHIP", "America/New_York", reward_points=50)
        (program,) = populate(connection, generation, [club], MEMBERS).values()
        connection.execute(sql.SQL(CHOOSE).format(count=sql.Literal(BIRTHDAYS)))
        connection.execute(SLOW)
        connection.execute(
            "update programs set birthday_send_at = '00:00',"
            " birthday_message = 'Happy Birthday {first_name}: {points}!'"
        )
        connection.commit()
    before = balances(host)
    names = {
        row.pass_id: row
        for row in host.fetch("select pass_id, first_name, passkit_id from passbell.recipients")
    }

    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        seed(sandbox, host)
        options = {"RATE_PER_SECOND": 150, "LEASE_SECONDS": 10, "POLL_SECONDS": 0.2, "CHUNK_SIZE": 20}
        daemons = [stack.enter_context(Daemon(host.url, sandbox.url, **options)) for _ in range(2)]
        kills = 0
        progress = (
            "select (select count(*) from birthday_logs)"
            " + (select coalesce(sum(sent_count), 0) from push_campaigns)"
        )
        # One kill per tenth of the way: while gifts are given, then while greetings are sent.
        for mark in range(BIRTHDAYS * 2 // (KILLS + 2), BIRTHDAYS * 2, BIRTHDAYS * 2 // (KILLS + 2)):
            wait_until(lambda mark=mark: host.value(progress) >= mark, f"{mark} steps done", 60)
            victim = dice.choice(daemons)
            victim.kill()
            kills += 1
            victim.start()
        wait_until(
            lambda: host.fetch(
                "select id from push_campaigns where status = 'COMPLETED' and recipient_count = 500"
            ),
            "the greetings are out",
            60,
        )
        wait_until(
            lambda: host.value("select completed_at is not null from passbell.birthday_runs"),
            "the run ends",
            60,
        )
        assert kills >= KILLS
        with Remote(sandbox.url) as remote:
            buzzes = remote.buzzes()

    gifted = {log.pass_id for log in host.logs()}
    assert len(host.logs()) == len(gifted) == BIRTHDAYS
    assert {log.points_awarded for log in host.logs()} == {50}
    after = balances(host)
    assert {key for key in after if after[key] != before[key]} == gifted
    assert all(after[key] == before[key] + 50 for key in gifted)
    assert host.violations() == []
    campaign = host.fetch("select * from push_campaigns")[0]
    assert (campaign.program_id, campaign.kind) == (program, "BIRTHDAY")
    assert (campaign.sent_count, campaign.failed_count, campaign.skipped_count) == (BIRTHDAYS, 0, 0)
    expected = {
        names[key].passkit_id: f"Happy Birthday {names[key].first_name}: {after[key]}!" for key in gifted
    }
    shown = {(buzz["record"], buzz["text"]) for buzz in buzzes}
    assert len(buzzes) == BIRTHDAYS
    assert shown == set(expected.items())
