"""B6, C7: what an order is held to before it is written, and the platform's own names of audiences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop


def refusal(shop: Shop, statement: str, params: list[object]) -> str:
    """The SQLSTATE of a statement that is refused, empty if it is not."""
    try:
        with shop.conn.transaction():
            shop.conn.execute(statement, params)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return ""


def orders(shop: Shop, program: UUID) -> int:
    """How many campaigns there are."""
    found: int = shop.value("select count(*) from push_campaigns where program_id = %s", [program])
    return found


SEND = "select push_send(%s, 'Hello', 'ALL', null, now() + %s::interval)"
DRAFT = "select passbell.draft_list_campaign(%s, 'Hello', null, null, now() + %s::interval)"


@pytest.mark.parametrize("statement", [SEND, DRAFT])
def test_b6_a_time_that_is_over_is_refused(shop: Shop, statement: str) -> None:
    """An order for more than a minute ago is refused; one for the last minute or the future is taken."""
    program = shop.program()
    shop.member(program)
    for past in ("-61 seconds", "-1 day", "-20 years"):
        assert refusal(shop, statement, [program, past]) == "PB410"
    assert orders(shop, program) == 0
    for future in ("-50 seconds", "1 hour"):
        assert refusal(shop, statement, [program, future]) == ""
    assert orders(shop, program) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "select push_send(%s, 'Hello')",
        "select push_test(%s, 'M-1', 'Hello')",
        "select passbell.draft_list_campaign(%s, 'Hello')",
    ],
)
def test_b6_a_suspended_program_takes_no_orders(shop: Shop, statement: str) -> None:
    """An order for a suspended program is refused at once."""
    program = shop.program(is_suspended=True)
    shop.member(program, external_id=f"M-1 of {program}")
    assert refusal(shop, statement, [program]) == "PB423"
    assert orders(shop, program) == 0


@pytest.mark.parametrize(
    ("now", "at", "starts", "quiet"),
    [
        ("2026-06-01 12:00+00", None, "2026-06-01 13:00+00", True),
        ("2026-06-01 13:00+00", None, "2026-06-01 13:00+00", False),
        ("2026-06-01 14:00+00", "2026-06-02 02:00+00", "2026-06-02 13:00+00", True),
        ("2026-06-01 14:00+00", "2026-06-01 18:00+00", "2026-06-01 18:00+00", False),
    ],
    ids=["before the window", "inside", "scheduled into the night", "scheduled into the day"],
)
def test_b6_quiet_hours_are_said_before(
    shop: Shop, now: str, at: str | None, starts: str, *, quiet: bool
) -> None:
    """The outlook names the moment at which an order could begin, in the program's zone, and why not sooner."""
    program = shop.program(timezone="America/New_York", push_window_start="09:00", push_window_end="20:00")
    with shop.conn.transaction():
        shop.conn.execute("select set_config('passbell.now', %s, true)", [now])
        row = shop.row(
            "select starts_at = %s::timestamptz as right_time, notice"
            " from passbell.order_outlook(%s, %s::timestamptz)",
            [starts, program, at],
        )
    assert row["right_time"] is True
    assert ("Quiet hours" in row["notice"] and "09:00 America/New_York" in row["notice"]) == quiet
    assert "No daemon is running" in row["notice"]


def test_b6_the_outlook_says_that_a_program_is_suspended(shop: Shop) -> None:
    """A suspended program is named before anybody orders."""
    program = shop.program("Closed", is_suspended=True)
    assert 'The program "Closed" is suspended' in shop.value(
        "select notice from passbell.order_outlook(%s)", [program]
    )


def counted(shop: Shop, program: UUID, target: str) -> int:
    """How many a preview reaches."""
    found: int = shop.value("select reachable from push_preview(%s, %s)", [program, target])
    return found


def test_c7_the_platforms_tiers(shop: Shop) -> None:
    """TIER_1 to TIER_4 and the names of metals are the tiers, in any spelling, without a value."""
    names = [
        ("TIER_1", "TIER_BRONZE"),
        ("tier_2", "Tier_Silver"),
        ("TIER_3", "TIER_GOLD"),
        ("TIER_4", " tier_platinum "),
    ]
    for number, pair in enumerate(names, start=1):
        for name in pair:
            row = shop.row("select segment, parameter from passbell.parse_target(%s)", [name])
            assert (row["segment"], row["parameter"]) == ("TIER", str(number))
    assert refusal(shop, "select passbell.parse_target(%s)", ["TIER_2:3"]) == "PB400"
    for unknown in ("TIER_5", "TIER_", "TIER_0", "ALL_ACTIVES"):
        assert refusal(shop, "select passbell.parse_target(%s)", [unknown]) == "PB400"


@pytest.mark.parametrize(
    ("protocol", "name", "ours"),
    [
        ("COUPON", "ALL_ACTIVE", "UNREDEEMED"),
        ("COUPON", "expiring_soon", "EXPIRING"),
        ("EVENT_TICKET", "ALL_TICKETED", "ALL"),
    ],
)
def test_c7_names_of_one_kind_of_program(shop: Shop, protocol: str, name: str, ours: str) -> None:
    """A name such as ALL_TICKETED counts what ours counts for its kind of program, and is refused for others."""
    home = shop.program(protocol=protocol)
    for _ in range(2):
        shop.member(home, protocol=protocol)
    assert counted(shop, home, name) == counted(shop, home, ours)
    assert refusal(shop, "select push_send(%s, 'Hello', %s)", [home, name]) == ""
    for other in {"MEMBERSHIP", "COUPON", "EVENT_TICKET"} - {protocol}:
        program = shop.program(protocol=other)
        shop.member(program, protocol=other)
        for statement in (
            "select push_send(%s, 'Hello', %s)",
            "select push_preview(%s, %s)",
            "select passbell.sample_messages(%s, 'Hello', %s)",
            "select passbell.draft_list_campaign(%s, 'Hello', %s)",
        ):
            assert refusal(shop, statement, [program, f"ALL & {name}"]) == "PB400"
        assert orders(shop, program) == 0
        campaign = shop.campaign(program, target_query=name)
        while shop.claim(50) is not None:
            pass
        assert shop.status(campaign) == "FAILED"


def test_c7_a_segment_of_ones_own_keeps_its_name(shop: Shop) -> None:
    """A row TIER_GOLD of the owner's in segments wins over the platform's name."""
    shop.conn.execute(
        "insert into passbell.segments (name, predicate, parameter_kind) values ('TIER_GOLD', 'false', 'none')"
    )
    try:
        assert shop.value("select predicate from passbell.parse_target('TIER_GOLD')") == "false"
    finally:
        shop.conn.execute("delete from passbell.segments where name = 'TIER_GOLD'")


def test_c7_a_balance_of_at_least(shop: Shop) -> None:
    """POINTS:500 counts who has exactly 500; WHALE:500 does not."""
    program = shop.program()
    for points in (499, 500, 501):
        shop.member(program, points=points)
    assert (counted(shop, program, "POINTS:500"), counted(shop, program, "WHALE:500")) == (2, 1)
    assert refusal(shop, "select passbell.parse_target(%s)", ["POINTS"]) == "PB400"
