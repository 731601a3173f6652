"""Fifty PassKit accounts that have nothing to send cost a daemon no more than one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from support.processes import Daemon
from support.scene import FAST
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeDatabase

ACCOUNTS = [f"client-{number}" for number in range(50)]
WORK = ("claim_campaign", "claim_chunk", "claim_probe", "take_slots")
"""What the daemon calls for an account that has something to do."""
ACCOUNT_ROWS = ("account_settings", "serve_accounts")
"""What it calls when a row of passbell.accounts has changed."""


@pytest.fixture
def passkit() -> Iterator[socket.socket]:
    """A PassKit that answers nothing: only who connects is of interest."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener


@pytest.fixture
def agency(database: MakeDatabase, passkit: socket.socket) -> Iterator[Shop]:
    """A shop with a program in each of fifty accounts, in a database that counts the calls of functions."""
    made = Shop(database("2"), "2")
    name = made.value("select current_database()")
    made.conn.execute(f"alter database {name} set track_functions = 'all'")
    for account in ACCOUNTS:
        made.conn.execute(
            "insert into passbell.accounts (account, passkit_url) values (%s, %s)",
            [account, f"http://127.0.0.1:{passkit.getsockname()[1]}"],
        )
        made.members(made.program(account, passkit_account=account), 1)
    yield made
    made.close()


def calls(shop: Shop) -> dict[str, int]:
    """How often each function of passbell was called so far."""
    rows = shop.rows("select funcname, calls from pg_stat_user_functions where schemaname = 'passbell'")
    return {row["funcname"]: row["calls"] for row in rows}


def test_fifty_idle_accounts_ask_one_question_per_poll_and_hold_no_connection(
    agency: Shop, passkit: socket.socket
) -> None:
    """The poll asks for all of them together, nobody connects to PassKit; an order is sent all the same."""
    daemon = Daemon(agency.url, f"http://127.0.0.1:{passkit.getsockname()[1]}", **FAST)
    for variable in ("PASSBELL_PASSKIT_API_KEY", "PASSBELL_PASSKIT_API_SECRET"):
        daemon.settings.pop(variable, None)
    for account in ACCOUNTS:
        suffix = account.upper().replace("-", "_")
        daemon.settings |= {
            f"PASSBELL_PASSKIT_API_KEY__{suffix}": f"key-of-{account}",
            f"PASSBELL_PASSKIT_API_SECRET__{suffix}": f"secret-of-{account}",
        }
    with daemon:
        wait_until(
            lambda: set(agency.value("select accounts from passbell.workers")) >= set(ACCOUNTS),
            "all accounts are served",
        )
        # A session that falls idle counts its last calls ten seconds later: look when those of the start are counted.
        begun = calls(agency).get("work_waiting", 0)
        wait_until(lambda: calls(agency).get("work_waiting", 0) >= begun + 24, "the start is over", 60)
        before = calls(agency)

        def since(name: str) -> int:
            return calls(agency).get(name, 0) - before.get(name, 0)

        wait_until(lambda: since("work_waiting") >= 12, "the poll has asked twelve times", 60)
        assert sum(since(name) for name in WORK) == 0, "claims that come round by themselves"
        assert sum(since(name) for name in ACCOUNT_ROWS) == 0, "nothing has changed"
        passkit.settimeout(0)
        with pytest.raises(BlockingIOError):
            passkit.accept()
        passkit.settimeout(30)

        program = agency.value(
            "select id from programs where passkit_account = %s order by id limit 1", [ACCOUNTS[7]]
        )
        agency.campaign(program)
        connection, _ = passkit.accept()
        connection.close()
