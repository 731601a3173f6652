"""Chunks and their leases, fairness, quiet hours, the daily cap, one buzz per text."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from support.shop import Chunk, Shop

DAY = "2026-07-01"


def claimed(shop: Shop, **options: Any) -> Chunk:
    """A chunk; there must be one."""
    chunk = shop.chunk(**options)
    assert chunk is not None
    return chunk


# ── leases ──────────────────────────────────────────────────────


def test_a_dead_workers_chunk_is_taken_over_when_the_lease_ends(shop: Shop) -> None:
    """Not before, with identical texts, and what the dead one reports afterwards changes nothing."""
    program = shop.program()
    shop.member(program, user={"first_name": "Ada"}, points=7)
    shop.clock(f"{DAY} 12:00+00")
    campaign = shop.campaign(program, "Hi {first_name}, {points} points")
    shop.start(campaign)
    first = claimed(shop, lease=60)
    shop.conn.execute("update users set first_name = 'Eve'")
    shop.conn.execute("update passes_master set points_balance = 8")
    shop.clock(f"{DAY} 12:00:59+00")
    assert shop.chunk(worker=uuid4()) is None
    shop.clock(f"{DAY} 12:01:00+00")
    second = claimed(shop, worker=uuid4())
    assert second["claim_token"] != first["claim_token"]
    assert second["texts"] == first["texts"] == ["Hi Ada, 7 points"]
    with pytest.raises(psycopg.Error, match="lease") as lost:
        shop.finish(first)
    assert lost.value.sqlstate == "PB412"
    assert shop.ledger(campaign) == {}
    shop.finish(second)
    with pytest.raises(psycopg.Error, match="lease"):
        shop.finish(second)
    assert shop.order(campaign)["sent_count"] == 1


def test_what_a_vanished_machine_held_comes_first(shop: Shop) -> None:
    """Its lease has run out: not after the hours of everything that was ready before."""
    program = shop.program()
    shop.members(program, 6)
    vanished, neighbour = uuid4(), uuid4()
    for worker in (vanished, neighbour):
        shop.conn.execute(
            "select passbell.register_worker(%s, 'host', 1, 'process', '1', '', 50, 3)", [worker]
        )
    shop.clock(f"{DAY} 12:00+00")
    shop.start(shop.campaign(program), size=2)
    first = claimed(shop, worker=vanished, lease=60)
    shop.clock(f"{DAY} 12:00:59+00")
    shop.conn.execute("select passbell.heartbeat(%s, 'nothing')", [neighbour])
    assert claimed(shop, worker=neighbour, lease=600)["chunk_no"] == first["chunk_no"] + 1
    shop.clock(f"{DAY} 12:01:01+00")
    shop.conn.execute("select passbell.heartbeat(%s, 'nothing')", [neighbour])
    assert claimed(shop, worker=neighbour)["chunk_no"] == first["chunk_no"]


def test_what_a_dead_worker_held_is_never_worded_anew(shop: Shop) -> None:
    """After a kill in the middle of a chunk its texts stay, also if the next worker hands it back untouched."""
    program = shop.program()
    shop.member(program, points=7)
    shop.clock(f"{DAY} 12:00+00")
    campaign = shop.campaign(program, "{points} points")
    shop.start(campaign)
    first = claimed(shop, lease=60)  # who may have sent it, and is never heard of again
    for minute in (1, 2, 3):
        shop.conn.execute("update passes_master set points_balance = points_balance + 1")
        shop.clock(f"{DAY} 12:0{minute}:00+00")
        successor = claimed(shop, worker=uuid4(), lease=60)
        assert successor["texts"] == first["texts"] == ["7 points"]
        shop.finish(successor, "back")
    shop.finish(claimed(shop))
    assert not shop.violations()


def test_what_was_certainly_never_sent_is_worded_by_the_member_of_today(shop: Shop) -> None:
    """Handed back untouched by the only one who ever held it: the balance of the new day goes out."""
    program = shop.program()
    shop.member(program, points=7)
    campaign = shop.campaign(program, "{points} points")
    shop.start(campaign)
    shop.finish(claimed(shop), "back")
    shop.conn.execute("update passes_master set points_balance = 8")
    assert claimed(shop)["texts"] == ["8 points"]


def test_a_renewed_lease_holds(shop: Shop) -> None:
    """A worker that says it is there keeps its chunk; one that was robbed learns it."""
    program = shop.program()
    shop.member(program)
    shop.clock(f"{DAY} 12:00+00")
    shop.start(shop.campaign(program))
    chunk = claimed(shop, lease=60)
    renew = "select * from passbell.renew_leases(%s, array[%s]::uuid[], 60)"
    shop.clock(f"{DAY} 12:00:50+00")
    assert shop.rows(renew, [shop.worker, chunk["claim_token"]]) == [
        {"claim_token": chunk["claim_token"], "go_on": True}
    ]
    shop.clock(f"{DAY} 12:01:40+00")
    assert shop.chunk(worker=uuid4()) is None
    shop.clock(f"{DAY} 12:01:51+00")
    other = claimed(shop, worker=uuid4())
    assert shop.rows(renew, [shop.worker, chunk["claim_token"]]) == []
    shop.finish(other)


def test_members_are_looked_at_again_when_their_chunk_is_claimed(shop: Shop) -> None:
    """A member who left between the start and the claim is skipped with the reason."""
    program = shop.program()
    stays, gone, silent, deleted, inactive = (
        shop.member(program, user={"marketing_opt_in": True}) for _ in range(5)
    )
    campaign = shop.campaign(program)
    shop.start(campaign)
    shop.conn.execute("update passes_master set status = 'UNINSTALLED' where id = %s", [gone])
    shop.conn.execute("update passes_master set is_active = false where id = %s", [inactive])
    shop.conn.execute(
        "update users set marketing_opt_in = false where id = (select user_id from passes_master where id = %s)",
        [silent],
    )
    shop.conn.execute("delete from passes_master where id = %s", [deleted])
    chunk = claimed(shop)
    assert chunk["pass_ids"] == [stays]
    assert not shop.violations()
    shop.finish(chunk)
    assert shop.ledger(campaign) == {
        stays: "sent",
        gone: "not_installed",
        inactive: "not_installed",
        silent: "opted_out",
        deleted: "unknown_member",
    }
    order = shop.order(campaign)
    assert (order["status"], order["sent_count"], order["skipped_count"]) == ("COMPLETED", 1, 4)


def test_a_chunk_of_whom_nobody_is_left_completes_the_campaign(shop: Shop) -> None:
    """If everybody has left meanwhile, the campaign ends by itself."""
    program = shop.program()
    shop.members(program, 7)
    campaign = shop.campaign(program)
    shop.start(campaign, size=3)
    shop.conn.execute("update passes_master set status = 'UNINSTALLED'")
    assert shop.chunk() is None
    order = shop.order(campaign)
    assert (order["status"], order["skipped_count"], len(shop.logs(campaign))) == ("COMPLETED", 7, 1)


def test_each_outcome_does_what_it_says(shop: Shop) -> None:
    """A pass fails for good, is tried again or goes back without an attempt; the law holds at each step."""
    program = shop.program()
    everybody = shop.members(program, 7)
    shop.clock(f"{DAY} 12:00+00")
    campaign = shop.campaign(program)
    shop.start(campaign)
    chunk = claimed(shop)
    outcomes = ["sent", "not_found", "rejected", "server_error", "retry", "back"]  # and one not named
    assert shop.finish(chunk, outcomes, passes=chunk["pass_ids"][:6]) == (4, "PROCESSING")
    assert not shop.violations()
    names = dict(zip(everybody, [*outcomes, "unnamed"], strict=True))
    back = claimed(shop)
    assert {names[one] for one in back["pass_ids"]} == {"back", "unnamed"}
    assert back["attempt"] == 0
    assert shop.chunk() is None  # the two that were tried wait a second or so
    shop.finish(back)
    shop.clock(f"{DAY} 12:00:02+00")
    again = claimed(shop)
    assert {names[one] for one in again["pass_ids"]} == {"server_error", "retry"}
    assert again["attempt"] == 1
    shop.finish(again)
    assert {names[one]: what for one, what in shop.ledger(campaign).items()} == {
        **dict.fromkeys(("sent", "server_error", "retry", "back", "unnamed"), "sent"),
        "not_found": "not_found",
        "rejected": "rejected",
    }


def test_attempts_run_out_one_by_one_and_never_by_stops(shop: Shop) -> None:
    """Five failures of the network, three of the server; a hundred interruptions count for nothing."""
    program = shop.program()
    network, server = shop.members(program, 2)
    shop.clock(f"{DAY} 00:00+00")
    campaign = shop.campaign(program)
    shop.start(campaign)
    tries = {network: 0, server: 0}
    for hour in range(1, 24):
        if shop.status(campaign) == "COMPLETED":
            break
        shop.clock(f"{DAY} {hour:02d}:00+00")
        while (chunk := shop.chunk()) is not None:
            if chunk["attempt"] < 3 and hour % 2:
                shop.finish(chunk, "back")
                break
            for one in chunk["pass_ids"]:
                tries[one] += 1
            shop.finish(chunk, ["retry" if one == network else "server_error" for one in chunk["pass_ids"]])
            assert not shop.violations()
    assert tries == {network: 5, server: 3}
    assert set(shop.ledger(campaign).values()) == {"attempts_exhausted"}
    assert shop.order(campaign)["failed_count"] == 2


def test_a_partial_report_keeps_the_rest_in_hand(shop: Shop) -> None:
    """After a report of a part, the rest of the chunk stays with the worker."""
    program = shop.program()
    shop.members(program, 5)
    campaign = shop.campaign(program)
    shop.start(campaign)
    chunk = claimed(shop)
    assert shop.finish(chunk, "sent", passes=chunk["pass_ids"][:2], release=False) == (3, "PROCESSING")
    assert shop.chunk(worker=uuid4()) is None
    assert not shop.violations()
    # Repeating a report whose answer was lost counts no pass twice.
    shop.finish(chunk, "sent", passes=chunk["pass_ids"][:3], release=False)
    assert shop.order(campaign)["sent_count"] == 3
    shop.finish(chunk, "sent")
    assert shop.order(campaign)["sent_count"] == 5


def test_outcomes_for_somebody_elses_passes_are_ignored(shop: Shop) -> None:
    """A report names only passes of its chunk; others cannot get into the ledger through it."""
    program = shop.program()
    shop.members(program, 4)
    campaign = shop.campaign(program)
    shop.start(campaign, size=2)
    one, two = claimed(shop), claimed(shop)
    shop.finish(one, "sent", passes=[*two["pass_ids"], uuid4()])
    assert shop.ledger(campaign) == {}
    assert len(shop.waiting(campaign)) == 4


def test_nearly_all_404_pauses_instead_of_failing(shop: Shop) -> None:
    """In a wrong region no record exists: the campaign holds, no pass is failed, a resume insists."""
    program = shop.program()
    shop.members(program, 40)
    campaign = shop.campaign(program)
    shop.start(campaign, size=40)
    chunk = claimed(shop)
    shop.finish(chunk, ["not_found"] * 38 + ["sent"] * 2)
    order = shop.order(campaign)
    assert (order["status"], order["failed_count"], order["sent_count"]) == ("PAUSED", 0, 2)
    assert "region" in order["status_detail"]
    shop.verb("resume", campaign)
    shop.finish(claimed(shop), "not_found")
    assert shop.order(campaign)["failed_count"] == 38


def test_a_few_404_among_many_are_only_those_passes(shop: Shop) -> None:
    """Some passes that PassKit does not know are failed, and the campaign goes on."""
    program = shop.program()
    shop.members(program, 40)
    campaign = shop.campaign(program)
    shop.start(campaign, size=40)
    shop.finish(claimed(shop), ["not_found"] * 12 + ["sent"] * 28)
    order = shop.order(campaign)
    assert (order["status"], order["failed_count"]) == ("COMPLETED", 12)


def test_the_dead_are_freed(shop: Shop) -> None:
    """The chunks of a process that is gone are free at once."""
    program = shop.program()
    shop.members(program, 4)
    shop.start(shop.campaign(program), size=2)
    held = [claimed(shop)["pass_ids"], claimed(shop)["pass_ids"]]
    assert shop.value("select passbell.bury_workers(%s::uuid[])", [[shop.worker]]) == 2
    heir = uuid4()
    assert [claimed(shop, worker=heir)["pass_ids"], claimed(shop, worker=heir)["pass_ids"]] == held


# ── fairness ────────────────────────────────────────────────────


def test_a_small_campaign_starts_beside_a_huge_one(shop: Shop) -> None:
    """Programs take turns, however long the queue of one of them is."""
    big, small = shop.program("Big"), shop.program("Small")
    shop.members(big, 60)
    shop.members(small, 4)
    shop.start(shop.campaign(big), size=2)
    claimed(shop)
    shop.start(shop.campaign(small), size=2)
    turns = [claimed(shop)["program_id"] for _ in range(4)]
    assert turns.count(small) == 2
    assert claimed(shop, busy=[])["program_id"] == big
    assert shop.chunk(busy=[big]) is None


def test_a_test_send_is_handed_out_although_its_program_is_busy(shop: Shop) -> None:
    """Fairness, a test send of the same program: it waited until a second's work of the huge campaign was gone."""
    program = shop.program()
    *_, last = shop.members(program, 60)
    shop.start(shop.campaign(program), size=2)
    claimed(shop)
    assert shop.chunk(busy=[program]) is None
    external = shop.value("select external_id from passes_master where id = %s", [last])
    test = shop.value("select push_test(%s, %s, 'Try')", [program, external])
    shop.start(test)
    late = shop.waiting(test)
    chunk = claimed(shop, busy=[program])
    assert (chunk["campaign_id"], set(chunk["pass_ids"])) == (test, late)
    assert shop.chunk(busy=[program]) is None


def test_three_programs_share_evenly(shop: Shop) -> None:
    """In any stretch of turns each of three waiting programs gets a third."""
    programs = [shop.program(f"P{n}") for n in range(3)]
    for program in programs:
        shop.members(program, 20)
        shop.start(shop.campaign(program), size=2)
    turns = [claimed(shop)["program_id"] for _ in range(30)]
    for at in range(0, 30, 3):
        assert set(turns[at : at + 3]) == set(programs)


def test_in_one_program_the_older_campaign_goes_first(shop: Shop) -> None:
    """Within a program campaigns are sent in their order, test pushes before all."""
    program = shop.program()
    shop.members(program, 4)
    first, second = shop.campaign(program, "One"), shop.campaign(program, "Two")
    shop.start(first, size=2)
    shop.start(second, size=2)
    order = [chunk["campaign_id"] for chunk in shop.send_chunks()]
    assert order == [first, first, second, second]


# ── quiet hours ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "start", "end", "open_at", "closed_at"),
    [
        ("America/New_York", "09:00", "20:00", ["13:00", "23:59"], ["12:59", "00:00", "03:00"]),
        ("America/New_York", "20:00", "02:00", ["00:00", "05:59"], ["06:00", "12:00", "23:59"]),
        ("Pacific/Auckland", "09:00", "21:00", ["21:00", "08:59"], ["20:59", "09:00"]),
        ("UTC", "22:00", "00:00", ["22:00", "23:59"], ["00:00", "21:59"]),
        ("UTC", "08:00", "08:00", ["00:00", "08:00", "12:00"], []),
        ("UTC", None, "08:00", ["00:00", "08:00", "12:00"], []),
        ("Mars/Olympus", "09:00", "20:00", ["13:00"], ["12:59"]),
        (None, "09:00", "20:00", ["13:00"], ["12:59"]),
    ],
)
def test_quiet_hours_are_kept_in_the_programs_zone(  # noqa: PLR0917 - a table of cases
    shop: Shop, zone: Any, start: Any, end: Any, open_at: list[str], closed_at: list[str]
) -> None:
    """Outside the program's hours nothing starts or goes on; hours may span midnight."""
    program = shop.program(timezone=zone, push_window_start=start, push_window_end=end)
    shop.members(program, 60)
    running = shop.campaign(program, created_at=f"{DAY} 00:00+00")
    shop.clock(f"{DAY} {open_at[0]}+00")
    shop.start(running, size=1)
    for hour in closed_at:
        shop.clock(f"{DAY} {hour}+00")
        waiting = shop.campaign(program, f"At {hour}", created_at=f"{DAY} 00:00+00")
        assert shop.claim() is None, hour
        assert shop.chunk() is None, hour
        shop.conn.execute("select passbell.explain_waiting('test')")
        for campaign in (waiting, running):
            assert "Quiet hours: holding until " + start in shop.order(campaign)["status_detail"]
        shop.verb("cancel", waiting)
    for hour in open_at:
        shop.clock(f"{DAY} {hour}+00")
        assert shop.start(shop.campaign(program, f"At {hour}"), size=60)["action"] == "expanded", hour
        shop.finish(claimed(shop))
    shop.conn.execute("select passbell.explain_waiting('test')")
    assert shop.order(running)["status_detail"] is None


# ── the daily cap ───────────────────────────────────────────────


def send_text(shop: Shop, program: UUID, text: str, **options: Any) -> dict[UUID, str]:
    """A campaign sent to the end; its ledger."""
    campaign = shop.campaign(program, text)
    shop.send(campaign, **options)
    assert shop.status(campaign) == "COMPLETED"
    return shop.ledger(campaign)


def test_a_pass_gets_three_pushes_in_a_day_however_many_are_ordered(shop: Shop) -> None:
    """Of twenty campaigns in a day a pass gets three; on the next day it gets one again."""
    program = shop.program()
    member = shop.member(program)
    for number in range(20):
        shop.clock(f"{DAY} 12:{number:02d}+00")
        what = "sent" if number < 3 else "capped"
        assert send_text(shop, program, f"Message {number}") == {member: what}, number
    shop.clock("2026-07-02 12:00:30+00")
    assert send_text(shop, program, "Next day") == {member: "sent"}
    assert send_text(shop, program, "Next day, again") == {member: "capped"}


def test_failed_pushes_do_not_use_up_the_cap_nor_hide_it(shop: Shop) -> None:
    """Only pushes that PassKit took count for the daily cap, whatever failed in between."""
    program = shop.program()
    member = shop.member(program)
    for number in range(3):
        assert send_text(shop, program, f"Sent {number}") == {member: "sent"}
    for number in range(12):
        campaign = shop.campaign(program, f"Failed {number}")
        shop.start(campaign)
        shop.finish(claimed(shop, cap=0), "rejected")
    assert send_text(shop, program, "One more") == {member: "capped"}


def test_zero_means_no_cap(shop: Shop) -> None:
    """A cap of zero lets every campaign through."""
    program = shop.program()
    member = shop.member(program)
    for number in range(6):
        assert send_text(shop, program, f"Message {number}", cap=0) == {member: "sent"}


def test_a_pass_has_one_message_under_way_at_a_time(shop: Shop) -> None:
    """Four campaigns at the same moment: each waits for the one before, three go out, the fourth is skipped."""
    program = shop.program()
    member = shop.member(program)
    shop.clock(f"{DAY} 12:00:00+00")
    campaigns = [shop.campaign(program, f"Message {number}") for number in range(4)]
    while shop.claim() is not None:
        pass
    for second in (0, 2, 4):
        shop.clock(f"{DAY} 12:00:0{second}+00")
        chunk = claimed(shop)
        assert shop.chunk(worker=uuid4()) is None
        assert not shop.violations()
        shop.finish(chunk)
    shop.clock(f"{DAY} 12:00:06+00")
    assert shop.chunk() is None
    what = [shop.ledger(campaign)[member] for campaign in campaigns]
    assert sorted(what) == ["capped", "sent", "sent", "sent"]


def test_a_later_campaign_does_not_overtake_a_push_whose_outcome_is_unknown(shop: Shop) -> None:
    """A daemon dies in the middle: the next campaign waits until the repeat is done, or the phone would buzz twice."""
    program = shop.program()
    shop.member(program)
    shop.clock(f"{DAY} 12:00:00+00")
    first = shop.campaign(program, "First")
    shop.start(first)
    died = claimed(shop, lease=30)
    shop.clock(f"{DAY} 12:00:10+00")
    second = shop.campaign(program, "Second")
    shop.start(second)
    assert died["campaign_id"] == first
    shop.clock(f"{DAY} 12:00:20+00")
    assert shop.chunk() is None
    shop.clock(f"{DAY} 12:00:31+00")
    again = claimed(shop)
    assert (again["campaign_id"], again["texts"]) == (first, died["texts"])
    shop.finish(again)
    shop.clock(f"{DAY} 12:00:33+00")
    assert claimed(shop)["campaign_id"] == second


def test_a_paused_campaign_does_not_hold_up_the_next_one(shop: Shop) -> None:
    """What a stopped daemon certainly did not send is free; what it may have sent is not repeated over newer words."""
    program = shop.program()
    clean, unsure = shop.members(program, 2)
    shop.clock(f"{DAY} 12:00:00+00")
    first = shop.campaign(program, "First")
    shop.start(first, size=1)
    one, two = claimed(shop), claimed(shop)
    by_pass = {chunk["pass_ids"][0]: chunk for chunk in (one, two)}
    shop.verb("pause", first)
    shop.finish(by_pass[clean], "back")
    shop.finish(by_pass[unsure], "maybe")
    shop.clock(f"{DAY} 12:00:02+00")
    second = shop.campaign(program, "Second")
    shop.start(second)
    shop.finish(claimed(shop))
    assert shop.ledger(second) == {clean: "sent", unsure: "sent"}
    shop.verb("resume", first)
    shop.clock(f"{DAY} 12:00:04+00")
    chunk = claimed(shop)
    assert chunk["pass_ids"] == [clean]
    shop.finish(chunk)
    assert shop.chunk() is None
    assert shop.ledger(first) == {clean: "sent", unsure: "attempts_exhausted"}
    assert not shop.violations()


def test_a_retried_pass_is_not_capped_by_itself(shop: Shop) -> None:
    """A pass whose push was begun is finished, whatever the cap says by then."""
    program = shop.program()
    member = shop.member(program)
    shop.clock(f"{DAY} 12:00+00")
    first = shop.campaign(program, "First")
    shop.start(first)
    shop.finish(claimed(shop, cap=1), "retry")
    shop.clock(f"{DAY} 12:00:03+00")
    shop.finish(claimed(shop, cap=1))
    assert shop.ledger(first) == {member: "sent"}


# ── one buzz per text ───────────────────────────────────────────


def shown(shop: Shop, program: UUID, text: str, outcome: str = "sent", same_text: str = "vary") -> list[str]:
    """The texts of a campaign that is sent to the end."""
    campaign = shop.campaign(program, text, created_by=str(uuid4()))
    shop.conn.execute("update push_campaigns set target_query = %s where id = %s", ["ALL", campaign])
    shop.conn.execute(
        "update push_campaigns set status = 'PAUSED' where id = %s and status = 'PENDING'", [campaign]
    )
    shop.verb("resume", campaign)  # a person insists: not a double submit
    shop.start(campaign)
    texts: list[str] = []
    while (chunk := shop.chunk(cap=0, same_text=same_text)) is not None:
        texts += chunk["texts"]
        shop.finish(chunk, outcome)
    return texts


def test_the_same_text_again_differs_invisibly(shop: Shop) -> None:
    """A wallet shows only what changed; so each repeat differs from the one before, to the eye it is the same."""
    program = shop.program()
    shop.member(program)
    texts = [shown(shop, program, "Hello")[0] for _ in range(6)]
    for before, after in itertools.pairwise(texts):
        assert before != after
    assert {text.rstrip("\u200b") for text in texts} == {"Hello"}
    assert max(map(len, texts)) <= len("Hello") + 2


def test_a_text_that_may_have_arrived_is_varied_as_well(shop: Shop) -> None:
    """After a failure it is not known what the phone shows, so both possibilities are avoided."""
    program = shop.program()
    shop.member(program)
    (first,) = shown(shop, program, "Hello")
    (second,) = shown(shop, program, "Hello", outcome="rejected")
    (third,) = shown(shop, program, "Hello")
    assert len({first, second, third}) == 3


def test_skips_do_not_make_the_engine_forget_what_the_phone_shows(shop: Shop) -> None:
    """A day full of capped campaigns later, the same text is still varied."""
    program = shop.program()
    shop.member(program)
    shop.clock(f"{DAY} 12:00+00")
    (first,) = shown(shop, program, "Hello")
    for number in range(15):
        send_text(shop, program, f"Capped {number}", cap=1)
    shop.clock("2026-07-03 12:00+00")
    (second,) = shown(shop, program, "Hello")
    assert first != second


def test_the_same_text_may_be_skipped_or_sent_by_choice(shop: Shop) -> None:
    """`skip` skips passes that show the text already; `send` sends them the same bytes."""
    program = shop.program()
    member = shop.member(program)
    assert shown(shop, program, "Hello") == ["Hello"]
    assert shown(shop, program, "Hello", same_text="send") == ["Hello"]
    assert shown(shop, program, "Hello", same_text="skip") == []
    assert shown(shop, program, "Other", same_text="skip") == ["Other"]
    assert shop.rows(
        "select reason from passbell.deliveries where outcome = 'skipped' and pass_id = %s", [member]
    ) == [{"reason": "same_text"}]


def test_two_campaigns_with_one_text_at_once_do_not_silence_each_other(shop: Shop) -> None:
    """Of two campaigns with the same text, the second waits for the first and varies the text."""
    program = shop.program()
    shop.members(program, 3)
    shop.clock(f"{DAY} 12:00:00+00")
    one = shop.campaign(program, "Hello", target_query="ALL")
    two = shop.campaign(program, "Hello", target_query="All Active Members")
    while shop.claim() is not None:
        pass
    first = claimed(shop)
    assert shop.chunk() is None
    shop.finish(first)
    shop.clock(f"{DAY} 12:00:02+00")
    second = claimed(shop)
    assert {first["campaign_id"], second["campaign_id"]} == {one, two}
    assert not set(first["texts"]) & set(second["texts"])
    shop.finish(second)


# ── what a message says ─────────────────────────────────────────

RENDERED = (
    ("Hello", "Hello"),
    ("Hi {first_name}, you have {points} points", "Hi Ada, you have 1234 points"),
    ("{FIRST_NAME} {Last_Name} { points }", "Ada O'Neil 1234"),
    ("{tier_points}/{program}", "77/Club 100 %"),
    ("{{points}} are {points}", "{points} are 1234"),
    ("{{{points}}}", "{1234}"),
    ("100 % of %s %(x)s %% {points}%", "100 % of %s %(x)s %% 1234%"),
    ("Grüße 👋🏽 \u200b à bientôt {first_name}", "Grüße 👋🏽 \u200b à bientôt Ada"),
    ("line one\nline two", "line one\nline two"),
    ('"quoted" \\ back', '"quoted" \\ back'),
    ("{first_name|there}", "Ada"),
)
WITHOUT_NAME = (
    ("Hi {first_name|there}!", "Hi there!"),
    ("Hi {first_name}!", "Hi!"),
    ("Hi {first_name}, welcome", "Hi, welcome"),
    ("{first_name}, welcome", "welcome"),
    ("{first_name|you} {last_name|and all}", "you and all"),
    ("{first_name|}x", "x"),
    ("{points} {tier_points}", "0 0"),
    ("{points|no} points", "no points"),
    ("Hi {first_name|dear|friend}", "Hi dear|friend"),
    ("{first_name|100 %}", "100 %"),
)


def test_messages_are_rendered_per_member(shop: Shop) -> None:
    """Placeholders, fallbacks, braces, percent signs, line breaks and any script arrive as each member's text."""
    program = shop.program("Club 100 %")
    full = shop.member(
        program, user={"first_name": " Ada\t", "last_name": "O'Neil"}, points=1234, tier_points=77
    )
    bare = shop.member(program, user={"first_name": "  "})
    shop.conn.execute("update passes_master set points_balance = null where id = %s", [bare])
    for who, cases in ((full, RENDERED), (bare, WITHOUT_NAME)):
        for message, wanted in cases:
            campaign = shop.campaign(program, message, target_query=f"IDS:{who}")
            shop.start(campaign)
            chunk = claimed(shop, cap=0)
            assert [text.rstrip("\u200b") for text in chunk["texts"]] == [wanted], message
            shop.finish(chunk)


def test_control_characters_in_a_name_become_spaces(shop: Shop) -> None:
    """What an import let in does not get onto a lock screen."""
    program = shop.program()
    shop.member(program, user={"first_name": "A\x01\x1b[31m\r\nda\x7f"})
    shop.start(shop.campaign(program, "Hi {first_name}!"))
    assert claimed(shop)["texts"] == ["Hi A [31m da!"]


def test_a_message_of_which_nothing_is_left_fails_that_pass_only(shop: Shop) -> None:
    """No member is sent an empty text."""
    program = shop.program()
    named = shop.member(program, user={"first_name": "Ada"})
    nameless = shop.member(program)
    campaign = shop.campaign(program, "{first_name}")
    shop.send(campaign)
    assert shop.ledger(campaign) == {named: "sent", nameless: "render_error"}
    order = shop.order(campaign)
    assert (order["sent_count"], order["failed_count"]) == (1, 1)


# ── repeats after a crash, beside other campaigns ───────────────


def died(shop: Shop, text: str, program: UUID, **options: Any) -> tuple[UUID, Chunk]:
    """A campaign whose worker vanished a lease ago, having sent who knows what; and what it held."""
    shop.clock(f"{DAY} 12:00+00")
    campaign = shop.campaign(program, text)
    shop.start(campaign)
    held = claimed(shop, **options)
    shop.clock(f"{DAY} 12:01:01+00")
    return campaign, held


def test_a_repeat_waits_for_a_later_campaign_that_has_the_pass_under_way(shop: Shop) -> None:
    """If a later campaign overtook a paused one, a resume does not send the older text after the newer."""
    program = shop.program()
    both, only_first = shop.members(program, 2)
    first, _ = died(shop, "First", program)
    shop.verb("pause", first)
    second = shop.campaign(program, "Second", target_query=f"IDS:{both}")
    shop.start(second)
    newer = claimed(shop, worker=uuid4())
    assert (newer["campaign_id"], newer["pass_ids"]) == (second, [both])
    shop.verb("resume", first)
    older = claimed(shop, worker=uuid4())
    assert (older["campaign_id"], older["pass_ids"], older["texts"]) == (first, [only_first], ["First"])
    assert shop.chunk(worker=uuid4()) is None
    shop.finish(older)
    shop.finish(newer)
    shop.clock(f"{DAY} 12:01:03+00")
    assert shop.chunk(worker=uuid4()) is None
    assert shop.ledger(first) == {only_first: "sent", both: "attempts_exhausted"}


def test_a_repeat_goes_out_when_the_later_campaign_sent_nothing(shop: Shop) -> None:
    """The one that was in the way handed the pass back untouched: the same bytes as before are sent."""
    program = shop.program()
    member = shop.member(program, user={"first_name": "Ada"})
    first, held = died(shop, "Hi {first_name}", program)
    shop.verb("pause", first)
    second = shop.campaign(program, "Second")
    shop.start(second)
    newer = claimed(shop, worker=uuid4())
    shop.verb("resume", first)
    assert shop.chunk(worker=uuid4()) is None
    shop.finish(newer, "back")
    shop.verb("cancel", second)
    shop.conn.execute("update users set first_name = 'Eve'")
    shop.clock(f"{DAY} 12:01:03+00")
    repeat = claimed(shop, worker=uuid4())
    assert (repeat["campaign_id"], repeat["texts"]) == (first, held["texts"])
    shop.finish(repeat)
    assert shop.ledger(first) == {member: "sent"}


@pytest.mark.parametrize("how", ["paused", "failed"])
def test_a_repeat_is_left_to_a_person_when_a_later_text_may_have_landed(shop: Shop, how: str) -> None:
    """If a later campaign may have reached the pass, a repeat is not sent, and a person decides."""
    program = shop.program()
    member = shop.member(program)
    first, _ = died(shop, "First", program)
    shop.verb("pause", first)
    second = shop.campaign(program, "Second")
    shop.start(second)
    newer = claimed(shop, worker=uuid4())
    if how == "paused":
        shop.verb("pause", second)
        shop.clock(f"{DAY} 12:03+00")
    else:
        shop.finish(newer, "retry", max_attempts=1)
    shop.verb("resume", first)
    assert shop.chunk(worker=uuid4()) is None
    assert shop.ledger(first) == {member: "attempts_exhausted"}
    if how == "paused":
        shop.verb("resume", second)
        assert claimed(shop, worker=uuid4())["texts"] == newer["texts"]


def test_a_retry_that_was_split_off_is_a_repeat_too(shop: Shop) -> None:
    """Of a chunk one pass timed out and one was not tried: the timed-out one may show the text."""
    program = shop.program()
    tried, untried = shop.members(program, 2)
    shop.clock(f"{DAY} 12:00+00")
    first = shop.campaign(program, "First")
    shop.start(first)
    chunk = claimed(shop)
    shop.finish(chunk, ["retry" if one == tried else "back" for one in chunk["pass_ids"]])
    shop.verb("pause", first)
    shop.clock(f"{DAY} 12:01+00")
    shop.send(shop.campaign(program, "Second"))
    shop.clock(f"{DAY} 12:02+00")
    shop.verb("resume", first)
    shop.send_chunks()
    assert shop.ledger(first) == {tried: "attempts_exhausted", untried: "sent"}


@pytest.mark.parametrize("end", ["cancelled", "uninstalled", "cancelled at the report"])
def test_what_a_dead_worker_may_have_sent_counts_as_shown(shop: Shop, end: str) -> None:
    """If a push may have arrived before the campaign was closed, the same words again are varied, and buzz."""
    program = shop.program()
    member = shop.member(program)
    first, held = died(shop, "Hello", program)
    if end == "cancelled":
        shop.verb("cancel", first)
    elif end == "cancelled at the report":
        shop.conn.execute("update push_campaigns set status = 'PAUSED' where id = %s", [first])
        again = shop.verb("resume", first) and claimed(shop, worker=uuid4())
        shop.verb("cancel", first)
        shop.finish(again, "back")
    else:
        shop.conn.execute("update passes_master set status = 'UNINSTALLED'")
        assert shop.chunk(worker=uuid4()) is None
        shop.conn.execute("update passes_master set status = 'INSTALLED'")
    assert shop.ledger(first) == {member: "not_installed" if end == "uninstalled" else "cancelled"}
    second = shop.campaign(program, "Hello", target_query=f"IDS:{member}")
    shop.start(second)
    assert claimed(shop)["texts"] != held["texts"]


def test_doubt_that_was_reported_in_part_is_not_forgotten_at_the_release(shop: Shop) -> None:
    """Soak: a lost answer was reported while another call was out; then a pause, and it was worded anew: twice."""
    program = shop.program()
    for _ in range(3):
        shop.member(program, points=1)
    campaign = shop.campaign(program, "{points} points")
    shop.start(campaign)
    first = claimed(shop)
    unsure, slow, _ = first["pass_ids"]
    shop.finish(first, "maybe", passes=[unsure], release=False)
    shop.finish(first, "sent", passes=[slow])
    shop.conn.execute("update passes_master set points_balance = points_balance + 1")
    again = claimed(shop)
    assert dict(zip(again["pass_ids"], again["texts"], strict=True))[unsure] == "1 points"
