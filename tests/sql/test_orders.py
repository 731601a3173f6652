"""What people may write into push_campaigns, and what becomes of a broken order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.shop import utc

if TYPE_CHECKING:
    from support.shop import MakeShop, Shop

LEGAL = {
    ("DRAFT", "PENDING"),
    ("DRAFT", "CANCELLED"),
    ("PENDING", "PAUSED"),
    ("PENDING", "CANCELLED"),
    ("PROCESSING", "PAUSED"),
    ("PROCESSING", "CANCELLED"),
    ("PAUSED", "PENDING"),
    ("PAUSED", "PROCESSING"),
    ("PAUSED", "CANCELLED"),
}
STATUSES = ("DRAFT", "PENDING", "PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")
COUNTERS = ("sent_count", "failed_count", "skipped_count", "recipient_count")


def campaign_in(shop: Shop, status: str) -> Any:
    """A campaign that came to a status the way it would in life."""
    program = shop.program()
    shop.member(program)
    if status == "DRAFT":
        return shop.campaign(program, status="DRAFT")
    if status == "FAILED":
        campaign = shop.campaign(program, target_query="NOBODY KNOWS")
        shop.start(campaign)
        return campaign
    campaign = shop.campaign(program)
    if status in {"PROCESSING", "PAUSED", "COMPLETED"}:
        shop.start(campaign)
    if status == "PAUSED":
        shop.verb("pause", campaign)
    if status == "CANCELLED":
        shop.verb("cancel", campaign)
    if status == "COMPLETED":
        shop.send_chunks()
    assert shop.status(campaign) == status
    return campaign


def test_program_name_and_text_are_a_complete_order(make_shop: MakeShop, generation: Any) -> None:
    """A row with program_id, name and message_text is an order to all members."""
    shop = make_shop(generation)
    program = shop.program()
    reached = shop.member(program)
    campaign = shop.value(
        "insert into push_campaigns (program_id, name, message_text) values (%s, 'A', 'Hello') returning id",
        [program],
    )
    order = shop.order(campaign)
    assert (order["status"], order["kind"], order["target_query"], order["status_detail"]) == (
        "PENDING",
        "BROADCAST",
        None,
        None,
    )
    assert [order[name] for name in COUNTERS] == [0, 0, 0, 0]
    order = shop.send(campaign)
    assert (order["status"], order["sent_count"], order["recipient_count"]) == ("COMPLETED", 1, 1)
    assert shop.ledger(campaign) == {reached: "sent"}
    assert len(shop.logs(campaign)) == 1


@pytest.mark.parametrize("before", STATUSES)
def test_people_move_a_campaign_along_the_legal_edges_only(make_shop: MakeShop, before: str) -> None:
    """Every edge of a campaign's life that people may take, and none of the others."""
    shop = make_shop()
    for after in STATUSES:
        if after == before:
            continue
        campaign = campaign_in(shop, before)
        change = "update push_campaigns set status = %s where id = %s"
        if (before, after) in LEGAL:
            shop.conn.execute(change, [after, campaign])
            reached = shop.status(campaign)
            # A resumed campaign goes on where it was, whichever of the two words was typed.
            assert reached == ("PROCESSING" if before == "PAUSED" and after == "PENDING" else after)
        else:
            with pytest.raises(psycopg.Error, match=f"that is {before} cannot become {after}") as refused:
                shop.conn.execute(change, [after, campaign])
            assert refused.value.sqlstate == "PB422"
            assert shop.status(campaign) == before


@pytest.mark.parametrize("status", ["PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"])
def test_a_new_campaign_is_a_draft_or_pending(shop: Shop, status: str) -> None:
    """A campaign cannot be inserted in the middle of its life."""
    with pytest.raises(psycopg.Error, match="A new campaign is DRAFT or PENDING"):
        shop.campaign(shop.program(), status=status)


@pytest.mark.parametrize("status", STATUSES)
def test_the_counters_are_the_engines(shop: Shop, status: str) -> None:
    """A form that writes a whole row back, counters and times included, does no harm."""
    campaign = campaign_in(shop, status)
    before = shop.order(campaign)
    shop.conn.execute(
        "update push_campaigns set sent_count = 77, failed_count = 7, skipped_count = 9,"
        " recipient_count = 99,"
        " started_at = '2020-01-01', completed_at = '2020-01-01', kind = 'TEST', status_detail = 'mine',"
        " id = gen_random_uuid(), created_by = 'somebody else', created_at = '2020-01-01'"
        " where id = %s",
        [campaign],
    )
    after = shop.order(campaign)
    assert {**after, "updated_at": None} == {**before, "updated_at": None}


def test_counters_of_an_insert_are_ignored(shop: Shop) -> None:
    """A copied row starts from zero."""
    program = shop.program()
    campaign = shop.campaign(
        program, sent_count=5, failed_count=5, skipped_count=5, recipient_count=15, completed_at="2020-01-01"
    )
    order = shop.order(campaign)
    assert [order[name] for name in COUNTERS] == [0, 0, 0, 0]
    assert order["completed_at"] is None


@pytest.mark.parametrize("status", [" pending ", "Pending", "PENDING\n", "", "   "])
def test_statuses_are_read_as_people_type_them(shop: Shop, status: str) -> None:
    """Case and spaces do not matter; an empty choice in a form is PENDING."""
    campaign = shop.campaign(shop.program(), status=status)
    assert shop.status(campaign) == "PENDING"
    shop.conn.execute("update push_campaigns set status = ' paused ' where id = %s", [campaign])
    assert shop.status(campaign) == "PAUSED"


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_campaign_without_a_name_is_given_one(shop: Shop, name: str | None) -> None:
    """An order without a name does not fail."""
    campaign = shop.campaign(shop.program(), name=name)
    assert shop.order(campaign)["name"].startswith("Broadcast 20")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "SENDING"),
        ("kind", "SPAM"),
        ("rate_per_second", 0),
        ("rate_per_second", -5),
        ("rate_per_second", "NaN"),
        ("rate_per_second", "infinity"),
    ],
)
def test_impossible_values_are_refused_by_the_table(shop: Shop, column: str, value: Any) -> None:
    """A status, a kind or a rate that cannot be is refused when it is written."""
    with pytest.raises(psycopg.Error) as refused:
        shop.campaign(shop.program(), **{column: value})
    assert refused.value.sqlstate in {"23514", "PB400", "PB422"}


@pytest.mark.parametrize("when", ["infinity", "-infinity", "294276-01-01", "10000-01-01", "4713-01-01 BC"])
def test_a_time_that_no_calendar_shows_is_refused(shop: Shop, when: str) -> None:
    """Neither a schedule nor an age of a campaign may be a time that its readers, the page among them, cannot read."""
    program = shop.program()
    with pytest.raises(psycopg.Error, match="scheduled_at is a time up to the year 9999") as refused:
        shop.campaign(program, scheduled_at=when)
    assert refused.value.sqlstate == "PB400"
    campaign = shop.campaign(program, created_at=when)
    assert shop.value(
        "select extract(year from created_at) between 2020 and 9998 from push_campaigns where id = %s",
        [campaign],
    )
    with pytest.raises(psycopg.Error, match="scheduled_at is a time up to the year 9999"):
        shop.conn.execute("update push_campaigns set scheduled_at = %s where id = %s", [when, campaign])


@pytest.mark.parametrize("column", ["message_text", "target_query", "csv_upload_url", "program_id"])
def test_text_and_audience_are_fixed_once_it_started(shop: Shop, column: str) -> None:
    """What is being sent does not change under way."""
    campaign = campaign_in(shop, "PROCESSING")
    other: Any = shop.program() if column == "program_id" else "something else"
    with pytest.raises(psycopg.Error, match="has started") as refused:
        shop.conn.execute(f"update push_campaigns set {column} = %s where id = %s", [other, campaign])  # noqa: S608
    assert refused.value.sqlstate == "PB422"


def test_an_order_may_be_corrected_before_it_starts(shop: Shop) -> None:
    """A draft is written as often as one likes."""
    program = shop.program()
    member = shop.member(program)
    campaign = shop.campaign(program, "Helo", status="DRAFT", target_query="VIP")
    assert shop.claim() is None
    shop.conn.execute(
        "update push_campaigns set message_text = 'Hello', target_query = 'ALL', status = 'PENDING'"
        " where id = %s",
        [campaign],
    )
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    assert (chunk["pass_ids"], chunk["texts"]) == ([member], ["Hello"])


def test_a_campaign_that_is_being_sent_is_not_deleted(shop: Shop) -> None:
    """Deleting is for what is over; a running campaign must be cancelled first."""
    campaign = campaign_in(shop, "PROCESSING")
    with pytest.raises(psycopg.Error, match="cancel it before deleting"):
        shop.conn.execute("delete from push_campaigns where id = %s", [campaign])


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELLED", "FAILED", "DRAFT"])
def test_deleting_a_campaign_leaves_nothing_behind(shop: Shop, status: str) -> None:
    """A deleted campaign takes its queue and its ledger along, not its audit row."""
    campaign = campaign_in(shop, status)
    shop.conn.execute("delete from push_campaigns where id = %s", [campaign])
    for table in ("chunks", "deliveries", "list_entries", "list_loads"):
        assert shop.value(f"select count(*) from passbell.{table} where campaign_id = %s", [campaign]) == 0  # noqa: S608
    assert len(shop.logs(campaign)) == (1 if status == "COMPLETED" else 0)


# ── broken orders ──────────────────────────────


BROKEN: tuple[tuple[dict[str, Any], list[str]], ...] = (
    ({"target_query": "EVERYONE"}, ["Unknown audience", "EVERYONE", "ALL", "VIP", "SLUMBER", "LOCAL", "IDS"]),
    ({"target_query": "VIP & NOPE:3"}, ["Unknown audience", "NOPE"]),
    ({"target_query": "WHAEL:3"}, ['Unknown audience "WHAEL:3". Did you mean WHALE? Known: ALL']),
    ({"target_query": "slumbr"}, ["Did you mean SLUMBER?"]),
    ({"target_query": "VIP:x"}, ["VIP", "number", "x"]),
    ({"target_query": "VIP:-5"}, ["VIP", "number"]),
    ({"target_query": "VIP:1e3"}, ["VIP", "number"]),
    ({"target_query": "SLUMBER:soon"}, ["SLUMBER", "days"]),
    ({"target_query": "SLUMBER:999999999"}, ["SLUMBER", "days"]),
    ({"target_query": "LOCAL:"}, ["LOCAL", "entry"]),
    ({"target_query": "LOCAL"}, ["LOCAL", "needs a value"]),
    ({"target_query": "LOCAL: , ,"}, ["LOCAL", "entry"]),
    ({"target_query": "TIER"}, ["TIER", "needs a value"]),
    ({"target_query": "TIER:5"}, ["TIER", "1 to 4"]),
    ({"target_query": "TIER:0"}, ["TIER", "1 to 4"]),
    ({"target_query": "IDS:"}, ["IDS", "entry"]),
    ({"target_query": "IDS:nobody,none"}, ["Nobody on the list", "not found"]),
    ({"target_query": "ALL:5"}, ["ALL", "takes no value"]),
    ({"target_query": "&"}, ["Unknown audience"]),
    ({"target_query": "VIP &"}, ["Unknown audience"]),
    ({"target_query": "CSV"}, ["csv_upload_url", "empty"]),
    ({"message": ""}, ["message is empty"]),
    ({"message": "  \n\t "}, ["message is empty"]),
    ({"message": "\u00a0\u200b \u2060\ufeff"}, ["message is empty"]),
    ({"message": "\u2800\u3164\u180e"}, ["message is empty"]),
    ({"message": None}, ["message is empty"]),
    ({"message": "Hi {name}"}, ["Unknown placeholder {name}", "{first_name}"]),
    ({"message": "Hi {first_name"}, ['lone "{"']),
    ({"message": "Hi first_name}"}, ['lone "}"']),
    ({"message": "Hi {}"}, ["Unknown placeholder {}"]),
    ({"message": "Hi {{first_name}"}, ['lone "}"']),
    ({"message": "x" * 1001}, ["1001", "1,000"]),
)


def test_a_broken_order_fails_and_says_why(shop: Shop) -> None:
    """Nothing is sent for an order that cannot be understood; its detail says how to mend it."""
    program = shop.program()
    shop.member(program)
    for columns, words in BROKEN:
        rest = dict(columns)
        campaign = shop.campaign(program, rest.pop("message", "Hello"), **rest)
        assert shop.start(campaign)["action"] == "failed", columns
        order = shop.order(campaign)
        assert order["status"] == "FAILED"
        assert all(word in order["status_detail"] for word in words), order["status_detail"]
        assert order["completed_at"] is not None
        assert (shop.chunk(), shop.ledger(campaign), shop.logs(campaign)) == (None, {}, [])


def test_an_unknown_program_fails(shop: Shop) -> None:
    """A program that is not there, or that was forgotten in the form, fails the order."""
    for program in (None, shop.worker):
        campaign = shop.campaign(program)
        shop.start(campaign)
        assert "There is no program" in shop.order(campaign)["status_detail"]
        assert shop.status(campaign) == "FAILED"


@pytest.mark.parametrize("generation", ["2", "3"])
def test_a_suspended_program_fails(make_shop: MakeShop, generation: Any) -> None:
    """The platform's kill switch holds for pushes."""
    shop = make_shop(generation)
    program = shop.program("Closed", is_suspended=True)
    shop.member(program)
    campaign = shop.campaign(program)
    shop.start(campaign)
    assert shop.status(campaign) == "FAILED"
    assert '"Closed" is suspended' in shop.order(campaign)["status_detail"]


def test_a_program_suspended_under_way_sends_nothing_more(shop: Shop) -> None:
    """If a program is suspended, its campaign stops at once; when it is lifted, the rest is sent."""
    program = shop.program()
    shop.members(program, 4)
    campaign = shop.campaign(program)
    shop.start(campaign, size=2)
    first = shop.chunk()
    assert first is not None
    shop.finish(first)
    shop.conn.execute("update programs set is_suspended = true")
    assert shop.chunk() is None
    shop.conn.execute("select passbell.explain_waiting('test')")
    assert "suspended" in shop.order(campaign)["status_detail"]
    shop.conn.execute("update programs set is_suspended = false")
    shop.send_chunks()
    assert shop.order(campaign)["sent_count"] == 4


@pytest.mark.parametrize("passkit_program_id", [None, "", "  "])
def test_a_program_that_is_not_provisioned_fails(make_shop: MakeShop, passkit_program_id: str | None) -> None:
    """A program without a PassKit id cannot send."""
    shop = make_shop("3")
    campaign = shop.campaign(shop.program(passkit_program_id=passkit_program_id))
    shop.start(campaign)
    assert shop.status(campaign) == "FAILED"
    assert "not provisioned" in shop.order(campaign)["status_detail"]


def test_a_broken_segment_of_ones_own_fails_only_its_campaign(shop: Shop) -> None:
    """A segment whose SQL does not work fails the order that names it; the next order goes out."""
    program = shop.program()
    shop.member(program)
    shop.conn.execute(
        "insert into passbell.segments (name, predicate)"
        " values ('BROKEN', 'no_such_column > 5'), ('CRASH', '1/0 = 1')"
    )
    broken = [shop.campaign(program, f"Hello {name}", target_query=name) for name in ("BROKEN", "CRASH")]
    good = shop.campaign(program)
    while shop.claim() is not None:
        pass
    for campaign in broken:
        assert shop.status(campaign) == "FAILED"
        assert "could not be evaluated" in shop.order(campaign)["status_detail"]
    assert shop.status(good) == "PROCESSING"


def test_nobody_to_reach_is_not_an_error(shop: Shop) -> None:
    """A campaign to an empty audience completes with zero, and is logged."""
    program = shop.program()
    shop.member(program, status="UNINSTALLED")
    campaign = shop.campaign(program)
    shop.start(campaign)
    order = shop.order(campaign)
    assert (order["status"], order["recipient_count"], order["status_detail"]) == (
        "COMPLETED",
        0,
        "Nobody to buzz.",
    )
    assert len(shop.logs(campaign)) == 1


# ── held for a person ──────────────────────────────


def test_a_schedule_of_yesterday_is_held(shop: Shop) -> None:
    """A campaign that should have gone out more than a day ago asks a person first; resuming sends it."""
    program = shop.program()
    shop.member(program)
    stale = shop.campaign(program, "Old", scheduled_at=shop.value("select now() - interval '25 hours'"))
    late = shop.campaign(program, "Late", scheduled_at=shop.value("select now() - interval '23 hours'"))
    assert shop.start(stale)["action"] == "held"
    assert shop.status(stale) == "PAUSED"
    assert "more than 24 hours ago" in shop.order(stale)["status_detail"]
    assert shop.start(late)["action"] == "expanded"
    shop.verb("resume", stale)
    assert shop.start(stale)["action"] == "expanded"


def test_a_schedule_waits_for_its_time(shop: Shop) -> None:
    """A scheduled campaign goes out at its time, not before, and says so meanwhile."""
    program = shop.program(timezone="America/New_York")
    shop.member(program)
    shop.clock("2026-07-01 12:00+00")
    campaign = shop.campaign(program, scheduled_at="2026-07-01 13:30+00")
    assert shop.claim() is None
    shop.conn.execute("select passbell.explain_waiting('test')")
    assert shop.order(campaign)["status_detail"] == "Scheduled for 2026-07-01 09:30 America/New_York."
    shop.clock("2026-07-01 13:30+00")
    assert shop.start(campaign)["action"] == "expanded"
    assert shop.order(campaign)["status_detail"] is None


def test_a_double_submit_is_held(shop: Shop) -> None:
    """If the same order comes twice within a minute, the second one is paused until a person decides."""
    program, other = shop.program(), shop.program("Other")
    shop.member(program)
    shop.member(other)
    same = [
        shop.campaign(program, "Hello", target_query="all"),
        shop.campaign(program, " Hello ", target_query=None),
        shop.campaign(program, "Hello", target_query=" ALL "),
    ]
    different = [
        shop.campaign(program, "Hello!", target_query="ALL"),
        shop.campaign(program, "Hello", target_query="VIP"),
        shop.campaign(other, "Hello", target_query="ALL"),
    ]
    while shop.claim() is not None:
        pass
    assert [shop.status(one) for one in same] == ["PROCESSING", "PAUSED", "PAUSED"]
    assert all("was submitted" in shop.order(one)["status_detail"] for one in same[1:])
    assert {shop.status(one) for one in different} <= {"PROCESSING", "COMPLETED"}
    shop.verb("resume", same[1])
    shop.start(same[1])
    assert shop.status(same[1]) == "PROCESSING"


def test_the_same_order_a_minute_later_is_a_new_one(shop: Shop) -> None:
    """The same order more than a minute later is sent."""
    program = shop.program()
    shop.member(program)
    shop.clock("2026-07-01 12:00+00")
    first = shop.campaign(program, created_at=utc("2026-07-01 12:00"))
    second = shop.campaign(program, created_at=utc("2026-07-01 12:01:01"))
    while shop.claim() is not None:
        pass
    assert (shop.status(first), shop.status(second)) == ("PROCESSING", "PROCESSING")


def test_a_double_submit_of_a_cancelled_order_is_not_held(shop: Shop) -> None:
    """A person who mistyped only the hour cancels and orders again at once: that is no double submit."""
    program = shop.program()
    shop.member(program)
    first = shop.campaign(program)
    shop.verb("cancel", first)
    second = shop.campaign(program)
    assert shop.start(second)["action"] == "expanded"


def test_a_cancelled_campaign_is_deleted_only_when_its_last_calls_have_ended(shop: Shop) -> None:
    """A worker that still holds a part of it reports first; deleting in between would be a deadlock."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    shop.start(campaign)
    held = shop.chunk()
    assert held is not None
    shop.verb("cancel", campaign)
    with pytest.raises(psycopg.Error, match="still ending"):
        shop.conn.execute("delete from push_campaigns where id = %s", [campaign])
    shop.finish(held)
    shop.conn.execute("delete from push_campaigns where id = %s", [campaign])
