"""The host's rules, without a daemon: what they refuse is said, and hinders no other campaign."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from passbell.database.migrate import migrate

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop


def trigger(shop: Shop, body: str, table: str = "push_campaigns", when: str = "before") -> None:
    """A trigger of the host's; `mended` takes it away."""
    shop.conn.execute(
        f"create function host_rule() returns trigger language plpgsql as $$ begin {body} return new; end $$;"
        f"create trigger zz_host_rule {when} insert or update on {table}"
        " for each row execute function host_rule()".encode()
    )


def mended(shop: Shop) -> None:
    """Without the host's rule, with every pause over and the rest sent."""
    shop.conn.execute("drop function host_rule() cascade")
    shop.conn.execute("update passbell.set_aside set next_look_at = '-infinity'")
    shop.conn.execute("update passbell.owed_logs set next_try_at = '-infinity'")
    shop.conn.execute("select passbell.look_again()")
    shop.send_chunks()


def started(shop: Shop, passes: int = 4, size: int = 2) -> UUID:
    """A campaign whose audience is frozen into chunks."""
    program = shop.program()
    shop.members(program, passes)
    campaign = shop.campaign(program)
    shop.start(campaign, size=size)
    return campaign


def words(shop: Shop, campaign: object) -> str:
    """What people read of a campaign."""
    return str(shop.value("select status_detail from push_progress(%s)", [campaign]))


COUNTERS = {
    "set to nothing": "if tg_op = 'UPDATE' then new.sent_count := 0; end if;",
    "never more than three": "if tg_op = 'UPDATE' then new.sent_count := least(new.sent_count, 3); end if;",
    "far too many": "if new.sent_count > 0 then new.sent_count := 900; end if;",
    "at the end": "if new.status = 'COMPLETED' then new.sent_count := 1; end if;",
    "the recipients": "if new.sent_count > 0 then new.recipient_count := 3; end if;",
}


@pytest.mark.parametrize("body", COUNTERS.values(), ids=COUNTERS.keys())
def test_counters_that_a_trigger_rewrites(shop: Shop, body: str) -> None:
    """The campaign does not end with wrong counts: it says what changes them, and ends right when it is gone."""
    campaign = started(shop)
    trigger(shop, body)
    shop.send_chunks()
    assert shop.status(campaign) == "PROCESSING"
    assert "changes the counters" in words(shop, campaign)
    assert set(shop.ledger(campaign).values()) == {"sent"}
    assert not [row for row in shop.violations() if "counters" in row["violation"]]
    mended(shop)
    order = shop.order(campaign)
    assert (order["status"], order["sent_count"], order["recipient_count"]) == ("COMPLETED", 4, 4)
    assert len(shop.logs(campaign)) == 1
    assert shop.violations() == []


@pytest.mark.parametrize(
    "how",
    [
        "raise 'the desk is closed' using errcode = '55P03'",
        "assert false, 'the desk is closed'",
        "raise 'the desk is closed' using errcode = '57014'",
        "raise 'the desk is closed' using errcode = '40001'",
        "raise 'the desk is closed' using errcode = '25006'",
        "raise 'the desk is closed' using errcode = 'PB412'",
        "raise 'the desk is closed' using errcode = 'XX000'",
    ],
)
def test_whatever_a_rule_raises_its_words_are_told(shop: Shop, how: str) -> None:
    """Whatever error a rule of the host raises, its campaign quotes it, and the others are served."""
    campaign = started(shop)
    trigger(shop, f"if new.sent_count > 0 and new.id = '{campaign}' then {how}; end if;")
    shop.send_chunks()
    assert "the desk is closed" in words(shop, campaign)
    assert set(shop.ledger(campaign).values()) == {"sent"}
    other = started(shop)
    shop.send_chunks()
    assert shop.status(other) == "COMPLETED"
    mended(shop)
    assert shop.status(campaign) == "COMPLETED"


def test_an_assertion_before_the_start_fails_the_campaign(shop: Shop) -> None:
    """ASSERT is an error that WHEN OTHERS does not catch: the claim answers it all the same."""
    program = shop.program()
    shop.members(program, 2)
    trigger(shop, "assert new.status <> 'PROCESSING', 'the desk is closed';")
    campaign = shop.campaign(program)
    assert (shop.claim() or {})["action"] == "failed"
    assert "the desk is closed" in shop.order(campaign)["status_detail"]


@pytest.mark.parametrize("column", ["failed_count", "campaign_name", "target_segment"])
def test_an_audit_table_that_computes_a_column(shop: Shop, column: str) -> None:
    """A generated column is left out: the row is there when the campaign shows COMPLETED, and follows a retry."""
    kind = shop.value(
        "select format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = 'notification_logs'::regclass and attname = %s",
        [column],
    )
    value = "7" if column == "failed_count" else "'computed'"
    shop.conn.execute(
        f"alter table notification_logs drop column {column};"
        f"alter table notification_logs add {column} {kind} generated always as ({value}) stored".encode()
    )
    campaign = started(shop, passes=3, size=3)
    chunk = shop.chunk()
    assert chunk is not None
    shop.finish(chunk, ["rejected", "sent", "sent"])
    assert shop.status(campaign) == "COMPLETED"
    (row,) = shop.logs(campaign)
    assert row["success_count"] == 2
    assert shop.rows("select * from passbell.owed_logs") == []
    shop.verb("retry_failed", campaign)
    shop.send_chunks()
    (row,) = shop.logs(campaign)
    assert row["success_count"] == 3
    assert str(row[column]) == value.strip("'")


def test_everybody_may_create_in_public(shop: Shop) -> None:
    """As PostgreSQL 14 is by default: a trigger that names no schema stops the campaign, with the remedy beside it."""
    shop.conn.execute("grant create on schema public to public")
    migrate(shop.url)
    shop.conn.execute("create table host_notes (note text)")
    trigger(shop, "insert into host_notes values (new.name);", when="after")
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    shop.claim()
    assert "revoke create on schema public from public" in words(shop, campaign)
    (warning,) = shop.rows("select warning from passbell.migration_warnings()")
    assert "zz_host_rule on public.push_campaigns" in warning["warning"]
    assert "revoke create on schema public from public" in warning["warning"]
    shop.conn.execute("revoke create on schema public from public")
    migrate(shop.url)
    second = shop.campaign(program, "Something else")
    shop.claim()
    assert shop.status(second) == "PROCESSING"
    assert shop.rows("select warning from passbell.migration_warnings()") == []


def test_opt_outs_that_cannot_be_read_stop_what_is_in_hand(shop: Shop) -> None:
    """A chunk handed out before is stopped as well, by the next look at its lease."""
    started(shop)
    chunk = shop.chunk()
    assert chunk is not None
    look = "select go_on from passbell.renew_leases(%s, %s, 60)"
    assert shop.value(look, [shop.worker, [chunk["claim_token"]]]) is True
    shop.conn.execute("alter table users rename column marketing_opt_in to wants_news")
    shop.conn.execute("select passbell.look_at_consent()")
    assert shop.value(look, [shop.worker, [chunk["claim_token"]]]) is False


AHEAD = (
    *(
        "lease_until",
        "not_before",
        "next_try_at",
        "next_look_at",
        "next_slot",
        "blocked_until",
        "probe_at",
        "ends_at",
    ),
)
"""How columns are called whose moment is waited for."""


def test_a11_a_clock_that_was_set_back_moves_every_lease(shop: Shop) -> None:
    """If the clock is set back, every stored moment that is waited for moves back as far."""
    found = shop.rows(
        "select c.relname as relation, a.attname as name from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'passbell'::regnamespace and c.relkind = 'r'"
        "   and a.attname = any (%s) and not a.attisdropped",
        [list(AHEAD)],
    )
    columns = {(row["relation"], row["name"]) for row in found}
    leased = {"chunks", "list_loads", "import_leases", "birthday_runs", "automation_runs"}
    assert {relation for relation, _ in columns} >= leased | {"owed_logs", "set_aside", "rate_limits"}
    body = shop.value("select prosrc from pg_proc where proname = 'notice_clock'")
    for relation, name in columns:
        assert f"update passbell.{relation} " in body, relation
        assert f"{name} = " in body.partition(f"update passbell.{relation} ")[2].partition(";")[0], (
            relation,
            name,
        )
    program = shop.program()
    hour = timedelta(hours=1)
    shop.conn.execute("select passbell.register_worker(%s, 'h', 1, 'p', 'v', 'test', 50, 3)", [shop.worker])
    shop.conn.execute(
        "insert into passbell.birthday_runs (program_id, local_date, lease_until, not_before)"
        " values (%(program)s, '2026-05-05', now() + %(ahead)s, '-infinity')",
        {"program": program, "ahead": hour + timedelta(seconds=50)},
    )
    campaign = shop.campaign(program)
    shop.conn.execute(
        "insert into passbell.owed_logs (campaign_id, since, next_try_at, reason) values (%s, now(), now() + %s, '')",
        [campaign, hour + timedelta(seconds=50)],
    )
    shop.conn.execute("update passbell.settings set clock_seen_at = clock_timestamp() + %s", [hour])
    shop.conn.execute("select passbell.heartbeat(%s, '')", [shop.worker])
    for column in ("birthday_runs.lease_until", "owed_logs.next_try_at"):
        relation, name = column.split(".")
        assert shop.value(
            f"select {name} between now() + '30 s' and now() + '51 s' from passbell.{relation}"  # noqa: S608
        ), column
    assert shop.value("select not_before = '-infinity' from passbell.birthday_runs")


def test_many_locked_members_cost_seconds(shop: Shop) -> None:
    """Forty members in an open transaction delay a birthday run by three seconds; all others get their gifts."""
    program = shop.program(birthday_bot_enabled=True, birthday_reward_points=5, birthday_send_at="00:00")
    today = shop.born_today()
    members = [shop.member(program, user={"birth_date": today}) for _ in range(45)]
    with psycopg.connect(shop.url) as other:
        other.execute("select from passes_master where id = any (%s) for update", [members[:40]])
        shop.conn.execute("set statement_timeout = '40s'")  # three seconds each would not be through by then
        taken = shop.row("select * from run_birthdays(%s)", [program])
        assert (taken["gifted"], taken["failed"]) == (5, 40)
        reasons = shop.rows("select distinct reason from passbell.birthday_failures")
        assert ["lock" in row["reason"] for row in reasons] == [True]
    assert shop.row("select * from run_birthdays(%s)", [program])["gifted"] == 40


def test_no_lock_that_a_login_may_take_stops_a_campaign(shop: Shop) -> None:
    """Advisory locks are anybody's: a stranger who holds those that claims took before stops nothing."""
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    with psycopg.connect(shop.url) as stranger:
        for kind in ("test", "campaign"):
            stranger.execute(
                "select pg_advisory_lock(hashtextextended(%s, 0))", [f"passbell claims a {kind} of {program}"]
            )
        shop.start(campaign)


def test_a_trigger_that_deletes_what_has_ended(shop: Shop) -> None:
    """The platform tidies up finished campaigns by itself: no audit row without a campaign, the others go on."""
    campaign = started(shop)
    trigger(
        shop,
        "if new.status = 'COMPLETED' then delete from push_campaigns where id = new.id; end if;",
        when="after",
    )
    shop.send_chunks()
    assert shop.rows("select from push_campaigns where id = %s", [campaign]) == []
    assert shop.rows("select from notification_logs where campaign_id is null") == []
    assert shop.rows("select from passbell.deliveries where campaign_id = %s", [campaign]) == []
    mended(shop)
    other = started(shop)
    shop.send_chunks()
    assert shop.status(other) == "COMPLETED"
