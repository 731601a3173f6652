"""What passbell says of a message: the verdicts, the sentences, the windows, the sums."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.shop import Shop, utc
from support.year import START, year

from .conftest import NOON

if TYPE_CHECKING:
    from uuid import UUID

    from conftest import MakeDatabase

LATER = START + timedelta(days=20_000)
NO_VISITS = "This database records no visits, so nobody knows who came."


def visit(shop: Shop, pass_id: UUID, at: Any) -> None:
    shop.conn.execute(
        "insert into transactions (pass_id, action_type, value_change, created_at) values (%s, 'MEMBER_EARN', 5, %s)",
        [pass_id, at],
    )


def result(shop: Shop, campaign: UUID) -> dict[str, Any]:
    return shop.row("select * from push_results(%s)", [campaign])


# ── the sentences ──────────────────────────────


SAID = {
    (1800, 212, 0, 0): (
        "no_holdout",
        "212 of 1,800 came within 7 days. Nobody was held back, so nobody knows how many would have come anyway.",
    ),
    (18_015, 4049, 1985, 401): (
        "more",
        "It brought about 410 guests more than without it: between 64 and 737.",
    ),
    (1800, 200, 200, 40): (
        "fewer",
        (
            "Fewer came than without it: between 67 and 272 fewer. One in forty such results is chance; if the next is"
            " the same, stop."
        ),
    ),
    (270, 14, 30, 1): ("too_small", "This campaign was too small to say anything (30 held back)."),
    (1800, 340, 200, 34): (
        "unclear",
        (
            "It cannot be said whether it brought anybody: between 75 fewer and 123 more. With 200 held back, only 141"
            " or more would have been seen."
        ),
    ),
    (900, 0, 100, 0): ("too_small", "This campaign was too small to say anything (100 held back)."),
}
"""By people sent to and those of them who came, people held back and those of them who came."""


@pytest.mark.parametrize("counts", SAID)
def test_what_is_said_of_the_counts(numbers: psycopg.Connection, counts: tuple[int, ...]) -> None:
    """Each combination of counts gives its verdict and sentence."""
    row = numbers.execute(
        "select j.* from passbell.newcombe(%(k1)s, %(n1)s, %(k0)s, %(n0)s) n,"
        "  passbell.judge_result(true, true, %(n1)s, %(k1)s, %(n0)s, %(k0)s, n.diff, n.lo, n.hi, 7) j",
        dict(zip(("n1", "k1", "n0", "k0"), counts, strict=True)),
    ).fetchone()
    assert row == SAID[counts]


def test_who_came_anyway_stands_beside_the_number(numbers: psycopg.Connection) -> None:
    """Attribution alone would have counted 4,049 guests."""
    row = numbers.execute("select passbell.came_anyway(4049, 1985, 401, 4049 - 410, 7)").fetchone()
    assert row == (
        (
            "4,049 came within 7 days. Of the 1,985 held back 20.2 % came as well,"
            " so about 3,639 would have come anyway."
        ),
    )


# ── one campaign ──────────────────────────────


def test_came_is_one_visit_within_the_window_once_per_person(shop: Shop) -> None:
    """After the message and within measure_days times 24 hours; twice is once; before and later are not."""
    program = shop.program(timezone="UTC")
    early, inside, twice, last, late = (shop.member(program) for _ in range(5))
    campaign = shop.campaign(program, measure_days=2)
    shop.send(campaign)
    visit(shop, early, NOON)  # at the very moment
    visit(shop, inside, NOON + timedelta(seconds=1))
    visit(shop, twice, NOON + timedelta(hours=1))
    visit(shop, twice, NOON + timedelta(hours=30))
    visit(shop, last, NOON + timedelta(days=2))
    visit(shop, late, NOON + timedelta(days=2, seconds=1))
    shop.clock(NOON + timedelta(days=1, hours=23))
    row = result(shop, campaign)
    assert (row["verdict"], row["sentence"]) == ("open", "Can be counted on 3 Jun, 12:00.")
    assert (row["sent"], row["sent_came"], row["counted_at"]) == (5, None, None)
    shop.clock(NOON + timedelta(days=2))
    row = result(shop, campaign)
    assert (row["sent"], row["sent_came"], row["verdict"]) == (5, 3, "no_holdout")
    assert row["sentence"].startswith("3 of 5 came within 2 days. Nobody was held back")
    assert row["diff"] is row["extra"] is row["beside"] is row["money"] is None


def test_a_result_is_final(shop: Shop) -> None:
    """Visits that are recorded later, a retry or another count do not change a result."""
    program = shop.program()
    members = [shop.member(program) for _ in range(3)]
    campaign = shop.campaign(program)
    shop.send(campaign)
    shop.clock(NOON + timedelta(days=8))
    before = result(shop, campaign)
    for member in members:
        visit(shop, member, NOON + timedelta(days=1))
    shop.clock(NOON + timedelta(days=80))
    assert result(shop, campaign) == before | {"counted_at": before["counted_at"]}


def test_a_person_with_two_passes_counts_once(shop: Shop) -> None:
    """Two passes, one person: one in the arm, and one who came."""
    program = shop.program()
    first = shop.member(program, user={})
    user = shop.value("select user_id from passes_master where id = %s", [first])
    second = shop.member(program, user_id=user)
    campaign = shop.campaign(program)
    shop.send(campaign)
    visit(shop, first, NOON + timedelta(days=1))
    visit(shop, second, NOON + timedelta(days=2))
    shop.clock(NOON + timedelta(days=8))
    row = result(shop, campaign)
    assert (row["sent"], row["sent_came"]) == (1, 1)


def test_failures_stay_in_the_sent_arm_and_skips_in_neither(shop: Shop) -> None:
    """Rejected by PassKit: sent. Uninstalled, suppressed: nowhere."""
    program = shop.program()
    shop.members(program, 2)
    gone = shop.member(program)
    quiet = shop.member(program, external_id="Q")
    shop.conn.execute("insert into push_suppressions (program_id, external_id) values (%s, 'Q')", [program])
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.conn.execute("update passes_master set status = 'UNINSTALLED' where id = %s", [gone])
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, ["sent", "rejected"])
    for member in (*chunk["pass_ids"], gone, quiet):
        visit(shop, member, NOON + timedelta(days=1))
    shop.clock(NOON + timedelta(days=8))
    row = result(shop, campaign)
    assert (row["sent"], row["sent_came"]) == (2, 2)


def test_without_recorded_visits_nobody_knows(shop: Shop) -> None:
    """The platform records no transactions: untrusted, and no number looks like a count."""
    program = shop.program()
    shop.members(program, 200)
    campaign = shop.campaign(program, holdout_percent=30)
    shop.send(campaign)
    shop.clock(NOON + timedelta(days=8))
    row = result(shop, campaign)
    assert (row["verdict"], row["sentence"]) == ("untrusted", NO_VISITS)
    assert row["sent"] + row["held"] == 200
    assert row["sent_came"] is row["held_came"] is row["diff"] is row["extra"] is None
    total = shop.row("select * from push_results_total(%s)", [program])
    assert (total["verdict"], total["sentence"]) == ("untrusted", NO_VISITS)
    plan = shop.row("select * from push_plan(%s)", [program])
    assert (plan["reachable"], plan["would_hold"], plan["sentence"]) == (200, 20, NO_VISITS)


def test_a_database_without_transactions_says_so(database: MakeDatabase) -> None:
    """No table of transactions at all: segments go by the stand-in, results are untrusted."""
    shop = Shop(database("2", migrated=True), "2")
    shop.conn.execute("drop table transactions cascade")
    shop.conn.execute("select passbell.build_adapters()")
    shop.clock(NOON)
    program = shop.program()
    shop.member(program, last_updated=NOON - timedelta(days=90))
    shop.members(program, 60)
    assert shop.value("select matched from push_preview(%s, 'SLUMBER')", [program]) >= 1
    campaign = shop.campaign(program, holdout_percent=50)
    shop.send(campaign)
    shop.clock(NOON + timedelta(days=8))
    row = result(shop, campaign)
    assert (row["verdict"], row["sentence"]) == ("untrusted", NO_VISITS)
    shop.close()


def test_an_odd_draw_is_not_shown(town: Shop) -> None:
    """If half of those held back are missing in the ledger, the verdict is `untrusted` without an interval."""
    program = year(town, "odd", campaigns=1, members=1000, percent=20, base=0.2)
    town.conn.execute(
        "delete from passbell.deliveries d using push_campaigns c where c.id = d.campaign_id and c.program_id = %s"
        " and d.reason = 'held_out' and passbell.lot(d.pass_id, 'odd') < 0.5",
        [program],
    )
    town.clock(LATER)
    campaign = town.value("select id from push_campaigns where program_id = %s", [program])
    row = result(town, campaign)
    assert (row["verdict"], row["diff"], row["extra_hi"]) == ("untrusted", None, None)
    assert row["sentence"] == "Something changed who was held back; this number is not shown."
    total = town.row("select * from push_results_total(%s)", [program])
    assert (total["verdict"], total["sentence"], total["campaigns"]) == ("untrusted", row["sentence"], 0)


@pytest.mark.parametrize(("people", "verdict"), [(100, "too_small"), (800, "untrusted")])
def test_a_lot_that_is_kept_for_a_year_is_no_odd_draw(town: Shop, people: int, verdict: str) -> None:
    """15 of 100 held back instead of 10 is chance, also after eight occasions each; 120 of 800 people is not."""
    program = town.program(f"Lot of {people}")
    automation = town.value(
        "insert into push_automations (program_id, occasion, message_text)"
        " values (%s, 'DORMANT:30', 'Hi') returning id",
        [program],
    )
    town.conn.execute(
        "with days as (select n, gen_random_uuid() as campaign from generate_series(1, 8) as n),"
        " told as ("
        "   insert into passbell.occasions (automation_id, person_id, occasion, pass_id, local_date, campaign_id)"
        "   select %(automation)s, who, n::text, who, date '2026-01-01' + n, campaign"
        "     from days, generate_series(1, 100) as p,"
        "          lateral (select md5(case %(people)s when 100 then p else n * 1000 + p end::text)::uuid as who) w)"
        " insert into passbell.results (campaign_id, program_id, automation_id, measure_days, percent, counted_at,"
        "   visits_recorded, sent, sent_came, sent_came_before, held, held_came, held_came_before)"
        " select campaign, %(program)s, %(automation)s, 7, 10, now(), true, 85, 8, 8, 15, 1, 1 from days",
        {"automation": automation, "program": program, "people": people},
    )
    row = town.row("select * from automation_results(%s)", [automation])
    assert (row["sent"], row["held"], row["verdict"]) == (680, 120, verdict)
    assert (row["extra"] is None) == (verdict == "untrusted")


def test_money_only_where_a_guest_has_a_worth(town: Shop) -> None:
    """With average_bill the same interval in money; without it none."""
    program = year(town, "money", campaigns=1, members=3000, percent=30, base=0.1, effect=0.1)
    town.clock(LATER)
    campaign = town.value("select id from push_campaigns where program_id = %s", [program])
    row = result(town, campaign)
    assert row["verdict"] == "more"
    assert row["money"] is row["money_lo"] is row["money_hi"] is None
    town.conn.execute("update programs set average_bill = 40 where id = %s", [program])
    worth = result(town, campaign)
    for column in ("", "_lo", "_hi"):
        assert float(worth["money" + column]) == pytest.approx(40 * worth["extra" + column], abs=0.01)
    assert worth["beside"].startswith(f"{worth['sent_came']:,} came within 7 days. Of the ")
    assert worth["arms_before"].startswith("In the 7 days before the message both visited alike: 0.0 %")


def test_arms_that_visited_unlike_before_are_named(numbers: psycopg.Connection) -> None:
    """A sentence beside the number, which leaves the verdict alone."""
    row = numbers.execute("select passbell.alike_before(2000, 400, 500, 30, 7)").fetchone()
    assert row is not None
    assert row[0].startswith("In the 7 days before the message the two groups did not visit alike: 20.0 %")


# ── counting once ──────────────────────────────


def test_two_who_ask_at_once_get_one_result(town: Shop) -> None:
    """If eight sessions ask at once, one result is stored, and all get the same."""
    program = year(town, "race", campaigns=1, members=500, percent=20, base=0.1)
    campaign = town.value("select id from push_campaigns where program_id = %s", [program])

    def ask(_: int) -> tuple[Any, ...] | None:
        with psycopg.connect(town.url, autocommit=True) as conn:
            conn.execute("select set_config('passbell.now', %s, false)", [str(LATER)])
            return conn.execute("select * from push_results(%s)", [campaign]).fetchone()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len(set(answers)) == 1
    assert answers[0] is not None
    assert town.value("select count(*) from passbell.results where campaign_id = %s", [campaign]) == 1


def counts(session: psycopg.Connection[Any], campaign: UUID) -> None:
    """Hold what a session holds that counts a result; whatever minute it is by the next question."""
    for ago in (0, -60):
        session.execute(
            "select pg_advisory_xact_lock(passbell.private_lock('counts the result of ' || %s, %s))",
            [str(campaign), ago],
        )


def test_no_lock_that_a_login_may_take_stops_a_result(town: Shop) -> None:
    """If another login holds the lock number that releases before took, the result is counted all the same."""
    program = year(town, "stranger", campaigns=1, members=20, percent=20, base=0.1)
    campaign = town.value("select id from push_campaigns where program_id = %s", [program])
    town.clock(LATER)
    with psycopg.connect(town.url) as stranger:
        stranger.execute(
            "select pg_advisory_xact_lock(hashtextextended('passbell.result ' || %s, 0))", [str(campaign)]
        )
        assert town.value("select passbell.count_due_results(1, %s)", [program]) == 1


def test_one_that_cannot_be_counted_holds_up_none_behind_it(town: Shop) -> None:
    """The oldest is being counted by another session; the next is counted meanwhile."""
    program = year(town, "queue", campaigns=2, members=50, percent=20, base=0.1)
    oldest = town.value(
        "select id from push_campaigns where program_id = %s order by started_at limit 1", [program]
    )
    town.clock(LATER)
    with psycopg.connect(town.url) as other:
        counts(other, oldest)
        assert town.value("select passbell.count_due_results(1, %s)", [program]) == 1
    assert town.value("select passbell.count_due_results(1, %s)", [program]) == 1
    assert town.value("select passbell.count_due_results(1, %s)", [program]) == 0


def test_visits_that_cannot_be_read_for_one_program_hold_up_no_other(town: Shop) -> None:
    """If one program's visits cannot be read, its campaign says so, and the other program's is counted."""
    guilty = year(town, "guilty", campaigns=1, members=20, percent=20, base=0.1)
    other = year(town, "other", campaigns=1, members=20, percent=20, base=0.1)
    campaign = town.value("select id from push_campaigns where program_id = %s", [guilty])
    odd = town.value("select min(pass_id::text) from passbell.deliveries where campaign_id = %s", [campaign])
    visits = town.value("select pg_get_viewdef('passbell.visits')").rstrip("; ")
    town.clock(LATER)
    replace = "create or replace view passbell.visits as "
    trap = f"1 / (case when v.pass_id = '{odd}' then 0 else 1 end) = 1"
    town.conn.execute(f"{replace} select * from ({visits}) v where {trap}".encode())  # noqa: S608 - for one pass
    town.conn.execute(
        "insert into transactions (pass_id, action_type, value_change) values (%s, 'MEMBER_EARN', 1)", [odd]
    )
    try:
        while town.value("select passbell.count_due_results(1)"):
            pass
        counted = "select count(*) from passbell.results where program_id = %s"
        assert (town.value(counted, [guilty]), town.value(counted, [other])) == (0, 1)
        reason = town.value("select reason from passbell.set_aside where campaign_id = %s", [campaign])
        assert "division by zero" in reason
    finally:
        town.conn.execute((replace + visits).encode())
        town.conn.execute("delete from passbell.set_aside")
    assert town.value("select passbell.count_due_results(1, %s)", [guilty]) == 1


def test_retention_counts_first_and_leaves_what_it_cannot_count(town: Shop) -> None:
    """An old ledger is pruned only after its result is stored."""
    program = year(town, "prune", campaigns=1, members=80, percent=20, base=0.1)
    campaign = town.value("select id from push_campaigns where program_id = %s", [program])
    left = "select count(*) from passbell.deliveries where campaign_id = %s"
    town.clock(LATER)
    town.conn.execute("update passbell.settings set retention = interval '30 days'")
    try:
        with psycopg.connect(town.url) as other:
            counts(other, campaign)
            while not town.rows("select 1 from passbell.pruned where campaign_id = %s", [campaign]):
                town.rows("select * from passbell.prune(10000)")
            assert town.value(left, [campaign]) == 80
        town.clock(LATER + timedelta(days=2))
        while not all(row["done"] for row in town.rows("select * from passbell.prune(10000)")):
            pass
    finally:
        town.conn.execute("update passbell.settings set retention = null")
    held = town.value("select held from passbell.results where campaign_id = %s", [campaign])
    assert held > 0
    assert town.value(left, [campaign]) == 80 - held, "a pass's newest message stays"
    assert result(town, campaign)["held"] == held


# ── added up ──────────────────────────────


def test_since_and_until_are_local_dates_inclusive(town: Shop) -> None:
    """A campaign at 01:00 UTC on the 2nd belongs to the 1st in New York; NULL is all."""
    program = year(town, "dates", campaigns=6, members=60, percent=30, base=0.2)
    town.conn.execute("update programs set timezone = 'America/New_York' where id = %s", [program])
    town.clock(LATER)
    town.value("select passbell.count_due_results(100, %s)", [program])
    town.conn.execute(
        "update passbell.results set first_sent_at = date_trunc('day', first_sent_at) + interval '1 hour'"
        " where program_id = %s",
        [program],
    )
    days = [
        row["day"].date() - timedelta(days=1)
        for row in town.rows(
            "select first_sent_at at time zone 'UTC' as day from passbell.results where program_id = %s order by 1",
            [program],
        )
    ]

    def campaigns(since: date | None, until: date | None) -> int:
        found: int = town.value(
            "select campaigns from push_results_total(%s, %s, %s)", [program, since, until]
        )
        return found

    assert campaigns(None, None) == 6
    assert campaigns(days[1], days[3]) == 3
    assert campaigns(days[1] + timedelta(days=1), days[3]) == 2
    assert campaigns(None, days[0]) == 1
    assert campaigns(days[5], None) == 1
    assert campaigns(days[5] + timedelta(days=1), None) == 0


def test_of_two_that_overlap_for_the_same_people_only_the_earlier_is_added(town: Shop) -> None:
    """Of campaigns four days apart with windows of seven, every second one is added; in a program-wide group all."""
    program = year(town, "overlap", campaigns=4, members=200, percent=20, base=0.1, every_days=4)
    town.clock(LATER)
    town.value("select passbell.count_due_results(100, %s)", [program])
    total = town.row("select * from push_results_total(%s)", [program])
    assert total["campaigns"] == 2
    town.conn.execute("update passbell.results set grouped = true where program_id = %s", [program])
    assert town.value("select campaigns from push_results_total(%s)", [program]) == 4


def test_an_overlap_is_known_after_retention_took_one_ledger(town: Shop) -> None:
    """Counted and pruned before the other is counted: still not added twice."""
    program = year(town, "gone", campaigns=2, members=200, percent=20, base=0.1, every_days=4)
    first, second = (
        row["id"]
        for row in town.rows(
            "select id from push_campaigns where program_id = %s order by started_at", [program]
        )
    )
    town.clock(LATER)
    town.value("select passbell.count_result(%s)", [first])
    town.conn.execute("delete from passbell.deliveries where campaign_id = %s", [first])
    town.value("select passbell.count_result(%s)", [second])
    assert town.value("select campaigns from push_results_total(%s)", [program]) == 1


def test_campaigns_of_different_shares_are_not_pooled(numbers: psycopg.Connection) -> None:
    """10 % held of a quiet week and half of a busy one, no effect in either: pooled arms would say `fewer`."""
    row = numbers.execute(
        "select s.* from passbell.add_results(array(select r from ("
        " select null::uuid, null::uuid, null::uuid, 7, c.percent, false, null::timestamptz, null::timestamptz,"
        "        null::timestamptz, now(), true, c.n1, c.k1, 0::bigint, c.n0, c.k0, 0::bigint, '{}'::uuid[]"
        "   from (values (10::numeric, 900::bigint, 45::bigint, 100::bigint, 5::bigint),"
        "                (50, 500, 100, 500, 100)) c (percent, n1, k1, n0, k0)) x,"
        " lateral (select row(x.*)::passbell.results as r) r)) s"
    ).fetchone()
    assert row is not None
    assert row[0] == 2
    diff, lo, hi = row[5:8]
    assert diff == pytest.approx(0)
    assert lo < 0 < hi


def test_a_small_campaign_points_to_the_others(town: Shop) -> None:
    """`too_small` says what the campaign and the other eleven together brought."""
    program = year(town, "others", campaigns=12, members=300, percent=10, base=0.05, effect=0.05)
    town.clock(LATER)
    rows = town.rows(
        "select r.* from push_campaigns c, push_results(c.id) r where c.program_id = %s order by c.started_at",
        [program],
    )
    last = [row for row in rows if row["verdict"] == "too_small"][-1]
    assert last["sentence"].startswith(
        f"This campaign was too small to say anything ({last['held']} held back). Added to your other "
    )
    assert " since January: about " in last["sentence"]


def test_a_time_that_is_still_open_says_so(shop: Shop) -> None:
    """While the window is open, the program's total names the day on which it can be counted."""
    program = shop.program(timezone="Europe/Berlin")
    members = shop.members(program, 40)
    visit(shop, members[0], NOON - timedelta(days=100))
    campaign = shop.campaign(program, holdout_percent=50)
    shop.send(campaign)
    total = shop.row("select * from push_results_total(%s)", [program])
    assert (total["verdict"], total["campaigns"]) == ("open", 0)
    assert total["sentence"] == "The first of them can be counted on 8 Jun, 14:00."


# ── the count before the order ──────────────────────────────


def test_a_preview_counts_who_is_left_out_and_who_is_held(shop: Shop) -> None:
    """A preview counts suppressed, capped and too-often members apart, and how many will be held back."""
    program = shop.program(push_holdout_percent=20, push_max=2, push_max_days=7, push_min_hours=1)
    members = shop.members(program, 100)
    shop.conn.execute(
        "insert into push_suppressions (program_id, external_id, until)"
        " select program_id, upper(external_id) || ' ', passbell.now() + interval '1 day' from passes_master"
        "  where id = any (%s)",
        [members[:5]],
    )
    shop.conn.execute(
        "insert into push_suppressions (program_id, external_id, until)"
        " select program_id, external_id, passbell.now() - interval '1 day' from passes_master where id = any (%s)",
        [members[5:7]],
    )
    earlier = shop.campaign(program, status="DRAFT")
    sent = (
        "insert into passbell.deliveries (campaign_id, pass_id, sent_at, outcome, text_hash)"
        " select %s, p, %s, 'sent', 1 from unnest(%s::uuid[]) p"
    )
    shop.conn.execute(sent, [earlier, NOON - timedelta(days=5), members[10:20]])
    more = [shop.campaign(program, status="DRAFT") for _ in range(3)]
    shop.conn.execute(sent, [more[0], NOON - timedelta(days=6), members[10:14]])  # two in seven days
    shop.conn.execute(sent, [more[1], NOON - timedelta(minutes=30), members[20:23]])  # within the hour
    for one in more:
        shop.conn.execute(
            sent, [one, NOON - timedelta(hours=20), members[30:36]]
        )  # three in a day: capped first
    row = shop.row("select * from push_preview(%s)", [program])
    shop.conn.execute("delete from passbell.deliveries")
    assert (row["suppressed"], row["capped"], row["too_often"]) == (5, 6, 7)
    assert row["reachable"] == 100 - 18
    assert row["would_hold"] == 16
    assert row["finishes_at"] > NOON
    named = shop.value(
        "select 'IDS:' || string_agg(external_id, ',') from passes_master where id = any (%s)",
        [members[40:50]],
    )
    assert shop.row("select reachable, would_hold from push_preview(%s, %s)", [program, named]) == {
        "reachable": 10,
        "would_hold": 0,
    }


def test_the_preview_is_what_is_sent(shop: Shop) -> None:
    """With limits, pauses and a holdout: what was counted leaves the queue, about as many held as said."""
    program = shop.program(push_holdout_percent=20, push_min_hours=24)
    members = shop.members(program, 300)
    names = shop.value(
        "select string_agg(external_id, ',') from passes_master where id = any (%s)", [members[:40]]
    )
    first = shop.campaign(program, "One", target_query=f"IDS:{names}")
    shop.send(first)
    shop.conn.execute(
        "insert into push_suppressions (program_id, external_id)"
        " select program_id, external_id from passes_master where id = any (%s)",
        [members[30:50]],
    )
    shop.clock(NOON + timedelta(hours=2))
    told = shop.row("select * from push_preview(%s)", [program])
    campaign = shop.value("select push_send(%s, 'Two', expected => %s)", [program, told["reachable"]])
    done = shop.send(campaign)
    reasons = list(shop.ledger(campaign).values())
    assert done["sent_count"] + reasons.count("held_out") == told["reachable"] == 250
    assert (
        (told["too_often"], told["suppressed"])
        == (reasons.count("too_often"), reasons.count("suppressed"))
        == (30, 20)
    )
    assert told["would_hold"] == 50
    # Five standard deviations: one run in a million is farther off.
    assert abs(reasons.count("held_out") - 50) < 5 * (250 * 0.2 * 0.8) ** 0.5


def test_a_plan_says_what_would_be_seen(town: Shop) -> None:
    """push_plan says how many guests more or fewer a tenth of 3,000 members held back would show."""
    program = year(town, "plan", campaigns=1, members=3000, percent=0, base=0.3)
    town.clock(START + timedelta(days=8 + 7, minutes=2))
    plan = town.row("select * from push_plan(%s)", [program])
    assert (plan["reachable"], plan["would_send"], plan["would_hold"]) == (3000, 2700, 300)
    assert 0.25 < plan["base_rate"] < 0.35
    seen = 2.80 * (plan["base_rate"] * (1 - plan["base_rate"]) * (1 / 2700 + 1 / 300)) ** 0.5
    assert plan["smallest_visible"] == pytest.approx(seen)
    assert (
        plan["sentence"]
        == f"With 10 % held back, only {round(2700 * seen)} guests more or fewer would be seen."
    )
    with pytest.raises(psycopg.Error, match="from 0 to 50"):
        town.row("select * from push_plan(%s, 'ALL', 60)", [program])
    nobody = town.row("select * from push_plan(%s, 'ALL', 0)", [program])
    assert nobody["sentence"] == "Nobody is held back, so nobody will know how many would have come anyway."


def test_a_report_of_the_month(town: Shop) -> None:
    """The figures of the month, with the same sentence and money as the sum of the same dates."""
    program = year(town, "report", campaigns=3, members=400, percent=30, base=0.1, effect=0.1)
    town.conn.execute("update programs set average_bill = 25 where id = %s", [program])
    town.clock(utc("2026-09-01T00:00:00"))
    report = town.row("select * from push_report(%s, '2026-01-20')", [program])
    total = town.row("select * from push_results_total(%s, '2026-01-01', '2026-01-31')", [program])
    assert report["campaigns"] == report["campaigns_counted"] == 3
    assert (report["sentence"], report["extra"]) == (total["sentence"], total["extra"])
    assert report["money"] == total["money"] is not None
    assert report["messages"] + report["held_out"] == 1200
