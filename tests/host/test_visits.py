"""What counts as a visit, and that a gift of passbell's own is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg import sql

from passbell.database.migrate import migrate
from support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from conftest import MakeDatabase
    from support.databases import Generation

COUPON = """
    insert into protocol_coupon (pass_id, redeemed_at)
    values (%(pass)s, case when %(number)s %% 3 > 0 then now() - %(days)s * interval '1 day' end)
"""
TICKET = """
    insert into protocol_event_ticket (pass_id, checked_in_at)
    values (%(pass)s, case when %(number)s %% 3 > 0 then now() - %(days)s * interval '1 day' end)
"""
REMEMBERED = "select count(*) from passbell.awards where pass_id = %s"


@pytest.fixture
def shop(database: MakeDatabase, generation: Generation) -> Iterator[Shop]:
    """A shop on each complete generation of the platform's tables."""
    made = Shop(database(generation), generation)
    yield made
    made.close()


def visit(shop: Shop, pass_id: UUID, days: float, action: str = "MEMBER_EARN", points: int = 10) -> None:
    """Let the platform record something that happened some days ago."""
    kind = shop.value(
        "select format_type(atttypid, null) from pg_attribute"
        " where attrelid = 'transactions'::regclass and attname = 'action_type'"
    )
    shop.conn.execute(
        sql.SQL(
            "insert into transactions (pass_id, action_type, value_change, created_at)"
            " values (%s, %s::{}, %s, now() - %s * interval '1 day')"
        ).format(sql.SQL(kind)),
        [pass_id, action, points, days],
    )


def away(shop: Shop, pass_id: UUID) -> float | None:
    """For how many days passbell holds the member to have been away."""
    days: Any = shop.value(
        "select extract(epoch from now() - last_activity) / 86400 from passbell.recipients where pass_id = %s",
        [pass_id],
    )
    return None if days is None else round(float(days), 1)


def sleeps(shop: Shop, pass_id: UUID) -> bool:
    """Whether SLUMBER names the member."""
    program = shop.value("select program_id from passes_master where id = %s", [pass_id])
    return bool(shop.value("select matched from push_preview(%s, 'SLUMBER')", [program]))


def synced(shop: Shop, pass_id: UUID, days: float) -> None:
    """The platform's sync or webhook sets last_updated, whatever the member did."""
    shop.conn.execute(
        "update passes_master set last_updated = now() - %s * interval '1 day' where id = %s", [days, pass_id]
    )


def test_a_visit_counts_before_what_the_sync_says(shop: Shop) -> None:
    """C6: the platform's sync sets last_updated of all members; who was away stays away."""
    pass_id = shop.member(shop.program())
    visit(shop, pass_id, 90)
    synced(shop, pass_id, 0)
    assert (away(shop, pass_id), sleeps(shop, pass_id)) == (90.0, True)
    visit(shop, pass_id, 2)
    synced(shop, pass_id, 80)
    assert (away(shop, pass_id), sleeps(shop, pass_id)) == (2.0, False)


def test_without_a_visit_the_platforms_date_stands_in(shop: Shop) -> None:
    """A member without a recorded visit is as old as the platform's date, and has no row in visits."""
    pass_id = shop.member(shop.program())
    synced(shop, pass_id, 40)
    assert away(shop, pass_id) == 40.0
    assert shop.rows("select * from passbell.visits") == []


def test_installing_is_no_visit(shop: Shop) -> None:
    """Only what a member does counts: earning and redeeming, not the pass's own comings and goings."""
    pass_id = shop.member(shop.program())
    synced(shop, pass_id, 70)
    visit(shop, pass_id, 50, "MEMBER_REDEEM", -5)
    visit(shop, pass_id, 5, "INSTALL", 0)
    visit(shop, pass_id, 4, "UNINSTALL", 0)
    assert away(shop, pass_id) == 50.0
    assert [row["points"] for row in shop.rows("select points from passbell.visits")] == [-5]


WORDS = (
    ("MEMBER_EARN", True),
    ("earn", True),
    ("Points redeemed", True),
    ("CHECK_IN", True),
    ("ADJUSTMENT", False),
    ("EARN_REVERSED", False),
    ("MEMBER_EARN_ADJUST", False),
    ("INSTALL", False),
    ("UNINSTALLED", False),
    ("learned", False),
    ("EXPIRED", False),
    ("", False),
    (None, None),
)


def test_words_for_what_happened(database: MakeDatabase) -> None:
    """The spellings of the platform's actions are known; an unknown action is not a visit."""
    shop = Shop(database("1"), "1")
    known = [(action, shop.value("select passbell.is_visit(%s)", [action])) for action, _ in WORDS]
    shop.close()
    assert known == list(WORDS)


def test_coupons_and_tickets_are_visits_of_their_own(shop: Shop) -> None:
    """A redeemed coupon and a ticket that was checked in say when a member came."""
    deli, hall = shop.program("Deli", "COUPON"), shop.program("Hall", "EVENT_TICKET")
    coupon, ticket = shop.member(deli, protocol="COUPON"), shop.member(hall, protocol="EVENT_TICKET")
    shop.conn.execute(
        "insert into protocol_coupon (pass_id, redeemed_at) values (%s, now() - interval '8 days')", [coupon]
    )
    shop.conn.execute(
        "insert into protocol_event_ticket (pass_id, checked_in_at) values (%s, now() - interval '3 days')",
        [ticket],
    )
    assert (away(shop, coupon), away(shop, ticket)) == (8.0, 3.0)
    assert {row["pass_id"] for row in shop.rows("select pass_id from passbell.visits")} == {coupon, ticket}


@pytest.mark.parametrize("visited", [True, False], ids=["came before", "never came"])
def test_a_gift_does_not_end_slumber(shop: Shop, *, visited: bool) -> None:
    """C6: the award writes a transaction and last_updated like any visit; the member stays away all the same."""
    pass_id = shop.member(shop.program(), points=5, tier_points=0)
    if visited:
        visit(shop, pass_id, 90)
    synced(shop, pass_id, 90)
    before = shop.rows("select * from passbell.visits")
    for _ in range(2):
        shop.value("select passbell.award_points(%s, 50, 'Birthday')", [pass_id])
    assert shop.value("select points from passbell.recipients where pass_id = %s", [pass_id]) == 105
    assert shop.value(REMEMBERED, [pass_id]) == 2
    assert (away(shop, pass_id), sleeps(shop, pass_id)) == (90.0, True)
    assert shop.rows("select * from passbell.visits") == before
    visit(shop, pass_id, 0)
    assert not sleeps(shop, pass_id)


def test_a_failed_gift_is_not_remembered(shop: Shop) -> None:
    """What the platform refused is no award."""
    pass_id = shop.member(shop.program(), points=5, tier_points=0)
    with pytest.raises(Exception, match="INVALID_AMOUNT"):
        shop.value("select passbell.award_points(%s, 0, 'Birthday')", [pass_id])
    assert shop.value(REMEMBERED, [pass_id]) == 0


def test_gifts_of_older_versions_are_found_again(database: MakeDatabase, generation: Generation) -> None:
    """After an upgrade, gifts of older versions do not count as visits."""
    shop = Shop(database(generation, migrated=False), generation)
    gifted, came = shop.member(shop.program()), shop.member(shop.program("Other"))
    for pass_id in (gifted, came):
        visit(shop, pass_id, 20, points=50)
    shop.conn.execute(
        "update passes_master p set last_updated = t.created_at from transactions t where t.pass_id = p.id"
    )
    columns, values = "pass_id, year, created_at", "t.pass_id, 2026, t.created_at"
    if generation != "1":
        columns, values = f"{columns}, points_awarded", f"{values}, 50"
    shop.conn.execute(
        f"insert into birthday_logs ({columns}) select {values} from transactions t where t.pass_id = '{gifted}'"  # type: ignore[arg-type]  # noqa: S608
    )
    for _ in range(2):
        migrate(shop.url)
        assert shop.value(REMEMBERED, [gifted]) == 1
        assert (sleeps(shop, gifted), sleeps(shop, came)) == (True, False)
        assert [row["pass_id"] for row in shop.rows("select pass_id from passbell.visits")] == [came]
    shop.close()


def test_an_operators_own_visits_count(shop: Shop) -> None:
    """A till that the platform does not know: the operator's view replaces ours, and last_activity follows it."""
    pass_id = shop.member(shop.program())
    synced(shop, pass_id, 90)
    shop.conn.execute("create table till (pass_id uuid, at timestamptz)")
    shop.conn.execute("insert into till values (%s, now() - interval '6 days')", [pass_id])
    shop.conn.execute("drop view passbell.visits")
    shop.conn.execute("create view passbell.visits as select pass_id, at, null::numeric as points from till")
    for _ in range(2):
        migrate(shop.url)
        assert away(shop, pass_id) == 6.0


def lived_in(shop: Shop, program: UUID, number: int) -> None:
    """Add a member with a past of its own."""
    pass_id = shop.member(program)
    synced(shop, pass_id, number)
    for every, days, action in (
        (3, 60 - number, "MEMBER_EARN"),
        (5, 5 + number, "MEMBER_REDEEM"),
        (7, 1, "INSTALL"),
    ):
        if number % every == 0:
            visit(shop, pass_id, days, action)
    for happens, statement in (
        (
            number % 11 == 0,
            (
                "insert into passbell.awards (pass_id, at, activity_before, updated_after) select id, now(),"
                " now() - interval '70 days', last_updated from passes_master where id = %(pass)s"
            ),
        ),
        (number % 4 == 0, "update passes_master set last_updated = null where id = %(pass)s"),
        (
            number % 8 in {3, 4},
            COUPON,
        ),
        (
            number % 9 in {4, 5},
            TICKET,
        ),
    ):
        if happens:
            shop.conn.execute(statement, {"pass": pass_id, "number": number, "days": (number * 7) % 50})


@pytest.mark.parametrize("without_zone", [False, True], ids=["with a zone", "without a zone"])
def test_c6_slumber_names_exactly_whom_the_last_activity_names(shop: Shop, *, without_zone: bool) -> None:
    """SLUMBER finds exactly the members whose last_activity is older, for any day.

    Visits, coupons, tickets, the stand-in and awards, each older and newer than the day that is asked about.
    """
    if without_zone:
        shop.conn.execute("set timezone = 'Asia/Tokyo'")
        shop.conn.execute("drop view passbell.visits cascade")
        shop.conn.execute("drop view passbell.recipients cascade")
        shop.conn.execute(
            "alter table transactions alter created_at type timestamp using created_at at time zone 'UTC'"
        )
        migrate(shop.url)
    program, other = shop.program(), shop.program()
    for number in range(40):
        lived_in(shop, program, number)
        lived_in(shop, other, number)
    for days in (3, 20, 35):
        wanted = {
            row["pass_id"]
            for row in shop.rows(
                "select pass_id from passbell.recipients"
                " where program_id = %s and last_activity < now() - %s * interval '1 day'",
                [program, days],
            )
        }
        found = shop.rows(
            "select a from passbell.asleep(%s, now() - %s * interval '1 day') a", [program, days]
        )
        assert 2 < len(wanted) < 40
        assert sorted(row["a"] for row in found) == sorted(wanted)
        assert shop.value("select matched from push_preview(%s, %s)", [program, f"DORMANT:{days}"]) == len(
            wanted
        )
    assert shop.value("select passbell.one_row_per_pass()") is True


def test_c6_slumber_asks_an_operators_own_recipients(shop: Shop) -> None:
    """An operator's own view decides who sleeps, without another migrate; a pass that it shows twice counts once."""
    program = shop.program()
    shop.member(program)
    shop.conn.execute("alter view passbell.recipients rename to all_recipients")
    shop.conn.execute(
        "create view passbell.recipients as select pass_id, program_id, passkit_program_id, passkit_id, external_id,"
        " protocol, reachable, opted_in, user_id, email, first_name, last_name, birth_date, points, tier_points, zip,"
        " city, now() - interval '99 days' as last_activity, coupon_expires_on, redeemed_at, checked_in_at"
        " from passbell.all_recipients cross join generate_series(1, 2)"
    )
    assert shop.value("select matched from push_preview(%s, 'SLUMBER:90')", [program]) == 1
    assert shop.value("select matched from push_preview(%s, 'SLUMBER:100')", [program]) == 0
    assert shop.value("select passbell.one_row_per_pass()") is False
