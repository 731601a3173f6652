"""What queue_state says of an installation that works, waits or is in trouble: the source of the alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from support.shop import Shop

ACCOUNT = "acme"
EVENING = "2026-05-05 20:30:00+00"
MORNING = "2026-05-06 05:00:00+00"


def numbers(shop: Shop, account: str = ACCOUNT) -> dict[str, float]:
    """Every number by `metric` or `metric/label`."""
    return {
        row["metric"] if row["label"] is None else f"{row['metric']}/{row['label']}": row["value"]
        for row in shop.rows("select * from passbell.queue_state(%s)", [account])
    }


def register(shop: Shop) -> None:
    shop.conn.execute(
        "select passbell.register_worker(%s, 'here', 1, 'b:n:1:1', '1', %s, 50, 3)", [shop.worker, ACCOUNT]
    )


def test_a_new_installation_has_numbers_from_the_first_minute(shop: Shop) -> None:
    """Before any daemon, and after the first one has said hello: every number is there, none tells of trouble."""
    before = numbers(shop)
    register(shop)
    after = numbers(shop)

    assert before.keys() == after.keys()
    assert after["workers"] == 1
    assert after["rate"] == 50
    trouble = {name: value for name, value in after.items() if name not in {"workers", "rate"} and value != 0}
    assert not trouble


def test_d1_times_without_end_break_no_number(shop: Shop) -> None:
    """A host that writes infinity, and limits that were never reached, leave the numbers readable."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    shop.start(shop.campaign(program))
    shop.conn.execute("alter table push_campaigns disable trigger user")
    for moment in ("infinity", "-infinity"):
        shop.conn.execute(
            "update push_campaigns set updated_at = %s, started_at = %s, submitted_at = %s, scheduled_at = %s",
            [moment] * 4,
        )
        shop.conn.execute("update passbell.rate_limits set blocked_until = %s, closed_at = %s", [moment] * 2)
        shop.conn.execute("update passbell.chunks set not_before = %s", [moment])
        found = numbers(shop)
        assert found["idle"] == 0
        assert found["oldest/PROCESSING"] == 0
        assert found["blocked"] == 0


def test_d2_a_night_of_quiet_hours_is_no_trouble(shop: Shop) -> None:
    """A campaign that quiet hours stopped, and one ordered at night, count neither as stuck nor as overdue."""
    register(shop)
    program = shop.program(timezone="UTC", push_window_start="09:00", push_window_end="21:00")
    shop.members(program, 100)
    shop.clock(EVENING)
    begun = shop.campaign(program, "evening")
    shop.start(begun)
    shop.clock("2026-05-05 23:00:00+00")
    shop.campaign(program, "night")
    shop.clock(MORNING)

    found = numbers(shop)

    assert (found["campaigns/PROCESSING"], found["campaigns/PENDING"]) == (1, 1)
    assert found["idle"] == 0
    assert found["oldest/PENDING"] == 0

    shop.clock("2026-05-06 09:20:00+00")
    awake = numbers(shop)
    assert awake["idle"] > 600
    assert awake["oldest/PENDING"] > 600


def test_a_campaign_that_could_move_and_does_not_is_idle(shop: Shop) -> None:
    """Twenty minutes after its start nothing was sent, and nothing stands in the way: it counts from then."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    shop.clock("2026-05-05 12:00:00+00")
    shop.start(shop.campaign(program))
    shop.clock("2026-05-05 12:20:00+00")
    assert numbers(shop)["idle"] == pytest.approx(1200)


def test_a_campaign_that_is_set_aside_is_counted_as_that_alone(shop: Shop) -> None:
    """What the host's rules hold up has a number of its own, and is not called stuck as well."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    shop.clock("2026-05-05 12:00:00+00")
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.clock("2026-05-05 12:20:00+00")
    shop.conn.execute(
        "insert into passbell.set_aside (campaign_id, since, next_look_at, reason)"
        " values (%s, passbell.now(), passbell.now() + interval '1 minute', 'a trigger says no')",
        [campaign],
    )
    found = numbers(shop)
    assert (found["set_aside"], found["idle"]) == (1, 0)


def test_what_is_not_due_is_not_stuck(shop: Shop) -> None:
    """A greeting for nine o'clock, and a campaign of one pass an hour, stand still because they should."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    shop.clock("2026-05-05 00:00:00+00")
    greeting = shop.campaign(program, "greeting")
    shop.start(greeting)
    shop.conn.execute("update passbell.chunks set not_before = '2026-05-05 09:00:00+00'")
    shop.start(shop.campaign(program, "slow", rate_per_second=1 / 3600))

    shop.clock("2026-05-05 00:50:00+00")
    assert numbers(shop)["idle"] == 0
    shop.verb("cancel", greeting)
    shop.clock("2026-05-05 01:20:00+00")
    assert numbers(shop)["idle"] == pytest.approx(1200, abs=2)


def test_d2_an_account_that_must_pause_names_itself(shop: Shop) -> None:
    """A 429 with a Retry-After of half an hour shows in the numbers and on the campaign, which is not called stuck."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.conn.execute("select passbell.throttle(%s, 1800)", [ACCOUNT])
    shop.conn.execute("select passbell.explain_waiting(%s)", [ACCOUNT])

    found = numbers(shop)

    assert 1700 < found["blocked"] <= 1800
    assert found["idle"] == 0
    detail = shop.order(campaign)["status_detail"]
    assert detail.startswith("Waiting: PassKit has told the account to pause until ")
    assert "429" in detail

    shop.conn.execute("update passbell.rate_limits set blocked_until = '-infinity'")
    shop.conn.execute("select passbell.explain_waiting(%s)", [ACCOUNT])
    assert shop.order(campaign)["status_detail"] is None


def test_d2_a_campaign_that_holds_itself_is_counted_by_kind(shop: Shop) -> None:
    """404 for nearly everybody is told apart from a double submit; a campaign that a person paused is neither."""
    register(shop)
    program = shop.program()
    shop.members(program, 20)
    shop.start(shop.campaign(program, "storm"))
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, "not_found")
    first = shop.campaign(program, "twice")
    shop.start(first)
    shop.campaign(program, "twice")
    shop.claim()
    shop.verb("pause", first)

    found = numbers(shop)

    assert (found["held/not_found"], found["held/other"]) == (1, 1)
    assert found["campaigns/PAUSED"] == 3


def test_opt_outs_that_cannot_be_read_are_told(shop: Shop) -> None:
    """Row security that is forced on the tables' owner, or a renamed column, makes everybody look opted in."""
    assert numbers(shop)["consent"] == 0
    shop.conn.execute("alter table users rename column marketing_opt_in to newsletter")
    assert numbers(shop)["consent"] == 1
    assert "marketing_opt_in" in shop.value("select passbell.consent_trouble()")


def test_d1_a_rate_of_almost_nothing_breaks_no_number(shop: Shop) -> None:
    """A rate below the bound is refused; where one is stored already, all numbers can be read."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    rate = "update push_campaigns set rate_per_second = 1e-30 where id = %s"
    with pytest.raises(psycopg.Error, match=r"at least 0\.00001 \(one push in 28 hours\)") as refusal:
        shop.conn.execute(rate, [campaign])
    assert refusal.value.sqlstate == "PB400"
    shop.start(campaign)
    shop.conn.execute("alter table push_campaigns disable trigger user")
    shop.conn.execute(rate, [campaign])
    shop.conn.execute("update push_campaigns set updated_at = now() - interval '1 hour'")
    shop.conn.execute("update passbell.chunks set not_before = now() - interval '1 hour'")
    assert numbers(shop)["idle"] == 0
    assert numbers(shop)["campaigns/PROCESSING"] == 1


def test_d1_odd_hours_and_runs_without_end_break_no_number(shop: Shop) -> None:
    """A window that ends at 24:00, a zone that is none, a run that was completed at the end of time."""
    register(shop)
    program = shop.program(timezone="Nowhere/Land", push_window_start="24:00", push_window_end="00:00")
    shop.members(program, 3)
    shop.campaign(program)
    shop.conn.execute(
        "insert into passbell.birthday_runs (program_id, local_date, started_at, not_before, completed_at)"
        " values (%s, '2026-05-05', 'infinity', 'infinity', 'infinity')",
        [program],
    )
    found = numbers(shop)
    assert found["campaigns/PENDING"] == 1
    assert found["birthday_open"] == 0


def test_d2_programs_that_hang_are_told_by_their_own_number(shop: Shop) -> None:
    """The numbers are read from the copies: what hangs is counted as that, and what moves is counted on."""
    register(shop)
    program, other = shop.program(), shop.program("Other")
    for one in (program, other):
        shop.members(one, 3)
        shop.start(shop.campaign(one))
    shop.conn.execute("select passbell.note_hang('programs', 'canceling statement', null)")
    shop.conn.execute("select passbell.note_hanging_program(%s, 'canceling statement', null)", [program])
    assert shop.row("select passbell.copy_programs() as done")["done"]

    found = numbers(shop)

    assert (found["hangs/programs"], found["hangs/users"], found["hanging_programs"]) == (1, 0, 1)
    assert (found["set_aside"], found["campaigns/PROCESSING"]) == (1, 2)
    chunk = shop.chunk()
    assert chunk is not None
    assert chunk["program_id"] == other
    assert shop.chunk() is None


def test_d2_greetings_for_the_morning_are_not_waited_for(shop: Shop) -> None:
    """Passes of a running campaign that are due tomorrow: the campaign is not idle."""
    register(shop)
    program = shop.program()
    shop.members(program, 3)
    shop.clock("2026-05-05 01:00:00+00")
    shop.start(shop.campaign(program))
    shop.conn.execute("update passbell.chunks set not_before = '2026-05-05 09:00:00+00'")
    shop.clock("2026-05-05 08:00:00+00")
    assert numbers(shop)["idle"] == 0
    shop.clock("2026-05-05 09:20:00+00")
    assert numbers(shop)["idle"] > 600
