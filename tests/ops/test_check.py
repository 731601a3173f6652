"""`passbell check` says in plain words what is wrong and what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from psycopg import sql

from support.pages import free_port
from support.plain import plain_client, plain_post
from support.pooler import DeafPooler
from support.processes import SANDBOX_CREDENTIALS, Command, Sandbox
from support.roles import role_url

if TYPE_CHECKING:
    from support.shop import MakeShop, Shop


def check(url: str, **settings: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit code, and the findings by name."""
    environment = {"PASSBELL_DATABASE_URL": url, "PASSBELL_DRY_RUN": "true"} | {
        f"PASSBELL_{name}": value for name, value in settings.items()
    }
    with Command("check", "--json", settings=environment | SANDBOX_CREDENTIALS) as running:
        code = running.wait()
        assert "Traceback" not in running.log
        named: dict[str, list[dict[str, Any]]] = {}
        for finding in json.loads(running.output)["checks"]:
            named.setdefault(finding["name"], []).append(finding)
        return code, named


def test_all_is_well(shop: Shop) -> None:
    """On a good database it ends with 0: columns, rights and notifications are fine, and no daemon runs yet."""
    shop.members(shop.program(), 3)
    code, named = check(shop.url)
    assert code == 0
    assert named["host columns"][0]["ok"] is True
    assert named["rights"][0]["ok"] is True
    assert named["notifications"][0]["ok"] is True
    assert "passbell run" in named["daemons"][0]["detail"]


def test_settings_of_the_role_that_are_in_the_way(shop: Shop) -> None:
    """`check` names settings of the role such as read-only or a short time-out, with the remedy."""
    database = sql.Identifier(urlsplit(shop.url).path.removeprefix("/"))
    for setting in (
        "synchronous_commit = off",
        "statement_timeout = '2s'",
        "default_transaction_isolation = serializable",
    ):
        shop.conn.execute(sql.SQL("alter database {} set " + setting).format(database))  # type: ignore[arg-type]
    with role_url(shop.url, "passbell_daemon"), role_url(shop.url, "passbell_web"):
        for setting in (
            "passbell_daemon in database {} set statement_timeout = '1min'",
            "passbell_web in database {} set default_transaction_read_only = on",
        ):
            shop.conn.execute(sql.SQL("alter role " + setting).format(database))  # type: ignore[arg-type]
        code, named = check(shop.url)
    assert code == 1
    told = {finding["detail"].partition(":")[0]: finding["ok"] for finding in named["session settings"]}
    assert told == {
        "synchronous_commit is off for the role postgres": None,
        "statement_timeout is 2000 for the role postgres": None,
        "default_transaction_isolation is serializable for the role postgres": None,
        "default_transaction_read_only is on for the role passbell_web": False,
    }
    assert all("alter role" in finding["detail"] for finding in named["session settings"])


def test_a_database_that_is_read_only_by_default(shop: Shop) -> None:
    """If the database is read-only by default, `check` says once that nothing can be sent."""
    database = sql.Identifier(urlsplit(shop.url).path.removeprefix("/"))
    shop.conn.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(database))
    code, named = check(shop.url)
    assert code == 1
    assert any("nothing is sent" in finding["detail"] for finding in named["session settings"])


def test_missing_columns_are_told_with_what_follows(make_shop: MakeShop) -> None:
    """On the oldest tables each missing column is named, with what passbell does instead."""
    shop = make_shop("1_bare")
    code, named = check(shop.url)
    told = "\n".join(finding["detail"] for finding in named["host columns"])
    assert code == 0
    assert "passes_master.points_balance is missing: {points} and WHALE read protocol_membership" in told
    assert "programs.is_suspended is missing: there is no kill switch per program" in told


def test_lost_unique_constraint(make_shop: MakeShop) -> None:
    """birthday_logs without UNIQUE (pass_id, year), with duplicates in it: told, with what to do."""
    shop = make_shop("3")
    pass_id = shop.member(shop.program())
    for row in shop.rows(
        "select conname from pg_constraint where conrelid = 'birthday_logs'::regclass and contype = 'u'"
    ):
        shop.conn.execute(f"alter table birthday_logs drop constraint {row['conname']}")
    shop.conn.execute("drop index if exists birthday_logs_pass_id_year_once")
    for _ in range(2):
        shop.conn.execute(
            "insert into birthday_logs (pass_id, year, points_awarded) values (%s, 2026, 1)", [pass_id]
        )
    code, named = check(shop.url)
    assert code == 1
    assert "UNIQUE (pass_id, year)" in named["installation"][0]["detail"]


def test_an_unreachable_listen_url(shop: Shop) -> None:
    """PASSBELL_LISTEN_URL that does not answer is told apart from the database itself."""
    parts = urlsplit(shop.url)
    wrong = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{free_port()}"))
    code, named = check(shop.url, LISTEN_URL=wrong)
    assert code == 1
    assert named["notifications"][0]["detail"].startswith("PASSBELL_LISTEN_URL:")
    assert named["database"][0]["ok"] is True


def test_an_old_schema_ends_the_look(make_shop: MakeShop) -> None:
    """Behind this program: `migrate` is named, and nothing else is guessed at."""
    shop = make_shop("2")
    shop.conn.execute("update passbell.settings set schema_version = 1, bundle = 'old'")
    code, named = check(shop.url)
    assert code == 1
    assert "passbell migrate" in named["schema"][0]["detail"]
    assert "rights" not in named


@pytest.mark.parametrize(
    ("message", "ok", "words"),
    [
        ("%@", True, "rings"),
        ("New points", False, "no %@"),
        (None, False, "has no field meta.marketingMessage"),
    ],
)
def test_a_template_that_does_not_ring(shop: Shop, message: str | None, ok: bool, words: str) -> None:  # noqa: FBT001
    """If the template lacks our field, or its %@, `check` says so, because no phone would buzz."""
    shop.program(passkit_program_id="pkTea")
    fields = [{"name": "person.displayName"}]
    if message is not None:
        fields.append({"name": "meta.marketingMessage", "changeMessage": message})
    with Sandbox() as sandbox:
        seed = {"owners": [{"id": "pkTea", "fields": fields}]}
        plain_post(f"{sandbox.url}/sandbox/seed", json=seed).raise_for_status()
        code, named = check(shop.url, DRY_RUN="false", PASSKIT_URL=sandbox.url)
    assert named["template"][0]["ok"] is ok
    assert words in named["template"][0]["detail"]
    assert code == (0 if ok else 1)


@pytest.mark.parametrize(("seconds", "ok"), [(0, True), (90, False), (-90, False)])
def test_a_wrong_clock(shop: Shop, seconds: int, ok: bool) -> None:  # noqa: FBT001
    """A clock that is beside PassKit's is told in seconds, with what to do; tokens would be refused for it."""
    with Sandbox() as sandbox, plain_client(base_url=sandbox.url) as remote:
        if seconds:
            fault = {"kind": "clock_skew", "seconds": seconds}
            remote.post("/sandbox/faults", json=fault).raise_for_status()
        code, named = check(shop.url, DRY_RUN="false", PASSKIT_URL=sandbox.url)
    (clock,) = named["clock"]
    assert clock["ok"] is ok
    assert code == (0 if ok else 1)
    if not ok:
        told = float(clock["detail"].split(" s ", maxsplit=1)[0])
        assert abs(told + seconds) < 10 or abs(told - seconds) < 10
        assert "switch on time synchronisation (NTP)" in clock["detail"]


def test_a_transaction_pooler(shop: Shop) -> None:
    """Behind a pooler LISTEN is taken and never answered: told with the variable to set; with that set all is well."""
    with DeafPooler(shop.url) as pooler:
        code, named = check(pooler.url)
        assert pooler.swallowed > 0
        assert code == 0  # polling works all the same
        assert named["notifications"][0]["ok"] is None
        assert "as behind a transaction pooler" in named["notifications"][0]["detail"]
        assert "set PASSBELL_LISTEN_URL to a direct connection" in named["notifications"][0]["detail"]
        _, named = check(pooler.url, LISTEN_URL=shop.url)
        assert named["notifications"][0]["ok"] is True


@pytest.mark.parametrize("role", ["passbell_daemon", "passbell_web"])
def test_our_own_roles_have_what_they_need(shop: Shop, role: str) -> None:
    """Under passbell_daemon or passbell_web `check` finds all rights, and says what it could not check."""
    shop.members(shop.program(), 3)
    with role_url(shop.url, role) as url:
        code, named = check(url)
    assert code == 0
    assert named["rights"] == [
        {"name": "rights", "ok": True, "detail": f"the role {role} has what it needs"},
    ]
    assert "host tables" in named["not looked at"][0]["detail"]
    assert named["schema"][0]["ok"] is True


def test_missing_grants(shop: Shop) -> None:
    """`check` names a role without rights, and the rights that another has lost."""
    name = f"stranger_{uuid4().hex[:8]}"
    with role_url(shop.url, name) as url:
        code, named = check(url)
        assert code == 1
        assert "may not do this" in named["schema"][0]["detail"]
        assert "connect as the owner" in named["schema"][0]["detail"]
        shop.conn.execute(f"grant usage on schema passbell to {name}")
        shop.conn.execute(f"grant select on all tables in schema passbell to {name}")
        code, named = check(url)
        assert code == 1
        assert f"the role {name} may not call passbell's functions" in named["rights"][0]["detail"]


def test_row_level_security_that_was_switched_off(make_shop: MakeShop) -> None:
    """If row security is off, or service_role lacks rights, `check` says so with the command that corrects it."""
    shop = make_shop("3", supabase=True)
    shop.conn.execute("alter table push_campaigns disable row level security")
    shop.conn.execute("revoke all on push_campaigns from service_role")
    code, named = check(shop.url)
    assert code == 1
    told = " ".join(finding["detail"] for finding in named["rights"])
    assert "row level security of push_campaigns is off: run `passbell migrate`" in told
    assert "service_role may not write push_campaigns: run `passbell migrate`" in told


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("http://passkit.invalid", True),
        ("http://localhost.invalid:1", True),
        ("http://2130706434:1", True),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("https://passkit.invalid", False),
    ],
)
def test_plain_http_beyond_this_machine(shop: Shop, address: str, *, refused: bool) -> None:
    """`check` fails if the key of any account would travel over plain http to another machine."""
    code, named = check(shop.url, DRY_RUN="false", PASSKIT_URL=address)
    told = [finding for finding in named["configuration"] if "plain http" in finding["detail"]]
    assert [finding["ok"] for finding in told] == [False] * refused
    assert code == 1


def test_plain_http_to_a_sandbox_beside_the_container(shop: Shop) -> None:
    """`http://sandbox:8090` of compose.yaml is said and does not fail: no server of the internet has such a name."""
    _, named = check(shop.url, DRY_RUN="false", PASSKIT_URL="http://sandbox:8090")
    told = [finding for finding in named["configuration"] if "plain http" in finding["detail"]]
    assert [finding["ok"] for finding in told] == [None]
    assert "plain http to sandbox" in told[0]["detail"]
