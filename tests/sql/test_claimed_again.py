"""A claim whose answer was lost is asked for again with its token: nothing is held twice, no lease is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from support.shop import Shop

HELD = "select campaign_id, chunk_no from passbell.chunks where claim_token = %s order by 1, 2"


def test_a_chunk_is_answered_again_as_it_was(shop: Shop) -> None:
    """The same passes, ids and texts, under a fresh lease; another worker gets the other chunk, and no more."""
    program = shop.program()
    shop.members(program, 4)
    shop.start(shop.campaign(program, "Hello {first_name}"), size=2)
    first = shop.chunk(lease=30)
    assert first is not None
    shop.conn.execute(
        "update passbell.chunks set lease_until = now() + interval '1 s' where lease_until > now()"
    )
    assert shop.chunk(again=first["claim_token"]) == first
    assert len(shop.rows(HELD, [first["claim_token"]])) == 1
    assert shop.value("select max(lease_until) > now() + interval '50 s' from passbell.chunks")
    other = uuid4()
    assert shop.chunk(worker=other) is not None
    assert shop.chunk(worker=other) is None
    shop.finish(first)


def test_a_claim_that_never_arrived_is_an_ordinary_one(shop: Shop) -> None:
    """Nothing stands under the token: the call claims, and the token is the one that was chosen."""
    program = shop.program()
    shop.members(program, 2)
    shop.start(shop.campaign(program))
    token = uuid4()
    chunk = shop.chunk(again=token)
    assert chunk is not None
    assert chunk["claim_token"] == token


def test_the_token_of_another_worker_opens_nothing(shop: Shop) -> None:
    """A token that another worker's claim carries finds nothing; that worker keeps its chunk."""
    program = shop.program()
    shop.members(program, 2)
    shop.start(shop.campaign(program))
    chunk = shop.chunk()
    assert chunk is not None
    assert shop.chunk(worker=uuid4(), again=chunk["claim_token"]) is None
    shop.finish(chunk)


@pytest.mark.parametrize("trouble", ["uninstalled", "paused", "suspended", "account"])
def test_what_may_not_be_sent_any_more_is_handed_back(shop: Shop, trouble: str) -> None:
    """Between the lost answer and the next call things changed: the chunk is free, and judged anew."""
    program = shop.program()
    members = shop.members(program, 2)
    campaign = shop.campaign(program)
    shop.start(campaign)
    chunk = shop.chunk()
    assert chunk is not None
    if trouble == "uninstalled":
        shop.conn.execute("update passes_master set status = 'UNINSTALLED' where id = %s", [members[0]])
    elif trouble == "paused":
        shop.verb("pause", campaign)
    elif trouble == "suspended":
        shop.conn.execute("update programs set is_suspended = true where id = %s", [program])
    else:
        shop.value("select passbell.open_breaker('test', 'outage', 'x')")
    found = shop.chunk(again=chunk["claim_token"])
    if trouble == "uninstalled":
        assert found is not None
        assert found["pass_ids"] == [members[1]]
        assert found["texts"] == chunk["texts"][:1]
    else:
        assert found is None
        assert shop.value("select count(*) from passbell.chunks where lease_until is not null") == 0
    assert shop.violations() == []


def test_two_calls_of_one_claim_do_not_overtake_each_other(shop: Shop) -> None:
    """The caller lost patience while the server still claims: asked again, it says so instead of claiming twice."""
    program = shop.program()
    shop.members(program, 4)
    shop.start(shop.campaign(program), size=2)
    token = uuid4()
    claim = "select * from passbell.claim_chunk(%s, 'test', p_token => %s, p_again => %s)"
    with psycopg.connect(shop.url) as slow:
        assert len(slow.execute(claim, [shop.worker, token, False]).fetchall()) == 1
        with pytest.raises(psycopg.errors.LockNotAvailable, match="still under way"):
            shop.rows(claim, [shop.worker, token, True])
        slow.commit()
    assert len(shop.rows(claim, [shop.worker, token, True])) == 1
    assert len(shop.rows(HELD, [token])) == 1


def test_a_daemon_that_stops_after_a_lost_answer_leaves_nothing_behind(shop: Shop) -> None:
    """What it never heard of is free at its goodbye: the next daemon takes it at once."""
    program = shop.program()
    shop.members(program, 2)
    shop.start(shop.campaign(program))
    shop.conn.execute(
        "select passbell.register_worker(%s, 'here', 1, 'x', '0', 'test', 50, 3)", [shop.worker]
    )
    lost = shop.chunk()
    assert lost is not None
    shop.conn.execute("select passbell.unregister_worker(%s)", [shop.worker])
    found = shop.chunk(worker=uuid4())
    assert found is not None
    assert (found["pass_ids"], found["texts"]) == (lost["pass_ids"], lost["texts"])
    assert shop.value("select count(*) from passbell.workers") == 0


def test_a_list_is_answered_again(shop: Shop) -> None:
    """The list that the claim took is downloaded by its caller after all, and counts as the same try."""
    campaign = shop.campaign(shop.program(), target_query="CSV", csv_upload_url="https://example.com/a.csv")
    claim = "select * from passbell.claim_campaign(%s, p_token => %s, p_again => %s)"
    token = uuid4()
    first = shop.row(claim, [shop.worker, token, False])
    assert (first["action"], first["claim_token"]) == ("download", token)
    again = shop.row(claim, [shop.worker, token, True])
    same = ("campaign_id", "program_id", "csv_url", "claim_token", "action")
    assert [again[name] for name in same] == [first[name] for name in same]
    assert shop.value("select attempt from passbell.list_loads") == 1
    shop.verb("pause", campaign)
    assert shop.rows(claim, [shop.worker, token, True]) == []
    assert shop.value("select lease_until from passbell.list_loads") is None


def test_an_import_is_answered_again(shop: Shop) -> None:
    """The import that the claim took goes on under its token, and counts as the same try; another worker gets none."""
    shop.conn.execute(
        "insert into member_imports (program_id, csv_upload_url) values (%s, 'https://example.com/a.csv')",
        [shop.program()],
    )
    claim = "select * from passbell.claim_import(%s, p_token => %s, p_again => %s)"
    token = uuid4()
    shop.conn.execute(
        "select passbell.register_worker(%s, 'here', 1, 'x', '0', 'test', 50, 3)", [shop.worker]
    )
    first = shop.row(claim, [shop.worker, token, False])
    assert first["claim_token"] == token
    assert shop.rows(claim, [uuid4(), uuid4(), False]) == []
    assert shop.row(claim, [shop.worker, token, True]) == first
    assert shop.value("select attempt from passbell.import_leases") == 1


@pytest.mark.parametrize(
    "claim",
    [
        "select * from passbell.claim_birthday_run(%s, 60, %s, %s)",
        "select * from passbell.claim_automation_run(%s, 60, %s, %s)",
    ],
)
def test_a_run_is_answered_again(shop: Shop, claim: str) -> None:
    """A claim of a run that is repeated under its token gets the same run; another worker gets none."""
    shop.clock("2026-05-05 18:00+00")
    program = shop.program(timezone="UTC", birthday_bot_enabled=True)
    shop.conn.execute(
        "insert into push_automations (program_id, occasion, message_text, is_on, send_at)"
        " values (%s, 'EVERY:MON,TUE,WED,THU,FRI,SAT,SUN', 'Hi', true, '00:00')",
        [program],
    )
    token = uuid4()
    first = shop.row(claim, [shop.worker, token, False])
    assert shop.rows(claim, [uuid4(), uuid4(), False]) == []
    assert shop.row(claim, [shop.worker, token, True]) == first
    assert shop.value("select passbell.bury_workers(%s::uuid[])", [[shop.worker]]) == 0
    assert shop.row(claim, [uuid4(), uuid4(), False]) == first
