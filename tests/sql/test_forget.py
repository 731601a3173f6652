"""push_forget at the same moment as everything else: the counts add up, and no erased phone rings."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from support.together import together, twins

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop


def refusal(answer: Any) -> str | None:
    return answer.sqlstate if isinstance(answer, psycopg.Error) else None


def forget(shop: Shop, name: str) -> None:
    shop.rows("select * from push_forget(%s)", [name])


def people(shop: Shop, count: int, **columns: Any) -> dict[str, UUID]:
    """A program's passes by external id, each with a user."""
    program = shop.program()
    return {
        f"P{n}": shop.member(program, user={"first_name": f"Name{n}"}, external_id=f"P{n}", **columns)
        for n in range(count)
    }


def program_of(shop: Shop) -> UUID:
    found: UUID = shop.value("select id from programs limit 1")
    return found


def test_several_at_once_in_one_chunk(shop: Shop) -> None:
    """Four members of one chunk are erased at the same moment: each is taken once, the others keep their texts."""
    people(shop, 8)
    sessions = twins(shop, 4)
    for turn in range(8):
        campaign = shop.campaign(program_of(shop), f"{{first_name}} {turn}")
        shop.start(campaign)
        names = random.Random(turn).sample([f"P{n}" for n in range(8)], 4)  # noqa: S311 - repeatable
        answers = together(
            *(lambda one=one, name=name: forget(one, name) for one, name in zip(sessions, names, strict=True))
        )
        assert {refusal(answer) for answer in answers} == {None}, answers
        assert shop.violations() == []
        assert (shop.order(campaign)["skipped_count"], len(shop.waiting(campaign))) == (4, 4)
        chunk = shop.chunk(cap=0)
        assert chunk is not None
        whose = dict(zip(chunk["external_ids"], chunk["texts"], strict=True))
        assert whose == {f"P{n}": f"Name{n} {turn}" for n in range(8) if f"P{n}" not in names}
        shop.finish(chunk)
        assert shop.status(campaign) == "COMPLETED"


def test_beside_a_claim_that_skips_somebody(shop: Shop) -> None:
    """A claim that leaves out who has opted out, and an erasure in the same chunk: both take theirs, once."""
    people(shop, 6)
    one, two = twins(shop)
    for turn in range(12):
        shop.conn.execute("update users set marketing_opt_in = true")
        campaign = shop.campaign(program_of(shop), f"{{first_name}} {turn}")
        shop.start(campaign)
        shop.conn.execute("update users set marketing_opt_in = false where first_name = 'Name5'")
        chunk, erased = together(lambda: one.chunk(cap=0), lambda: forget(two, "P0"))
        assert refusal(erased) in {None, "PB422"}, erased
        assert not isinstance(chunk, psycopg.Error), chunk
        assert shop.violations() == []
        chunk = chunk or one.chunk(cap=0)
        assert chunk is not None
        assert "P5" not in chunk["external_ids"]
        assert ("P0" in chunk["external_ids"]) is (refusal(erased) == "PB422")
        assert [text.split()[0] for text in chunk["texts"]] == [
            f"Name{name[1:]}" for name in chunk["external_ids"]
        ]
        one.finish(chunk)
        assert shop.status(campaign) == "COMPLETED"
        assert shop.violations() == []


def test_beside_reports_cancels_and_retries(shop: Shop) -> None:
    """Erased at the moment of a report, a cancel or a retry: refused as busy or done, and the law holds at once."""
    people(shop, 5)
    one, two = twins(shop)
    for turn in range(24):
        campaign = shop.campaign(program_of(shop), f"Turn {turn}")
        shop.start(campaign, 3)
        held = one.chunk(cap=0)
        assert held is not None
        if turn % 4 == 3:
            rest = one.chunk(cap=0)
            assert rest is not None
            one.finish(held, "rejected")
            one.finish(rest, "rejected")
        rival = (
            lambda: one.finish(held, "retry"),  # noqa: B023
            lambda: one.finish(held, "sent"),  # noqa: B023
            lambda: one.verb("cancel", campaign),  # noqa: B023
            lambda: one.verb("retry_failed", campaign),  # noqa: B023
        )[turn % 4]
        answers = together(rival, lambda: forget(two, "P1"))
        assert {refusal(answer) for answer in answers} <= {None, "PB412", "PB422"}, answers
        assert shop.violations() == []
        if shop.status(campaign) == "PROCESSING":
            shop.verb("cancel", campaign)
        shop.conn.execute("update passbell.chunks set lease_until = now() where lease_until is not null")
        shop.conn.execute("select passbell.drain_cancelled()")


def test_a_late_report_brings_nobody_back(shop: Shop) -> None:
    """A worker whose lease has run out reports a chunk from which a member was erased meanwhile."""
    members = people(shop, 3)
    campaign = shop.campaign(program_of(shop))
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    with pytest.raises(psycopg.Error, match="in flight"):
        forget(shop, "P1")
    shop.conn.execute("update passbell.chunks set lease_until = now()")
    forget(shop, "P1")
    assert shop.finish(chunk) == (0, "COMPLETED")
    assert shop.ledger(campaign) == {members["P0"]: "sent", members["P2"]: "sent"}
    order = shop.order(campaign)
    assert (order["recipient_count"], order["sent_count"], order["skipped_count"]) == (3, 2, 1)


def test_a_campaign_that_somebody_holds_is_not_waited_for_without_end(shop: Shop) -> None:
    """With a transaction left open on one campaign, the erasure says that it is busy and has changed nothing."""
    people(shop, 2)
    first, second = (shop.campaign(program_of(shop), text) for text in ("One", "Two"))
    shop.send(first)
    shop.start(second)
    one, two = twins(shop)
    with one.conn.transaction():
        one.conn.execute("update push_campaigns set name = 'being edited' where id = %s", [second])
        with pytest.raises(psycopg.Error, match="busy: try again in a minute") as error:
            forget(two, "P0")
        assert error.value.sqlstate == "PB422"
        assert len(shop.ledger(first)) == len(shop.waiting(second)) == 2
        # A row of the host that refers to the campaign is no hindrance.
    with one.conn.transaction():
        one.conn.execute("select from push_campaigns where id = %s for key share", [second])
        forget(two, "P0")
    assert len(shop.ledger(first)) == len(shop.waiting(second)) == 1


def test_without_the_table_of_birthdays(shop: Shop) -> None:
    """If the platform has dropped birthday_logs, push_forget erases the rest."""
    program = shop.program()
    members = shop.members(program, 3)
    campaign = shop.campaign(program)
    shop.send(campaign)
    shop.conn.execute("drop table birthday_logs cascade")
    erased = {
        row["relation"]: row["erased"]
        for row in shop.rows("select * from push_forget(%s)", [str(members[0])])
    }
    assert (erased["deliveries"], erased["birthday_logs"]) == (1, 0)
    assert set(shop.ledger(campaign)) == set(members[1:])
