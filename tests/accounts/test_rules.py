"""What the database keeps of accounts, who may write it, and what a program says if no daemon serves its account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from psycopg import sql

from support.tenants import refused

if TYPE_CHECKING:
    from uuid import UUID

    from support.shop import Shop
    from support.tenants import Tenants


def enter(shop: Shop, account: str, **columns: Any) -> None:
    """Write a row of passbell.accounts."""
    names = ["account", *columns]
    query = sql.SQL("insert into passbell.accounts ({}) values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join([sql.Placeholder()] * len(names))
    )
    shop.conn.execute(query, [account, *columns.values()])


def daemon(shop: Shop, *accounts: str, own: str = "host/key") -> UUID:
    """A daemon that runs and serves these accounts."""
    worker = uuid4()
    shop.conn.execute("select passbell.register_worker(%s, 'here', 1, 'p', '1', %s, 50, 3)", [worker, own])
    shop.conn.execute("select passbell.serve_accounts(%s, %s, 50)", [worker, list(accounts)])
    return worker


def numbers(shop: Shop, metric: str) -> dict[str | None, float]:
    return {
        row["label"]: row["value"]
        for row in shop.rows("select * from passbell.queue_state('host/key') where metric = %s", [metric])
    }


def test_a_daemon_looks_at_the_accounts_again_when_their_rows_or_its_own_have_changed(shop: Shop) -> None:
    """A daemon reads the accounts again when their rows or its own change, and not otherwise."""
    enter(shop, "one")
    worker = daemon(shop, "", "one")
    marks = [shop.value("select passbell.accounts_mark(%s)", [worker])]
    for change in (
        "update passbell.accounts set rate_per_second = 7",
        "select passbell.serve_accounts(%(worker)s, array['', 'one'], 50)",
        "update passbell.rate_limits set rate_per_second = 9 where account = 'account:one'",
        "update passbell.accounts set passkit_url = 'https://api.pub2.passkit.io'",
        "update passbell.accounts set message_key = 'news'",
        "insert into passbell.accounts (account) values ('two')",
        "update passbell.accounts set enabled = false where account = 'one'",
        "delete from passbell.accounts where account = 'two'",
        "update passbell.workers set accounts = array['']",
    ):
        shop.conn.execute(change, {"worker": worker} if "%" in change else None)
        marks.append(shop.value("select passbell.accounts_mark(%s)", [worker]))
    assert len(set(marks)) == len(marks)
    shop.conn.execute("select passbell.heartbeat(%s, 'idle')", [worker])
    shop.rows("select * from passbell.account_settings()")
    assert shop.value("select passbell.accounts_mark(%s)", [worker]) == marks[-1]
    shop.conn.execute("delete from passbell.workers")
    assert shop.value("select passbell.accounts_mark(%s)", [worker]) != marks[-1], "it was forgotten"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.pub1.passkit.io",
        "https://api.pub2.passkit.io/",
        "https://gateway.example.com:8443/passkit/v1",
        "http://localhost:8089",
        "http://127.0.0.1:8089/",
        "http://[::1]:8089",
    ],
)
def test_addresses_of_passkit(shop: Shop, url: str) -> None:
    """An account's address may be https anywhere, and http on this machine."""
    enter(shop, "one", passkit_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.pub1.passkit.io",
        "http://127.0.0.1.evil.com",
        "http://127.0.0.1@evil.com",
        "http://127.0.0.1:80@evil.com/",
        "http://localhost.evil.com",
        "http://localhost\\@evil.com",
        "https://user:pw@api.pub1.passkit.io",
        "https://user@api.pub1.passkit.io",
        "https:// api.pub1.passkit.io",
        "https://api.pub1.passkit.io /x",
        "https://api.pub1.passkit.io?key=secret",
        "https://api.pub1.passkit.io/#x",
        "https://api.pub1.passkit.io\nhttps://x",
        "https://",
        "ftp://api.pub1.passkit.io",
        "api.pub1.passkit.io",
        "",
        " https://api.pub1.passkit.io",
    ],
)
def test_addresses_that_would_give_the_key_away_are_refused(shop: Shop, url: str) -> None:
    """An account's address over plain http, to a disguised host, with secrets or with spaces is refused."""
    assert refused(shop.conn, "insert into passbell.accounts values ('one', %s)", [url]) == "23514"


@pytest.mark.parametrize(
    ("first", "second"), [("a-b", "a b"), ("acme", "ACME"), ("Café", "Cafü"), ("x.1", "X_1")]
)
def test_two_accounts_never_read_the_same_variables(shop: Shop, first: str, second: str) -> None:
    """If two names give the same variables, the second account is refused, so no key serves two accounts."""
    enter(shop, first)
    assert refused(shop.conn, "insert into passbell.accounts (account) values (%s)", [second]) == "23505"


@pytest.mark.parametrize("name", ["", " ", " acme", "acme ", "x" * 101, "Blue file", "blue_FILE"])
def test_names_that_no_variable_could_carry(shop: Shop, name: str) -> None:
    """Empty, padded, too long, or taken for the file with another account's key."""
    assert refused(shop.conn, "insert into passbell.accounts (account) values (%s)", [name]) == "23514"


@pytest.mark.parametrize(
    ("column", "value"), [("rate_per_second", 0), ("rate_per_second", "NaN"), ("message_key", "a b")]
)
def test_other_settings_have_bounds(shop: Shop, column: str, value: object) -> None:
    """An account's rate and message key have the same bounds as the daemon's settings."""
    query = sql.SQL("insert into passbell.accounts (account, {}) values ('a', %s)").format(
        sql.Identifier(column)
    )
    assert refused(shop.conn, query, [value]) == "23514"


def test_accounts_are_the_owners(tenants: Tenants) -> None:
    """Servers read them, there is no secret in them; signed-in people see nothing, and neither writes."""
    enter(tenants, "pub2", passkit_url="https://api.pub2.passkit.io")
    for role, user, reads in (
        ("service_role", None, True),
        ("authenticated", tenants.admin_a, False),
        ("anon", None, False),
    ):
        with tenants.acting(role, user) as conn:
            assert (refused(conn, "select * from passbell.accounts") == "") is reads
            for statement in (
                "insert into passbell.accounts (account) values ('mine')",
                "update passbell.accounts set passkit_url = 'https://evil.example.com'",
                "delete from passbell.accounts",
                "truncate passbell.accounts",
            ):
                assert refused(conn, statement) == "42501", statement
            if not reads:
                assert refused(conn, "select * from passbell.account_states()") == "42501"
                assert refused(conn, "select * from passbell.account_settings()") == "42501"
    assert tenants.value("select passkit_url from passbell.accounts") == "https://api.pub2.passkit.io"


def test_only_servers_say_whose_a_program_is(tenants: Tenants) -> None:
    """An administrator may change their program where the platform lets them, its account not, whatever the claims."""
    enter(tenants, "pub2")
    tenants.conn.execute("grant select, insert, update on programs to authenticated")
    tenants.conn.execute(
        "create policy own_update on programs for update to authenticated using (true) with check (true)"
    )
    tenants.conn.execute("create policy own_insert on programs for insert to authenticated with check (true)")
    tenants.conn.execute("create policy own_select on programs for select to authenticated using (true)")
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        move = "update programs set passkit_account = 'pub2' where id = %s"
        assert refused(conn, move, [tenants.a]) == "PB403"
        conn.execute(
            "select set_config('request.jwt.claims', %s, false)", [json.dumps({"role": "service_role"})]
        )
        assert refused(conn, move, [tenants.a]) == "PB403"
        assert (
            refused(
                conn,
                "insert into programs (name, protocol, passkit_account) values ('x', 'MEMBERSHIP', 'pub2')",
            )
            == "PB403"
        )
        assert (
            refused(
                conn, "update programs set name = 'Other', passkit_account = null where id = %s", [tenants.a]
            )
            == ""
        )
    assert tenants.value("select passkit_account from programs where id = %s", [tenants.a]) is None
    with tenants.acting("service_role") as conn:
        conn.execute("update programs set passkit_account = 'pub2' where id = %s", [tenants.a])
    assert tenants.value("select passkit_account from programs where id = %s", [tenants.a]) == "pub2"
    with tenants.acting("authenticated", tenants.admin_a) as conn:
        assert (
            refused(conn, "update programs set passkit_account = null where id = %s", [tenants.a]) == "PB403"
        )


def test_a_campaign_says_why_its_account_sends_nothing(shop: Shop) -> None:
    """If its account is missing, off, served by no daemon or refused by PassKit, the campaign says so and names it."""
    program = shop.program(passkit_account="pub2")
    shop.members(program, 3)
    campaign = shop.campaign(program)
    worker = daemon(shop, "")

    def says() -> str:
        shop.conn.execute("select passbell.explain_waiting('host/key')")
        detail = str(shop.order(campaign)["status_detail"])
        assert shop.value("select passbell.waits_for(%s)", [campaign]) is not None
        return detail

    assert 'there is no PassKit account "pub2"' in says()
    enter(shop, "pub2", enabled=False)
    assert "switched off" in says()
    shop.conn.execute("update passbell.accounts set enabled = true")
    assert "no running daemon has the credentials" in says()
    assert shop.rows("select * from passbell.claim_campaign(%s)", [worker]) == []

    other = daemon(shop, "pub2", own="host/none")
    found = shop.rows("select * from passbell.claim_campaign(%s, p_accounts => array['pub2'])", [other])
    assert [row["campaign_id"] for row in found] == [campaign]
    shop.conn.execute("select passbell.open_breaker('account:pub2', 'credentials', '401')")
    assert 'refuses the credentials for the account "pub2" (401)' in says()
    assert (
        shop.rows("select * from passbell.claim_chunk(%s, 'host/none', p_accounts => array['pub2'])", [other])
        == []
    )
    shop.conn.execute("select passbell.close_breaker('account:pub2')")
    assert shop.order(campaign)["status_detail"] is None
    chunk = shop.row(
        "select * from passbell.claim_chunk(%s, 'host/none', p_accounts => array['pub2'])", [other]
    )
    assert chunk["account"] == "pub2"

    for _ in range(5):  # refused second after second, each time for a moment
        shop.conn.execute("select passbell.throttle('account:pub2')")
        shop.conn.execute("update passbell.rate_limits set cut_at = cut_at - interval '1 second'")
    assert 'answers 429, too many requests for the account "pub2"' in says()
    shop.conn.execute("update passbell.rate_limits set cut_at = cut_at - interval '5 seconds'")
    shop.conn.execute("select passbell.explain_waiting('host/key')")
    assert shop.order(campaign)["status_detail"] is None


def test_a_daemon_without_credentials_of_its_own(shop: Shop) -> None:
    """Programs that name no account wait and say so, unless another daemon serves them."""
    program = shop.program()
    shop.members(program, 3)
    campaign = shop.campaign(program)
    enter(shop, "pub2")
    daemon(shop, "pub2", own="host/none")
    shop.conn.execute("select passbell.explain_waiting('host/none')")
    assert "programs that name none" in str(shop.order(campaign)["status_detail"])
    assert "programs that name none" in shop.value("select passbell.waits_for(%s)", [campaign])

    daemon(shop, "", own="host/key")
    shop.start(campaign)
    shop.conn.execute("select passbell.open_breaker('host/key', 'outage', '503')")
    for asking in ("host/none", "host/key", "host/none"):
        shop.conn.execute("select passbell.explain_waiting(%s)", [asking])
        assert "does not answer (503)" in str(shop.order(campaign)["status_detail"]), asking
    assert "does not answer (503)" in shop.value("select passbell.waits_for(%s)", [campaign])


def test_one_account_in_trouble_leaves_the_claims_of_the_others(shop: Shop) -> None:
    """If one account is off, paused or its breaker open, a daemon gets chunks of the other accounts only."""
    orders = {}
    for name in ("bad", "good"):
        enter(shop, name)
        program = shop.program(passkit_account=name)
        shop.members(program, 4)
        orders[name] = shop.campaign(program)
    worker = daemon(shop, "bad", "good")
    names = ["bad", "good"]
    for _ in names:
        shop.row("select * from passbell.claim_campaign(%s, 1, p_accounts => %s)", [worker, names])

    def claims() -> str:
        (row,) = shop.rows(
            "select * from passbell.claim_chunk(%s, 'host/key', p_accounts => %s)", [worker, names]
        )
        return str(row["account"])

    for trouble, remedy in (
        (
            "select passbell.open_breaker('account:bad', 'outage', '503')",
            "select passbell.close_breaker('account:bad')",
        ),
        (
            "update passbell.rate_limits set blocked_until = now() + interval '1 hour' where account = 'account:bad'",
            "update passbell.rate_limits set blocked_until = '-infinity' where account = 'account:bad'",
        ),
        (
            "update passbell.accounts set enabled = false where account = 'bad'",
            "update passbell.accounts set enabled = true where account = 'bad'",
        ),
    ):
        shop.conn.execute(trouble)
        assert claims() == "good"
        shop.conn.execute(remedy)
    assert {claims(), claims()} <= {"good", "bad"}


def test_a_chunk_in_hand_stops_when_its_account_is_left(shop: Shop) -> None:
    """If an account is switched off or deleted, or the program moved, the chunk in hand stops."""
    enter(shop, "one")
    enter(shop, "two")
    program = shop.program(passkit_account="one")
    shop.members(program, 3)
    campaign = shop.campaign(program)
    worker = daemon(shop, "one", "two")
    shop.row("select * from passbell.claim_campaign(%s, p_accounts => array['one', 'two'])", [worker])
    chunk = shop.row("select * from passbell.claim_chunk(%s, p_accounts => array['one', 'two'])", [worker])
    assert chunk["campaign_id"] == campaign

    def goes_on() -> bool:
        return bool(
            shop.value(
                "select go_on from passbell.renew_leases(%s, %s, 60)", [worker, [chunk["claim_token"]]]
            )
        )

    assert goes_on()
    for trouble, remedy in (
        (
            "update passbell.accounts set enabled = false where account = 'one'",
            "update passbell.accounts set enabled = true where account = 'one'",
        ),
        ("update programs set passkit_account = 'two'", "update programs set passkit_account = 'one'"),
        ("update programs set passkit_account = null", "update programs set passkit_account = 'one'"),
        (
            "delete from passbell.accounts where account = 'one'",
            "insert into passbell.accounts values ('one')",
        ),
    ):
        shop.conn.execute(trouble)
        assert not goes_on(), trouble
        shop.conn.execute(remedy)
        assert goes_on(), remedy


def test_numbers_of_each_account(shop: Shop) -> None:
    """Breaker, pause, rate and whether anybody serves it, by account; what waits for a key is not stuck."""
    enter(shop, "eu/one", rate_per_second=20)
    enter(shop, "us", rate_per_second=30)
    enter(shop, "off", enabled=False)
    for name in ("eu/one", "us", "us", "off", "tpyo"):
        shop.program(passkit_account=name)
    waiting = shop.campaign(shop.value("select id from programs where passkit_account = 'us' limit 1"))
    shop.conn.execute("alter table push_campaigns disable trigger user")
    shop.conn.execute(
        "update push_campaigns set submitted_at = now() - interval '1 hour' where id = %s", [waiting]
    )
    shop.conn.execute("alter table push_campaigns enable trigger user")
    daemon(shop, "", "eu/one")
    shop.conn.execute("select passbell.open_breaker('account:eu/one', 'credentials', '401')")

    assert numbers(shop, "breaker")["credentials/eu/one"] == 1
    assert numbers(shop, "breaker")["credentials"] == numbers(shop, "breaker")["outage/eu/one"] == 0
    assert numbers(shop, "rate") == {None: 50, "eu/one": 20, "us": 30, "off": 0, "tpyo": 0}
    assert numbers(shop, "served") == {"eu/one": 1, "us": 0, "off": 0, "tpyo": 0}
    assert numbers(shop, "unserved") == {"eu/one": 0, "us": 2, "off": 0, "tpyo": 1}
    assert numbers(shop, "oldest")["PENDING"] == 0
    panel = {row["account"]: row for row in shop.rows("select * from passbell.account_list()")}
    assert panel.keys() == {"host/key", "eu/one", "us", "off", "tpyo"}
    assert panel["host/key"]["served"]
    assert panel["host/key"]["trouble"] is None
    assert panel["eu/one"]["breaker"] == "open"
    assert "no running daemon" in panel["us"]["trouble"]
    assert "switched off" in panel["off"]["trouble"]
