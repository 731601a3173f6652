"""A rule of the host's that refuses one campaign stops that one, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passbell.database.migrate import migrate
from support.wait import wait_until

if TYPE_CHECKING:
    from support.bystander import House

TRIGGER = """
create or replace function host_rule() returns trigger language plpgsql as $$ begin {} return new; end $$;
create or replace trigger a_host_rule before insert or update on {} for each row execute function host_rule();
"""


def trigger(house: House, body: str, table: str = "push_campaigns") -> None:
    """Give the host a trigger that lasts as long as the test."""
    house.rule(TRIGGER.format(body, table), undo=f"drop trigger if exists a_host_rule on {table}")


def test_a_trigger_that_raises_for_one_campaign(house: House) -> None:
    """The campaign waits with the trigger's words; without the trigger it goes out by itself."""
    trigger(
        house,
        "if new.name = 'bad' and new.status <> 'PENDING' then raise 'audit service rejects this'; end if;",
    )
    campaign = house.scene.campaign(house.program(), "Hello", name="bad")
    assert "audit service rejects this" in house.aside(campaign)
    house.serves_the_others()
    assert "audit service rejects this" in house.words(campaign)
    assert house.scene.status(campaign) == "PENDING"
    house.mend()
    house.completes(campaign)


def test_a_status_check_of_an_older_table(house: House) -> None:
    """If the table's CHECK does not know PROCESSING, the campaign fails and names the constraint."""
    program = house.program()
    house.rule(
        "alter table push_campaigns add constraint old_statuses check"
        f" (program_id <> '{program}' or status in ('DRAFT', 'PENDING', 'SENT', 'FAILED'))",
        undo="alter table push_campaigns drop constraint old_statuses",
    )
    campaign = house.scene.campaign(program, "Hello")
    row = house.scene.until(campaign)
    assert row["status"] == "FAILED"
    assert "old_statuses" in row["status_detail"]
    house.serves_the_others()


def test_a_deferred_rule_is_heard_before_the_commit(house: House) -> None:
    """A constraint trigger that would raise at the end of the transaction is answered like any other."""
    house.rule(
        "create or replace function host_late() returns trigger language plpgsql as"
        " $$ begin if new.name = 'late' and new.status = 'PROCESSING' then raise 'not today'; end if;"
        " return null; end $$;"
        "create constraint trigger a_host_late after update on push_campaigns deferrable initially deferred"
        " for each row execute function host_late()",
        undo="drop trigger if exists a_host_late on push_campaigns",
    )
    campaign = house.scene.campaign(house.program(), "Hello", name="late")
    row = house.scene.until(campaign)
    assert row["status"] == "FAILED"
    assert "not today" in row["status_detail"]


def test_a_trigger_that_swallows_the_change(house: House) -> None:
    """A trigger that returns NULL leaves the row as it is: said, not repeated for ever."""
    trigger(house, "if tg_op = 'UPDATE' and new.name = 'swallowed' then return null; end if;")
    campaign = house.scene.campaign(house.program(), "Hello", name="swallowed")
    assert "swallows" in house.aside(campaign)
    house.mend()
    house.completes(campaign)


def test_outcomes_are_stored_although_the_row_refuses_them(house: House) -> None:
    """If the campaign's row refuses counters, each phone buzzes once, and the counters follow later."""
    scene = house.scene
    trigger(house, "if new.name = 'stuck' and new.sent_count > 0 then raise 'no counters here'; end if;")
    scene.remote.reset("history")
    campaign = scene.campaign(house.program(), "Only once", name="stuck")
    assert "no counters here" in house.aside(campaign)
    assert set(scene.ledger(campaign).values()) == {"sent"}
    assert not scene.waiting(campaign)
    house.serves_the_others()
    assert scene.order(campaign)["sent_count"] == 0
    assert not scene.violations(), "owed counters do not break the law"
    house.mend()
    house.completes(campaign)
    assert len(scene.logs(campaign)) == 1
    assert scene.remote.summary(text="Only once")["buzzedMore"] == 0
    assert not scene.rows("select from passbell.owed_counts")


def test_an_audit_table_that_refuses_the_row(house: House) -> None:
    """The campaign completes; its row is owed with the reason and follows, exactly once."""
    scene = house.scene
    program = house.program()
    trigger(
        house, f"if new.program_id = '{program}' then raise 'no audit for you'; end if;", "notification_logs"
    )
    campaign = scene.campaign(program, "Hello")
    assert scene.until(campaign)["status"] == "COMPLETED"
    (owed,) = scene.rows("select * from passbell.owed_logs where campaign_id = %s", [campaign])
    assert "no audit for you" in owed["reason"]
    assert not scene.logs(campaign)
    house.mend()
    house.hurry()
    wait_until(lambda: scene.logs(campaign), "the row follows")
    assert len(scene.logs(campaign)) == 1
    assert not scene.rows("select * from passbell.owed_logs where campaign_id = %s", [campaign])


def test_an_audit_table_with_a_narrow_column(house: House) -> None:
    """If a column is varchar(20), the text is shortened, and the row is there when the campaign is COMPLETED."""
    scene = house.scene
    house.rule(
        "alter table notification_logs alter message_content type varchar(20) using left(message_content, 20)",
        undo="alter table notification_logs alter message_content type text",
    )
    campaign = scene.campaign(house.program(), "A message of more than twenty characters")
    assert scene.until(campaign)["status"] == "COMPLETED"
    assert [row["message_content"] for row in scene.logs(campaign)] == ["A message of more th"]


def test_an_audit_table_that_is_gone(house: House) -> None:
    """While notification_logs is missing, campaigns complete and cancel; their rows are written later."""
    scene = house.scene
    house.rule(
        "alter table notification_logs rename to logs_elsewhere",
        undo="alter table logs_elsewhere rename to notification_logs",
    )
    campaign = scene.campaign(house.program(), "Hello")
    assert scene.until(campaign)["status"] == "COMPLETED"
    slow = scene.campaign(house.program(20), "Slowly", rate_per_second=1)
    scene.until_sent(slow, 1)
    scene.verb("cancel", slow)
    wait_until(lambda: not scene.waiting(slow), "the cancelled campaign is closed")
    house.mend()
    house.hurry()
    wait_until(lambda: len(scene.logs(campaign)) == len(scene.logs(slow)) == 1, "both rows follow")


def test_birthday_logs_that_are_gone(house: House) -> None:
    """The platform drops its birthday table: gifts are off, campaigns go out, the daemon stays."""
    house.rule(
        "alter table birthday_logs rename to birthdays_elsewhere",
        undo="alter table birthdays_elsewhere rename to birthday_logs",
    )
    before = len(house.daemon.events("birthdays_refused"))
    house.scene.conn.execute("notify passbell, ''")
    wait_until(lambda: len(house.daemon.events("birthdays_refused")) > before, "it says so", 70)


def test_a_member_that_cannot_be_read(house: House) -> None:
    """The member's delivery fails with the database's words; all other members of the campaign are buzzed."""
    scene = house.scene
    program = house.program()
    house.rule(
        "alter view passbell.recipients rename to all_recipients;"
        "create or replace function host_points(p text, b bigint) returns bigint immutable language plpgsql as"
        " $$ begin if p = 'ODD' then return '1,315'::bigint; end if; return b; end $$;"
        "create view passbell.recipients as select pass_id, program_id, passkit_program_id, passkit_id, external_id,"
        " protocol, reachable, opted_in, user_id, email, first_name, last_name, birth_date,"
        " host_points(external_id, points) as points, tier_points, zip, city, last_activity, coupon_expires_on,"
        " redeemed_at, checked_in_at from passbell.all_recipients",
        undo="drop view passbell.recipients; alter view passbell.all_recipients rename to recipients",
    )
    odd = scene.member(program, external_id="ODD")
    scene.publish(program)
    campaign = scene.campaign(program, "You have {points} points")
    row = scene.until(campaign)
    assert (row["status"], row["sent_count"], row["failed_count"]) == ("COMPLETED", 5, 1), row[
        "status_detail"
    ]
    assert scene.ledger(campaign)[odd] == "render_error"
    detail = scene.value(
        "select detail from passbell.deliveries where campaign_id = %s and pass_id = %s", [campaign, odd]
    )
    assert "1,315" in detail


def test_a_trigger_that_names_its_tables_without_a_schema(house: House) -> None:
    """As people write it in Supabase Studio: it finds its table under every role, and nothing is refused."""
    scene = house.scene
    # Where everybody may create in public, as on PostgreSQL 14: the remedy that `check` names (test_refusals.py).
    if scene.value("select passbell.is_open_schema('public')"):
        scene.conn.execute("revoke create on schema public from public")
        migrate(scene.url)
    for table in ("push_campaigns", "notification_logs"):
        house.rule(
            f"create table host_notes_{table} (note text);"  # noqa: S608 - the names are the test's own
            f"create function host_notes_{table}() returns trigger language plpgsql as"
            f" $$ begin insert into host_notes_{table} values ('seen'); return null; end $$;"
            f"create trigger a_host_notes after insert or update on {table}"
            f" for each statement execute function host_notes_{table}()",
            undo=f"drop trigger a_host_notes on {table};"
            f" drop function host_notes_{table}(); drop table host_notes_{table}",
        )
    program = house.program()
    campaign = scene.value("select push_send(%s, 'Hello')", [program])
    assert scene.until(campaign)["status"] == "COMPLETED"
    assert len(scene.logs(campaign)) == 1
    slow = scene.campaign(house.program(20), "Slowly", rate_per_second=1)
    scene.until_sent(slow, 1)
    scene.verb("cancel", slow)
    wait_until(lambda: not scene.waiting(slow), "the cancelled campaign is closed")
    assert scene.value("select count(*) from host_notes_notification_logs") >= 1
