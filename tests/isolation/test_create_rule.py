"""CREATE RULE for one program, on the tables that people order in and that passbell logs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop


def rule(
    shop: Shop, event: str, condition: str, table: str = "push_campaigns", instead: str = "nothing"
) -> None:
    """A rule of the host's."""
    shop.conn.execute(
        f"create rule host_rule as on {event} to {table} where {condition} do instead {instead}".encode()
    )


def two(shop: Shop) -> tuple[UUID, UUID]:
    """The program that the rule is about, and another one."""
    programs = shop.program(), shop.program("Other")
    for program in programs:
        shop.members(program, 2)
    return programs


def test_orders(shop: Shop) -> None:
    """Orders of the program are refused with a sentence; all others are taken, by whatever door."""
    guilty, other = two(shop)
    rule(shop, "insert", f"new.program_id = '{guilty}'")
    name = shop.value("select external_id from passes_master where program_id = %s limit 1", [other])
    for order in (
        "select push_send(%s, 'Hello')",
        f"select push_test(%s, '{name}', 'Hello')",
        "select passbell.draft_list_campaign(%s, 'Hello')",
        "select passbell.page_save_draft('people', null, %s, 'Hello', 'ALL', 'A draft', null, null)",
    ):
        campaign = shop.value(order, [other])
        assert shop.order(campaign)["program_id"] == other, order
    with pytest.raises(psycopg.Error, match="swallows") as refused:
        shop.value("select push_send(%s, 'Hello')", [guilty])
    assert refused.value.sqlstate == "PB422"


def test_verbs(shop: Shop) -> None:
    """The others are paused, resumed and cancelled; for the program the verb says what hinders it."""
    guilty, other = two(shop)
    bad, good = shop.campaign(guilty), shop.campaign(other)
    rule(shop, "update", f"old.program_id = '{guilty}'")
    for verb, status in (("pause", "PAUSED"), ("resume", "PENDING"), ("cancel", "CANCELLED")):
        assert shop.verb(verb, good)["status"] == status
    with pytest.raises(psycopg.Error, match="swallows"):
        shop.verb("cancel", bad)


def test_a_draft_of_the_page(shop: Shop) -> None:
    """It is changed and submitted although there is a rule for another program."""
    guilty, other = two(shop)
    draft = shop.campaign(other, status="DRAFT")
    rule(shop, "update", f"old.program_id = '{guilty}'")
    form = "'people', %s, %s, 'Hello all', 'ALL', 'A draft', null"
    assert shop.value(f"select passbell.page_save_draft({form}, null)", [draft, other]) == draft
    shop.value(f"select passbell.page_submit_draft({form}, null, null)", [draft, other])
    assert (shop.status(draft), shop.order(draft)["message_text"]) == ("PENDING", "Hello all")


def test_birthdays(shop: Shop) -> None:
    """The other program's gifts and greetings go out; the run of the program names the rule."""
    today = shop.value("select (now() at time zone 'America/New_York')::date - interval '30 years'")
    programs = [
        shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
        for _ in range(2)
    ]
    for program in programs:
        shop.member(program, user={"birth_date": today})
    guilty, other = programs
    rule(shop, "insert", f"new.program_id = '{guilty}'")
    taken = shop.row("select * from run_birthdays(%s)", [other])
    assert (taken["gifted"], shop.order(taken["campaign_id"])["recipient_count"]) == (1, 1)
    with pytest.raises(psycopg.Error, match="swallows"):
        shop.row("select * from run_birthdays(%s)", [guilty])


@pytest.mark.parametrize("how", ["rule", "trigger"])
def test_an_audit_table_that_is_split_by_hand(shop: Shop, how: str) -> None:
    """Its rows are put into a child table by a rule or a trigger: each is there once, and nothing is owed."""
    shop.conn.execute("create table host_logs () inherits (notification_logs)")
    if how == "rule":
        rule(shop, "insert", "true", "notification_logs", "insert into host_logs values (new.*)")
    else:
        shop.conn.execute(
            "create function host_rule() returns trigger language plpgsql as"
            " $$ begin insert into public.host_logs values (new.*); return null; end $$;"
            "create trigger zz_host_rule before insert on notification_logs for each row execute function host_rule()"
        )
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    assert shop.send(campaign)["status"] == "COMPLETED"
    assert len(shop.logs(campaign)) == 1
    assert shop.rows("select * from passbell.owed_logs") == []
