"""Names and texts longer than people type: refused or cut before they are copied into every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.tenants import refused

if TYPE_CHECKING:
    from support.tenants import Tenants

HUGE = 4_000_000


def test_an_order_of_megabytes_is_refused(tenants: Tenants) -> None:
    """Name, text, target and address of a campaign and of an import have limits; the sentence names them."""
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        insert = "insert into push_campaigns (program_id, message_text, name) values (%s, %s, %s)"
        assert refused(conn, insert, [tenants.a, "x", "n" * HUGE]) == "PB400"
        assert refused(conn, insert, [tenants.a, "x" * HUGE, "n"]) == "PB400"
        for column in ("target_query", "csv_upload_url", "status"):
            statement = (
                f"insert into push_campaigns (program_id, message_text, {column}) values (%s, 'x', %s)"  # noqa: S608
            )
            assert refused(conn, statement, [tenants.a, "x" * HUGE]) in {"PB400", "PB422"}, column
        assert refused(conn, "select push_send(%s, 'x', 'ALL', %s)", [tenants.a, "n" * HUGE]) == "PB400"
        assert refused(conn, "select push_send(%s, %s)", [tenants.a, "x" * HUGE]) == "PB400"
        update = "update push_campaigns set name = %s where id = %s"
        assert refused(conn, update, ["n" * HUGE, tenants.running[tenants.a]]) == "PB400"
        assert refused(conn, insert, [tenants.a, "x", "n" * 900]) == ""
        imported = "insert into member_imports (program_id, csv_upload_url, name) values (%s, %s, %s)"
        assert refused(conn, imported, [tenants.a, "https://x.example", "n" * HUGE]) == "PB400"
        assert refused(conn, imported, [tenants.a, "https://x.example/" + "x" * HUGE, "n"]) == "PB400"
    assert tenants.value("select max(length(name)) from push_campaigns") == 200
    assert tenants.value("select max(length(p::text)) from push_campaigns p") < 5000


def test_a_row_that_was_long_before_can_be_cancelled(tenants: Tenants) -> None:
    """An older campaign with a text above today's limit can still be sent and cancelled."""
    campaign, other = tenants.running[tenants.a], tenants.running[tenants.b]
    tenants.conn.execute("set session_replication_role = replica")
    tenants.conn.execute(
        "update push_campaigns set name = repeat('n', 2000) where id = any (%s)", [[campaign, other]]
    )
    tenants.conn.execute("set session_replication_role = origin")
    tenants.verb("cancel", campaign)
    tenants.send_chunks()
    assert tenants.status(campaign) == "CANCELLED"
    assert tenants.status(other) == "COMPLETED"
    assert tenants.value("select length(name) from passbell.campaign_card(%s)", [other]) == 200


def test_a_members_name_of_megabytes_is_cut(tenants: Tenants) -> None:
    """A member's name of megabytes is cut in texts, samples, the calendar and the ledger of the page."""
    tenants.send_chunks()
    one = tenants.member(
        tenants.a,
        user={"first_name": "N" * HUGE, "birth_date": "1990-01-01", "last_name": "L" * HUGE},
        external_id="LONG",
    )
    campaign = tenants.campaign(tenants.a, "Hi {first_name}, {last_name}!", target_query="IDS:LONG")
    tenants.start(campaign)
    chunk = tenants.chunk()
    assert chunk is not None
    assert chunk["pass_ids"] == [one]
    assert chunk["texts"] == [f"Hi {'N' * 200}, {'L' * 200}!"]
    tenants.finish(chunk)
    for query, values in (
        ("select * from passbell.sample_messages(%s, 'Hi {first_name}', 'IDS:LONG')", [tenants.a]),
        ("select * from passbell.delivery_page(%s)", [campaign]),
        ("select * from passbell.birthdays_today(%s, '2030-01-01')", [tenants.a]),
        ("select * from passbell.birthdays_ahead(%s, 400, 400)", [tenants.a]),
    ):
        assert len(str(tenants.rows(query, values))) < 20_000, query
