"""CREATE RULE for one program, on the tables that people order in, that passbell logs to, and of the members."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import psycopg
import pytest

from passbell.database.imports import ImportOrder, apply_import, open_import
from passbell.errors import CampaignError

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Row, Shop


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
    """A draft is changed and submitted although there is a rule for another program."""
    guilty, other = two(shop)
    draft = shop.campaign(other, status="DRAFT")
    rule(shop, "update", f"old.program_id = '{guilty}'")
    form = "'people', %s, %s, 'Hello all', 'ALL', 'A draft', null"
    assert shop.value(f"select passbell.page_save_draft({form}, null)", [draft, other]) == draft
    shop.value(f"select passbell.page_submit_draft({form}, null, null)", [draft, other])
    assert (shop.status(draft), shop.order(draft)["message_text"]) == ("PENDING", "Hello all")


def test_birthdays(shop: Shop) -> None:
    """The other program's gifts and greetings go out; the run of the program names the rule."""
    today = shop.born_today()
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


def test_gifts(shop: Shop) -> None:
    """A rule on birthday_logs for one program: members of others have their points once, its own none."""
    today = shop.born_today()
    programs = [
        shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
        for _ in range(2)
    ]
    passes = [shop.member(program, user={"birth_date": today}, points=0) for program in programs]
    guilty, other = programs
    rule(shop, "insert", f"new.program_id = '{guilty}'", "birthday_logs")
    for gifted in (1, 0):
        taken = shop.row("select * from run_birthdays(%s)", [other])
        assert (taken["gifted"], taken["failed"]) == (gifted, 0)
    refused = shop.row("select * from run_birthdays(%s)", [guilty])
    assert (refused["gifted"], refused["already_gifted"], refused["failed"]) == (0, 0, 1)
    assert "on birthday_logs swallows" in shop.value("select reason from passbell.birthday_failures")
    balance = "select points_balance from passes_master where id = %s"
    assert [shop.value(balance, [one]) for one in passes] == [0, 5]


def test_gifts_of_which_one_was_given(shop: Shop) -> None:
    """A rule on birthday_logs: a member who has the gift of this year is left alone."""
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=5)
    one = shop.member(program, user={}, points=0)
    rule(shop, "update", "false", "birthday_logs")
    note = "select passbell.note_gift(%s, %s, '2026-11-20', 5, null)"
    assert shop.value(note, [one, program]) is True
    assert shop.value(note, [one, program]) is False
    assert shop.value("select count(*) from birthday_logs") == 1


def imported(shop: Shop, program: UUID, text: str) -> tuple[Row, list[Row]]:
    """What became of an import, and of each of its rows."""
    held, _ = open_import(shop.conn, ImportOrder(program=program), io.BytesIO(text.encode()))
    done = apply_import(shop.conn, held)
    query = "select result, reason from passbell.import_rows where import_id = %s order by row_number"
    return done, shop.rows(query, [done["id"]])


@pytest.mark.parametrize("event", ["insert", "update"])
def test_new_members(shop: Shop, event: str) -> None:
    """A rule on users for some of them: an import creates, changes and links all the others."""
    program = shop.program()
    shop.member(program, user={"email": "bo@example.com"}, external_id="BO")
    shop.member(program, external_id="ANN")
    rule(shop, event, "new.email like '%@guilty.example'", "users")
    text = (
        "external_id,email,first_name\nANN,ann@example.com,Ann\n,x@guilty.example,X\nBO,bo@example.com,Bo\n"
    )
    done, rows = imported(shop, program, text)
    kept = {"insert": "rejected", "update": "created"}[event]
    assert [row["result"] for row in rows] == ["created", kept, "updated"]
    assert done["passes_linked"] == 1
    assert shop.value("select first_name from users where email = 'bo@example.com'") == "Bo"
    assert event == "update" or "did not take a new member" in rows[1]["reason"]
    again, _ = imported(shop, program, text)
    assert (again["created_count"], again["updated_count"]) == (0, 0)


@pytest.mark.parametrize("table", ["users", "passes_master"])
def test_known_members(shop: Shop, table: str) -> None:
    """A rule that keeps one member or pass from being changed: its row says so, and the other rows count."""
    program = shop.program()
    for name in ("ann", "bo"):
        shop.conn.execute("insert into users (email) values (%s)", [f"{name}@example.com"])
        shop.member(program, external_id=name)
    guilty = {"users": "old.email = 'bo@example.com'", "passes_master": "old.external_id = 'bo'"}[table]
    rule(shop, "update", guilty, table)
    _, rows = imported(
        shop, program, "external_id,email,first_name\nann,ann@example.com,Ann\nbo,bo@example.com,Bo\n"
    )
    kept = {"users": "linked", "passes_master": "updated"}[table]
    assert [row["result"] for row in rows] == ["updated", kept]
    assert f"rule or trigger on {table}" in rows[1]["reason"]
    assert rows[0]["reason"] is None


def test_imports(shop: Shop) -> None:
    """A rule on member_imports for one program: the others import, and the program reads what hinders it."""
    guilty, other = two(shop)
    rule(shop, "insert", f"new.program_id = '{guilty}'", "member_imports")
    done, _ = imported(shop, other, "email\nann@example.com\n")
    assert (done["status"], done["created_count"]) == ("COMPLETED", 1)
    with pytest.raises(CampaignError, match="member_imports swallows"):
        imported(shop, guilty, "email\nbo@example.com\n")


def test_automations_and_suppressions(shop: Shop) -> None:
    """Rules on their tables for one program: those of another are saved, and the program reads what hinders it."""
    guilty, other = two(shop)
    automation = (
        """select passbell.save_automation('people', null, jsonb_build_object('program_id', %s::uuid, 'name', 'Hi',"""
        """ 'occasion', 'JOINED:2', 'message_text', 'Hello'))"""
    )
    rule(shop, "insert", f"new.program_id = '{guilty}'", "push_automations")
    assert shop.value(automation, [other]) is not None
    with pytest.raises(psycopg.Error, match="push_automations swallows"):
        shop.value(automation, [guilty])
    rule(shop, "insert", f"new.program_id = '{guilty}'", "push_suppressions")
    name = "select external_id from passes_master where program_id = %s limit 1"
    suppress = "select passbell.suppress('people', %s, %s, null, null)"
    assert shop.value(suppress, [other, shop.value(name, [other])]) is not None
    with pytest.raises(psycopg.Error, match="push_suppressions swallows"):
        shop.value(suppress, [guilty, shop.value(name, [guilty])])
