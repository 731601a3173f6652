"""Rules that the host has deferred to the commit: what they refuse stops one piece of work, as with any other rule."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from passbell.database.imports import ImportOrder, apply_import, open_import
from support.due import automation

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop


def late(shop: Shop, table: str, condition: str, events: str = "insert or update") -> None:
    """A constraint trigger that raises at the end of the transaction."""
    shop.conn.execute(
        "create or replace function host_late() returns trigger language plpgsql as"
        f" $$ begin if {condition} then raise 'not today'; end if; return null; end $$;"
        f"create constraint trigger zz_host_late after {events} on {table} deferrable initially deferred"
        " for each row execute function host_late()".encode()
    )


def words(shop: Shop, campaign: UUID) -> str:
    """What people read of a campaign."""
    return str(shop.value("select status_detail from push_progress(%s)", [campaign]))


def test_a_claim_that_skips_members(shop: Shop) -> None:
    """If a program's counters are refused, it is set aside with the rule's words; the other's chunk is claimed."""
    guilty, other = shop.program(), shop.program("Other")
    members = shop.members(guilty, 3)
    shop.members(other, 2)
    bad, good = shop.campaign(guilty), shop.campaign(other)
    shop.start(bad)
    shop.start(good)
    shop.conn.execute("update passes_master set status = 'UNINSTALLED' where id = %s", [members[0]])
    late(shop, "push_campaigns", f"new.id = '{bad}' and new.skipped_count > 0")
    chunks = [chunk for chunk in (shop.chunk(), shop.chunk()) if chunk is not None]
    assert [chunk["campaign_id"] for chunk in chunks] == [good]
    assert "not today" in words(shop, bad)


def test_words_of_a_waiting_campaign(shop: Shop) -> None:
    """What the rule refuses to have said of one campaign is said of the others."""
    guilty, other = shop.program(), shop.program("Other")
    late(shop, "push_campaigns", f"new.program_id = '{guilty}' and new.status_detail is not null", "update")
    shop.campaign(guilty, scheduled_at="2090-01-01 00:00+00")
    good = shop.campaign(other, scheduled_at="2090-01-01 00:00+00")
    shop.conn.execute("select passbell.explain_waiting()")
    assert "Scheduled" in words(shop, good)


@pytest.mark.parametrize("swallows", [False, True], ids=["raises", "swallows"])
def test_an_import_that_may_not_be_begun(shop: Shop, *, swallows: bool) -> None:
    """It pauses, and the next one is claimed: the rule stops no import of another program."""
    guilty, other = shop.program(), shop.program("Other")
    order = "insert into member_imports (program_id, csv_upload_url) values (%s, %s) returning id"
    bad = shop.value(order, [guilty, None])
    good = shop.value(order, [other, "https://example.com/m.csv"])
    if swallows:
        shop.conn.execute(
            "create function host_rule() returns trigger language plpgsql as"
            f" $$ begin if new.program_id = '{guilty}' then return null; end if; return new; end $$;"
            "create trigger zz_host_rule before update on member_imports"
            " for each row execute function host_rule()".encode()
        )
    else:
        late(shop, "member_imports", f"new.program_id = '{guilty}'", "update")
    claim = "select import_id, action, detail from passbell.claim_import(%s)"
    first, second = shop.row(claim, [shop.worker]), shop.row(claim, [shop.worker])
    assert (first["import_id"], first["action"]) == (bad, "failed")
    assert ("swallows" if swallows else "not today") in first["detail"]
    assert (second["import_id"], second["action"]) == (good, "download")


def test_one_row_of_an_import(shop: Shop) -> None:
    """The row that the rule refuses is rejected with its words; the others are taken."""
    late(shop, "users", "new.email like 'bad%%'")
    text = b"email,first_name\nann@example.com,Ann\nbad@example.com,Bad\ncy@example.com,Cy\n"
    held, _ = open_import(shop.conn, ImportOrder(program=shop.program()), io.BytesIO(text))
    done = apply_import(shop.conn, held)
    assert (done["created_count"], done["rejected_count"]) == (2, 1)
    assert "not today" in shop.value("select reason from passbell.import_rows where result = 'rejected'")


def birthday(shop: Shop, count: int) -> tuple[UUID, list[UUID]]:
    """A program, and members whose birthday is today."""
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
    today = shop.born_today()
    return program, [shop.member(program, user={"birth_date": today}) for _ in range(count)]


def test_one_gift(shop: Shop) -> None:
    """The gift that the rule refuses fails with its words; the other members of the day have theirs."""
    program, members = birthday(shop, 3)
    late(shop, "birthday_logs", f"new.pass_id = '{members[1]}'")
    taken = shop.row("select * from run_birthdays(%s)", [program])
    assert (taken["gifted"], taken["failed"]) == (2, 1)
    assert "not today" in shop.value("select reason from passbell.birthday_failures")


def test_an_award_that_needs_its_keys_deferred(shop: Shop) -> None:
    """A host that writes the child before its parent, with a deferred foreign key: all members are gifted."""
    program, _ = birthday(shop, 3)
    shop.conn.execute(
        "create table host_parents (id uuid primary key);"
        "create table host_children (id uuid references host_parents deferrable initially deferred);"
        "create function host_rule() returns trigger language plpgsql as $$ begin"
        " insert into public.host_children values (new.pass_id); insert into public.host_parents values (new.pass_id);"
        " return new; end $$;"
        "create trigger zz_host_rule before insert on birthday_logs for each row execute function host_rule()"
    )
    taken = shop.row("select * from run_birthdays(%s)", [program])
    assert (taken["gifted"], taken["failed"]) == (3, 0)


def test_birthdays_of_all_programs_by_hand(shop: Shop) -> None:
    """One call for all programs: what the rule refuses of one leaves the gifts of the other."""
    guilty, _ = birthday(shop, 1)
    other, _ = birthday(shop, 2)
    late(shop, "push_campaigns", f"new.program_id = '{guilty}'")
    taken = {row["program_id"]: row for row in shop.rows("select * from run_birthdays()")}
    assert (taken[other]["gifted"], taken[guilty]["gifted"]) == (2, 0)
    assert "not today" in shop.value(
        "select detail from passbell.birthday_runs where program_id = %s", [guilty]
    )


@pytest.mark.parametrize("when", ["late", "at once"])
def test_automations_of_all_programs_by_hand(shop: Shop, when: str) -> None:
    """If a rule refuses one program's automation row, the messages of all are sent, and the run says it."""
    programs = [shop.program(), shop.program("Other")]
    made = [automation(shop, program, "EVERY:MON,TUE,WED,THU,FRI,SAT,SUN") for program in programs]
    for program in programs:
        shop.members(program, 2)
    condition = f"new.program_id = '{programs[0]}' and new.last_run_on is not null"
    if when == "late":
        late(shop, "push_automations", condition, "update")
    else:
        shop.conn.execute(
            "create function host_rule() returns trigger language plpgsql as"
            f" $$ begin if {condition} then raise 'not today'; end if; return new; end $$;"
            "create trigger zz_host_rule before update on push_automations"
            " for each row execute function host_rule()".encode()
        )
    fired = {row["automation_id"]: row["fired"] for row in shop.rows("select * from run_automations()")}
    assert fired == dict.fromkeys(made, 2)
    assert "not today" in shop.value(
        "select detail from passbell.automation_runs where automation_id = %s", [made[0]]
    )
