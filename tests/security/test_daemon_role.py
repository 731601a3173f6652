"""passbell_daemon: a database role that can do what `passbell run` needs and nothing else."""

# ruff: noqa: S608 - the statements are put together from this file's own words
from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from support.processes import Daemon
from support.tenants import refused
from support.wait import wait_until

if TYPE_CHECKING:
    from support.shop import Shop


def test_the_daemon_does_its_whole_work_under_it(daemon_url: tuple[Shop, str]) -> None:
    """A broadcast, a list of ids, a birthday with points, pause and resume: all done by a daemon with that role."""
    shop, url = daemon_url
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=50, birthday_send_at="00:00")
    shop.members(program, 120)
    today = shop.born_today()
    gifted = shop.member(program, user={"birth_date": today}, points=10, external_id="BDAY")
    broadcast = shop.campaign(program, "Hello {points|friend}")
    listed = shop.campaign(program, "For two", target_query="IDS:M1,BDAY")
    settings = {"DATABASE_URL": url, "DRY_RUN": True, "RATE_PER_SECOND": 1000, "POLL_SECONDS": 0.2}
    with Daemon(shop.url, "http://127.0.0.1:9", **settings) as daemon:
        wait_until(lambda: shop.status(broadcast) == shop.status(listed) == "COMPLETED")
        wait_until(lambda: shop.value("select count(*) from birthday_logs where pass_id = %s", [gifted]) == 1)
        wait_until(
            lambda: (
                shop.value(
                    "select count(*) from push_campaigns where kind = 'BIRTHDAY' and status = 'COMPLETED'"
                )
                == 1
            )
        )
        # Before the stop: a call that it interrupts takes its connection along, and the pool says so.
        troubles = [event for event in daemon.events() if event.get("level") in {"warning", "error"}]
        assert daemon.terminate() == 0
    assert troubles == []
    assert shop.value("select points_balance from passes_master where id = %s", [gifted]) == 60
    assert shop.value("select count(*) from passbell.workers") == 0
    assert shop.violations() == []


def test_it_can_do_nothing_else(daemon_url: tuple[Shop, str]) -> None:
    """It reads no member, no ledger, no campaign, and changes nothing but through the daemon's functions."""
    shop, url = daemon_url
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    # On PostgreSQL 14 everybody may create tables in public; `passbell check` says what to do.
    everybody = shop.value("select passbell.is_open_schema('public')")
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in (
            "select * from public.push_campaigns",
            "select * from public.users",
            "select * from public.passes_master",
            "select * from passbell.recipients",
            "select * from passbell.deliveries",
            "update passbell.settings set daily_cap = 0",
            "insert into passbell.segments (name, predicate) values ('EVIL', 'true')",
            "update passbell.rate_limits set rate_per_second = 1000000",
            f"insert into public.push_campaigns (program_id, message_text) values ('{program}', 'x')",
            f"select push_send('{program}', 'x')",
            f"select push_cancel('{campaign}')",
            "select * from run_birthdays()",
            "select * from push_forget('M1')",
            "select passbell.award_points(gen_random_uuid(), 1, '')",
            "select passbell.award_gift(gen_random_uuid(), 1, '')",
            "select passbell.build_adapters()",
            "select passbell.fail_campaign(gen_random_uuid(), 'x')",
            *([] if everybody else ["create table public.mine ()"]),
            "create function passbell.mine() returns int language sql as 'select 1'",
        ):
            assert refused(conn, statement) == "42501", statement


@pytest.mark.parametrize("name", ["uuid", "text", "integer", "timestamptz"])
def test_a_leaked_password_is_not_the_owners(daemon_url: tuple[Shop, str], name: str) -> None:
    """With the daemon's password no code can be run with the owner's rights."""
    shop, url = daemon_url
    real = {"integer": "int4"}.get(name, name)
    shop.conn.execute("create table public.caught (who text); grant insert on public.caught to public")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "create function pg_temp.trap() returns boolean language plpgsql as $$"
            " begin insert into public.caught values (current_user); return true; end $$"
        )
        conn.execute(f'create domain pg_temp."{name}" as pg_catalog.{real} check (pg_temp.trap())')
        for call in (
            "passbell.claim_campaign(gen_random_uuid())",
            "passbell.claim_chunk(gen_random_uuid())",
            "passbell.heartbeat(gen_random_uuid(), 'x')",
            "passbell.take_slots('x', 1)",
            "passbell.queue_state('x')",
        ):
            conn.execute(f"select * from {call}")
    assert {row["who"] for row in shop.rows("select who from public.caught")} <= {"passbell_daemon"}
