"""Several PassKit accounts in one database: each program with its own key, and no call with another one's."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest

from passbell.devkit.demo.members import passkit_records
from passbell.devkit.demo.stock import bring_in
from passbell.devkit.sandbox.remote import Remote
from support.processes import Daemon, Sandbox
from support.scene import FAST, LONG
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from conftest import MakeDatabase

NAMES = ("Blue Bottle", "pub2-west")
SUFFIXES = {"Blue Bottle": "BLUE_BOTTLE", "pub2-west": "PUB2_WEST"}


class Town(Shop):
    """A shop whose programs lie in different sandboxes, each with a key of its own."""

    def __init__(self, url: str, sandboxes: dict[str, Sandbox]) -> None:
        super().__init__(url, "2")
        self.sandboxes = sandboxes
        self.remotes = {name: Remote(sandbox.url) for name, sandbox in sandboxes.items()}
        for remote in self.remotes.values():
            remote.reset()
        for name in NAMES:
            self.conn.execute(
                "insert into passbell.accounts (account, passkit_url) values (%s, %s)",
                [name, sandboxes[name].url],
            )

    def close(self) -> None:
        """Close all connections."""
        for remote in self.remotes.values():
            remote.__exit__(None, None, None)
        super().close()

    def settings(self, *names: str) -> dict[str, str]:
        """The credentials of the named accounts; empty is the daemon's own."""
        found = {}
        for name in names:
            for what in ("KEY", "SECRET"):
                suffix = f"__{SUFFIXES[name]}" if name else ""
                found[f"PASSBELL_PASSKIT_API_{what}{suffix}"] = f"{what.lower()}-of-{name or 'own'}".replace(
                    " ", "-"
                )
        return found

    def start(self, *names: str) -> Daemon:
        """A daemon with the credentials of these accounts and of no other, not started yet."""
        daemon = Daemon(self.url, self.sandboxes[""].url, **FAST)
        for variable in ("PASSBELL_PASSKIT_API_KEY", "PASSBELL_PASSKIT_API_SECRET"):
            daemon.settings.pop(variable, None)
        daemon.settings |= self.settings(*names)
        return daemon

    def club(self, account: str, passes: int) -> UUID:
        """A program of an account, its passes in that account's sandbox."""
        program = self.program(f"Club of {account or 'own'}", passkit_account=account or None)
        self.members(program, passes)
        self.publish(program, account)
        return program

    def publish(self, program: UUID, account: str) -> None:
        """Bring the passes of a program into an account's sandbox."""
        owner = self.value("select passkit_program_id from programs where id = %s", [program])
        records = (record for record in passkit_records(self.conn) if record.program_id == owner)
        bring_in(self.remotes[account], records)

    def pushes(self, account: str) -> int:
        """Updates that the account's PassKit saw."""
        return int(self.remotes[account].overview()["pushes"])

    def refused(self, account: str) -> int:
        """Calls with a key that is not this account's; those that a fault refused are not counted."""
        refused = [
            call for status in (401, 403) for call in self.remotes[account].calls(status=status, limit=1000)
        ]
        return sum(not call["fault"] for call in refused)

    def sent(self, campaigns: list[UUID]) -> int:
        """Passes that were sent or given up, over these campaigns."""
        return int(
            self.value(
                "select coalesce(sum(sent_count + failed_count), 0) from push_campaigns where id = any (%s)",
                [campaigns],
            )
        )

    def completed(self, campaigns: list[UUID]) -> bool:
        """Whether all of these have come to their end."""
        return all(self.status(campaign) == "COMPLETED" for campaign in campaigns)


def key_options(name: str) -> list[str]:
    called = (name or "own").replace(" ", "-")
    return ["--key", f"key-of-{called}", "--secret", f"secret-of-{called}"]


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    """Three PassKits, each of which takes one key alone."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Sandbox(*key_options(name))) for name in ("", *NAMES)}


@pytest.fixture
def town(database: MakeDatabase, sandboxes: dict[str, Sandbox]) -> Iterator[Town]:
    made = Town(database("2"), sandboxes)
    yield made
    broken = made.violations()
    made.close()
    assert not broken, broken


def test_each_program_is_sent_with_its_own_key(town: Town) -> None:
    """A daemon with three keys reaches every pass in its own account, and no call is refused."""
    campaigns = {name: town.campaign(town.club(name, 60)) for name in ("", *NAMES)}
    with town.start("", *NAMES):
        for campaign in campaigns.values():
            wait_until(lambda c=campaign: town.status(c) == "COMPLETED", "completed", 30)
    for name in campaigns:
        assert town.remotes[name].summary()["phonesBuzzed"] == 60
        assert town.refused(name) == 0


def test_a_program_whose_account_is_not_served_waits_and_says_so(town: Town) -> None:
    """A daemon without the key leaves the program alone; when one with the key comes, it goes on."""
    mine, other = town.campaign(town.club("", 20)), town.campaign(town.club("Blue Bottle", 20))
    with town.start(""):
        wait_until(lambda: town.status(mine) == "COMPLETED", "own account completed", 30)
        wait_until(lambda: "Blue Bottle" in (town.order(other)["status_detail"] or ""), "says so", 30)
        assert town.pushes("Blue Bottle") == 0
    with town.start("Blue Bottle"):
        wait_until(lambda: town.status(other) == "COMPLETED", "completed by the other daemon", 30)
    assert town.refused("Blue Bottle") == town.refused("") == 0


def test_one_account_that_refuses_leaves_the_others_at_work(town: Town) -> None:
    """If PassKit refuses one account's key, its campaign waits and fails no pass; the other account's completes."""
    good, bad = town.campaign(town.club("Blue Bottle", 60)), town.campaign(town.club("pub2-west", 60))
    daemon = town.start("", *NAMES)
    daemon.settings["PASSBELL_PASSKIT_API_SECRET__PUB2_WEST"] = "another"
    with daemon:
        wait_until(lambda: town.status(good) == "COMPLETED", "the good account completes", 30)
        wait_until(
            lambda: (
                "pub2-west" in (town.order(bad)["status_detail"] or "")
                and "refuses" in town.order(bad)["status_detail"]
            ),
            "names the account",
            30,
        )
        order = town.order(bad)
        assert (order["sent_count"], order["failed_count"]) == (0, 0)
        assert town.refused("Blue Bottle") == 0


def test_a_key_is_rotated_without_a_restart(town: Town, tmp_path: Path) -> None:
    """When the file with the secret changes, the same process sends with the new one."""
    secret = tmp_path / "secret"
    secret.write_text("old one")
    campaign = town.campaign(town.club("Blue Bottle", 30))
    daemon = town.start("Blue Bottle")
    del daemon.settings["PASSBELL_PASSKIT_API_SECRET__BLUE_BOTTLE"]
    daemon.settings["PASSBELL_PASSKIT_API_SECRET__BLUE_BOTTLE_FILE"] = str(secret)
    with daemon:
        wait_until(lambda: "refuses" in (town.order(campaign)["status_detail"] or ""), "refused", 30)
        secret.write_text("secret-of-Blue-Bottle\n")
        wait_until(lambda: town.status(campaign) == "COMPLETED", "completed with the new secret", 40)
    assert town.order(campaign)["sent_count"] == 30


def test_the_own_key_is_rotated_and_an_account_moves_while_calls_are_under_way(
    town: Town, tmp_path: Path
) -> None:
    """When a secret's file and another account's address change, both go on, and no pass is sent twice."""
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    own, other = town.campaign(town.club("", 60)), town.campaign(town.club("Blue Bottle", 200))
    daemon = town.start("", "Blue Bottle")
    del daemon.settings["PASSBELL_PASSKIT_API_SECRET"]
    daemon.settings |= {"PASSBELL_PASSKIT_API_SECRET_FILE": str(secret), "PASSBELL_RATE_PER_SECOND": "50"}
    with daemon:
        wait_until(lambda: "refuses" in (town.order(own)["status_detail"] or ""), "refused", 30)
        assert town.order(own)["sent_count"] == 0
        secret.write_text("secret-of-own")
        # The same PassKit by another name: a new client, and the old one's calls end.
        town.conn.execute(
            "update passbell.accounts set passkit_url = %s where account = 'Blue Bottle'",
            [town.sandboxes["Blue Bottle"].url.replace("127.0.0.1", "localhost")],
        )
        wait_until(lambda: town.completed([own, other]), "both complete", 60)
        assert daemon.running
    for name, passes in (("", 60), ("Blue Bottle", 200)):
        summary = town.remotes[name].summary()
        assert (summary["phonesBuzzed"], summary["buzzedMore"]) == (passes, 0)
    assert town.refused("Blue Bottle") == 0


def test_a_dry_run_needs_no_key_of_any_account(town: Town) -> None:
    """Everything is done but sent, for every account that is entered."""
    campaigns = [town.campaign(town.club(name, 5)) for name in ("", *NAMES)]
    daemon = town.start()
    daemon.settings["PASSBELL_DRY_RUN"] = "true"
    with daemon:
        wait_until(lambda: town.completed(campaigns), "completed", 30)
    assert [town.remotes[name].overview()["calls"] for name in ("", *NAMES)] == [0, 0, 0]


def test_a_program_moves_to_another_account_while_it_sends(town: Town) -> None:
    """What was handed out ends under the old account, the rest goes under the new one; no pass twice, no wrong key."""
    program = town.club("Blue Bottle", 400)
    town.publish(program, "pub2-west")
    campaign = town.campaign(program)
    daemon = town.start(*NAMES)
    daemon.settings["PASSBELL_RATE_PER_SECOND"] = "100"
    with daemon:
        wait_until(lambda: town.order(campaign)["sent_count"] > 50, "some are sent", 30)
        town.conn.execute("update programs set passkit_account = 'pub2-west' where id = %s", [program])
        wait_until(lambda: town.status(campaign) == "COMPLETED", "completed", 60)
    assert town.order(campaign)["sent_count"] == 400
    buzzed = [town.remotes[name].summary()["phonesBuzzed"] for name in NAMES]
    assert sum(buzzed) == 400
    assert all(buzzed)
    assert town.refused("Blue Bottle") == town.refused("pub2-west") == 0


@pytest.mark.timeout(3_600 if LONG else 120)
def test_two_accounts_have_a_bad_day(town: Town) -> None:
    """One is refused, one is down, one works: that one goes on at its own limit. Later all work, and everything ends.

    With kill -9 on the way, and daemons that have one key, the other, or both: no member missed, no pass twice, no
    attempt counted, and not one call with another account's key.
    """
    programs, passes, rate = (10, 6667, 500) if LONG else (3, 67, 100)
    patience = 1200 if LONG else 60
    refused, down = NAMES
    town.remotes[refused].fault("unauthorized")
    town.remotes[down].fault("status", status=503)
    orders = {
        name: [town.campaign(town.club(name, passes)) for _ in range(programs)]
        for name in (refused, down, "")
    }
    bad = orders[refused] + orders[down]

    def start(*names: str) -> Daemon:
        daemon = town.start(*names)
        daemon.settings |= {"PASSBELL_RATE_PER_SECOND": str(rate), "PASSBELL_CHUNK_SIZE": "20"}
        return stack.enter_context(daemon)

    with ExitStack() as stack:
        first, second = start(refused, ""), start(down, "")
        wait_until(lambda: town.completed(orders[""]), "the working account completes", patience)
        for name in (refused, down):
            for campaign in orders[name]:
                wait_until(
                    lambda c=campaign, n=name: f'"{n}"' in (town.order(c)["status_detail"] or ""),
                    f"says that it is {name}",
                    30,
                )
        assert town.sent(bad) == 0
        assert town.value("select max(attempt) from passbell.chunks") == 0
        assert town.value("select count(*) from passbell.deliveries where campaign_id = any (%s)", [bad]) == 0

        second.kill()
        for name in (refused, down):
            town.remotes[name].faults_off()
        start(refused, down)
        wait_until(lambda: town.sent(orders[refused]) > 0 and town.sent(orders[down]) > 0, "both go on", 60)
        first.kill()
        start(down)
        wait_until(lambda: town.completed(bad), "everything completes", patience)

    for name, campaigns in orders.items():
        summary = town.remotes[name].summary()
        assert summary["phonesBuzzed"] == programs * passes
        assert summary["buzzedMore"] == 0
        assert town.sent(campaigns) == programs * passes
        assert (
            town.value("select sum(failed_count) from push_campaigns where id = any (%s)", [campaigns]) == 0
        )
        assert town.refused(name) == 0
        seen = town.remotes[name].window(limit=rate, count="all")
        assert seen["certainPeak"] <= rate
        if LONG and not name:
            assert seen["utilisation"] > 0.98


def test_only_servers_move_a_program(town: Town) -> None:
    """A signed-in administrator may not say with whose key a program is sent."""
    program = town.program()
    town.conn.execute("create role tenant")
    town.conn.execute("grant select, update on programs to tenant")
    try:
        with psycopg.connect(town.url, autocommit=True) as conn:
            conn.execute("set role tenant")
            with pytest.raises(psycopg.Error) as refused:
                conn.execute("update programs set passkit_account = 'pub2-west' where id = %s", [program])
            assert refused.value.sqlstate == "PB403"
            conn.execute(
                "update programs set name = 'Other', passkit_account = passkit_account where id = %s",
                [program],
            )
    finally:
        town.conn.execute("drop owned by tenant; drop role tenant")
