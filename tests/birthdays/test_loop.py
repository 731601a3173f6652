from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from structlog.testing import capture_logs

from passbell.database.pool import Database
from passbell.delivery.birthdays import Birthdays
from passbell.delivery.schedule import Duty, Schedule
from support.holdup import Holdup
from support.proxy import Proxy
from support.wait import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conftest import Host


@asynccontextmanager
async def daemon(host: Host, worker: UUID | None = None, **options: Any) -> AsyncIterator[asyncio.Event]:
    """The birthday duty of one daemon; yields an event that is set when it has greetings for the queue."""
    greeted = asyncio.Event()
    async with Database(host.url, size=2) as database:
        loop = asyncio.create_task(_ticks(database, host.url, worker or uuid4(), greeted.set, **options))
        try:
            yield greeted
            assert not loop.done(), loop
        finally:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop


def completed(host: Host) -> bool:
    """Whether every program has its run behind it."""
    done: bool = host.value(
        "select count(*) filter (where completed_at is not null) = (select count(*) from programs)"
        "  from passbell.birthday_runs"
    )
    return done


async def test_a_daemon_gives_the_gifts_on_start(modern: Host) -> None:
    """A daemon started after nine gives today's gifts at once, in batches, and says so in the log."""
    program = modern.program()
    members = modern.members(program, "1990-05-05", 120)
    with capture_logs() as logs:
        async with daemon(modern, tick_seconds=3600.0) as greeted:
            await asyncio.wait_for(greeted.wait(), 30)
    assert {modern.balance(member) for member in members} == {150}
    assert modern.send_all() == 120
    finished = next(log for log in logs if log["event"] == "birthday_run_finished")
    assert (finished["program"], finished["local_date"]) == (str(program), "2026-05-05")
    assert (finished["eligible"], finished["gifted"], finished["failed"], finished["completed"]) == (
        120,
        120,
        0,
        True,
    )
    assert [log["event"] for log in logs].count("birthday_run_started") == 1


async def test_two_daemons_share_the_programs(modern: Host) -> None:
    """Two daemons at once: every program is worked off by one of them, everybody has one gift."""
    members = [modern.member(modern.program(), "1990-05-05") for _ in range(12)]
    with capture_logs() as logs:
        async with daemon(modern), daemon(modern):
            await wait_until_async(lambda: completed(modern), "all runs are completed")
    assert {modern.balance(member) for member in members} == {150}
    started = [log["program"] for log in logs if log["event"] == "birthday_run_started"]
    assert len(started) == len(set(started)) == 12


async def test_a_hanging_award_holds_up_nobody(modern: Host) -> None:
    """If an award hangs, it is cut and logged with its reason, and all others get their gifts."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = sorted(modern.members(program, "1990-05-05", 8))
    modern.trouble("hangs", members[3])
    with capture_logs() as logs:
        async with daemon(modern, statement_seconds=1.0):
            await wait_until_async(
                lambda: any(log["event"] == "birthday_run_finished" for log in logs), "the run ends"
            )
    (failure,) = [log for log in logs if log["event"] == "birthday_gift_failed"]
    assert (failure["pass_id"], failure["reason"]) == (str(members[3]), "the award took too long")
    assert len(modern.logs()) == 7


async def test_locked_members_of_three_programs_hold_up_no_other(
    modern: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch of theirs waits seconds for locks: the fourth program's gifts come in between, not after them."""
    monkeypatch.setattr("passbell.delivery.birthdays.SLICE_SECONDS", 1.0)
    programs = sorted(modern.program() for _ in range(4))
    locked = [member for program in programs[:3] for member in modern.members(program, "1990-05-05", 150)]
    free = modern.member(programs[3], "1990-05-05")
    failed = "select program_id, count(*) as n from passbell.birthday_failures group by program_id"
    with psycopg.connect(modern.url) as other:
        other.execute("select from passes_master where id = any (%s) for update", [locked])
        async with daemon(modern):
            await wait_until_async(lambda: modern.balance(free) == 150, "the fourth program's gift")
            assert all(n < 150 for _, n in modern.fetch(failed)), "none of the others was through"


async def test_a_program_in_trouble_does_not_stop_the_others(modern: Host) -> None:
    """One program's run is refused by the database: it is logged, and the other programs are gifted."""
    programs = [modern.program() for _ in range(3)]
    for program in programs:
        modern.member(program, "1990-05-05")
    modern.fetch(
        f"create function broken() returns trigger language plpgsql as $$ begin"
        f" if new.program_id = '{programs[0]}' then raise 'no campaigns here'; end if; return new; end $$;"
        "create trigger a_broken before insert on push_campaigns for each row execute function broken()"
    )
    with capture_logs() as logs:
        async with daemon(modern):
            await wait_until_async(lambda: len(modern.logs()) == 2, "the others are gifted")
            await wait_until_async(
                lambda: any(log["event"] == "birthday_run_failed" for log in logs), "it is logged"
            )
    (failed,) = [log for log in logs if log["event"] == "birthday_run_failed"]
    assert failed["program"] == str(programs[0])
    assert "no campaigns here" in failed["reason"]


async def test_a_rule_that_hangs_stops_one_programs_run(modern: Host) -> None:
    """If a trigger hangs on one program's campaign of the day, its run is cut and says so; the other completes."""
    programs = sorted(modern.program() for _ in range(2))
    for program in programs:
        modern.member(program, "1990-05-05")
    modern.fetch(
        f"create function slow() returns trigger language plpgsql as $$ begin"
        f" if new.program_id = '{programs[0]}' then perform pg_sleep(600); end if; return new; end $$;"
        "create trigger a_slow before insert on push_campaigns for each row execute function slow()"
    )
    with capture_logs() as logs:
        async with daemon(modern, statement_seconds=2.0):
            await wait_until_async(
                lambda: {log["event"] for log in logs} >= {"birthday_run_failed", "birthday_run_finished"},
                "one is cut, the other is given",
            )
            detail = "select detail from passbell.birthday_runs where program_id = %s"
            await wait_until_async(  # it is stored after the event is logged
                lambda: "tried again" in str(modern.fetch(detail, programs[0])), "the run says so"
            )
    (failed,) = {log["program"] for log in logs if log["event"] == "birthday_run_failed"}
    assert failed == str(programs[0])


async def test_the_refusal_is_said_once(modern: Host) -> None:
    """Without UNIQUE (pass_id, year) the daemon gives nothing and says so once, not at every tick."""
    modern.fetch("alter table birthday_logs drop constraint birthday_logs_pass_id_year_key")
    modern.member(modern.program(), "1990-05-05")
    turns: Counter[str] = Counter()
    with capture_logs() as logs:
        async with daemon(modern, tick_seconds=0.05, turns=turns):
            await wait_until_async(lambda: turns["birthdays"] >= 5, "five turns")
    assert [log["event"] for log in logs] == ["birthdays_refused"]
    assert modern.logs() == []


async def test_stopping_hands_the_run_back(modern: Host) -> None:
    """A daemon stopped in the middle of a run leaves no lease behind: another one goes on at once."""
    modern.tricky_awards()
    program = modern.program(birthday_message="Hi")
    members = sorted(modern.members(program, "1990-05-05", 5))
    modern.trouble("hangs", members[2])
    asleep = (
        "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    )
    async with daemon(modern, statement_seconds=5.0):
        await wait_until_async(lambda: modern.value(asleep) == 1, "the award hangs")
        modern.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where wait_event = 'PgSleep' and datname = current_database()"
        )
        await wait_until_async(lambda: modern.value(asleep) == 0, "the connection is cut")
    assert modern.value("select worker is null and lease_until is null from passbell.birthday_runs")
    modern.fetch("delete from award_trouble")
    async with daemon(modern):
        await wait_until_async(lambda: completed(modern), "the run is completed")
    assert len(modern.logs()) == 5
    assert modern.value("select count(*) from transactions") == 5


@pytest.mark.parametrize("tick", [0.1])
async def test_the_loop_survives_a_database_that_goes_away(modern: Host, tick: float) -> None:
    """Connections cut at any time: the loop waits for the next tick, and in the end everybody has one gift."""
    members = modern.members(modern.program(), "1990-05-05", 200)
    cut = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    with capture_logs():
        async with daemon(modern, tick_seconds=tick, lease_seconds=0.3):
            for number in range(10, 200, 40):
                await wait_until_async(lambda number=number: len(modern.logs()) >= number, "some more gifts")
                modern.fetch(cut)
                modern.clock(f"2026-05-05 13:{number % 60:02}:{number // 60:02}+00")
            await wait_until_async(lambda: len(modern.logs()) == 200, "all gifts")
    assert {modern.balance(member) for member in members} == {150}


async def test_a_daemon_that_vanishes_with_a_batch_open_holds_up_nobody_for_long(modern: Host) -> None:
    """Frozen, or its machine gone, after the gifts and before the commit: the next one gives them soon after."""
    program = modern.program()
    members = modern.members(program, "1990-05-05", 20)
    brief: dict[str, Any] = {"lease_seconds": 1.0, "statement_seconds": 2.0}
    with Proxy.before(modern.url) as wire, Holdup(modern.url, "gift") as holdup:
        vanished = asyncio.create_task(_loop(modern, wire.url(modern.url), **brief))
        await asyncio.to_thread(holdup.wait)
        wire.stall()
        holdup.release()
        modern.clock("2026-05-05 12:01:00+00")  # its lease is over
        async with daemon(modern, **brief):
            await wait_until_async(lambda: completed(modern), "the other one gives the gifts")
        wire.cut()
        vanished.cancel()
        with suppress(asyncio.CancelledError):
            await vanished
    assert {modern.balance(member) for member in members} == {150}
    assert len(modern.logs()) == 20


async def _loop(host: Host, dsn: str, **options: Any) -> None:
    async with Database(dsn, size=2) as database:
        await _ticks(database, dsn, uuid4(), lambda: None, **options)


async def _ticks(
    database: Database,
    dsn: str,
    worker: UUID,
    greeted: Callable[[], None],
    *,
    tick_seconds: float = 0.2,
    turns: Counter[str] | None = None,
    **options: Any,
) -> None:
    birthdays = Birthdays(database, dsn, worker, greeted, **options)

    async def give() -> None:
        await birthdays.give()
        if turns is not None:
            turns["birthdays"] += 1

    async def is_fatal(_error: Exception) -> bool:
        return False

    await Schedule([Duty("birthdays", tick_seconds, give, birthdays.end)], is_fatal).run()
