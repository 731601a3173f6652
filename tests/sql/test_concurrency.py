"""Several sessions at the same moment: no pass twice, one completion, no deadlock."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from support.shop import Shop
from support.together import together, twins
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = os.environ.get("PASSBELL_LONG") == "1"
HUNT_SECONDS = 60.0 if LONG else 2.5
LEGAL_REFUSALS = {"PB412", "PB422", "PB404", "PB409"}
BUSY = "55P03"  # a wait for a lock that reached its bound: nothing was changed, and daemons call again


def test_the_last_two_chunks_finished_together_complete_once(shop: Shop) -> None:
    """Two daemons report at the same moment: one completion, one audit row, every time."""
    program = shop.program()
    shop.members(program, 2)
    one, two = twins(shop)
    for number in range(30):
        campaign = shop.campaign(program, f"Message {number}")
        shop.start(campaign, size=1)
        first, second = one.chunk(cap=0), two.chunk(cap=0)
        assert first is not None
        assert second is not None
        answers = together(lambda: one.finish(first), lambda: two.finish(second))  # noqa: B023
        assert [answer[0] for answer in answers] == [0, 0], answers
        order = shop.order(campaign)
        assert (order["status"], order["sent_count"], len(shop.logs(campaign))) == ("COMPLETED", 2, 1)


def test_a_finish_that_waits_for_another_still_completes(shop: Shop) -> None:
    """The second of two last reports waits for the first one's commit and then finds nothing left."""
    program = shop.program()
    shop.members(program, 2)
    campaign = shop.campaign(program)
    shop.start(campaign, size=1)
    one, two = twins(shop)
    first, second = one.chunk(), two.chunk()
    assert first is not None
    assert second is not None
    with ThreadPoolExecutor(1) as pool:
        with one.conn.transaction():
            one.finish(first)
            waiting = pool.submit(two.finish, second)
            wait_until(
                lambda: shop.value("select count(*) from pg_locks where not granted"), "the second one waits"
            )
        assert waiting.result(timeout=10) == (0, "COMPLETED")
    assert len(shop.logs(campaign)) == 1


def test_an_order_is_claimed_once_however_many_daemons_there_are(shop: Shop) -> None:
    """Eight daemons claim at the same moment; every campaign is frozen once."""
    program = shop.program()
    shop.members(program, 30)
    campaigns = [shop.campaign(program, f"Message {n}") for n in range(6)]
    daemons = twins(shop, 8)

    def claim_all(daemon: Shop) -> list[Any]:
        found = []
        while (claimed := daemon.claim(7)) is not None:
            found.append(claimed["campaign_id"])
        return found

    found = together(*(lambda daemon=daemon: claim_all(daemon) for daemon in daemons))
    assert sorted(one for each in found for one in each) == sorted(campaigns)


def test_a_cancel_at_the_same_moment_as_anything_else_adds_up(shop: Shop) -> None:
    """Cancel beside a claim, a finish, a pause or the start: the law holds and the campaign ends cancelled or done."""
    program = shop.program()
    shop.members(program, 6)
    one, two = twins(shop)
    rivals: tuple[Callable[[UUID, Any], Any], ...] = (
        lambda _campaign, _held: one.chunk(cap=0),
        lambda _campaign, held: one.finish(held, "sent"),
        lambda _campaign, held: one.finish(held, "retry"),
        lambda _campaign, held: one.finish(held, "sent", passes=held["pass_ids"][:1], release=False),
        lambda campaign, _held: one.verb("pause", campaign),
        lambda _campaign, _held: one.conn.execute(
            "select passbell.drain_cancelled(), passbell.explain_waiting('test')"
        ),
    )
    for turn in range(5):
        for number, rival in enumerate(rivals):
            campaign = shop.campaign(program, f"Message {turn} {number}")
            shop.start(campaign, size=2)
            held = one.chunk(cap=0)
            assert held is not None
            answers = together(
                lambda: rival(campaign, held),  # noqa: B023
                lambda: two.verb("cancel", campaign),  # noqa: B023
            )
            for answer in answers:
                assert not isinstance(answer, psycopg.Error) or answer.sqlstate in LEGAL_REFUSALS, answer
            assert not shop.violations()
            # Whatever is still held runs out; then everything is closed.
            shop.conn.execute("update passbell.chunks set lease_until = now() where lease_until is not null")
            shop.conn.execute("select passbell.drain_cancelled()")
            order = shop.order(campaign)
            assert order["status"] == "CANCELLED"
            assert order["sent_count"] + order["skipped_count"] == 6
            assert len(shop.logs(campaign)) == 1


def test_a_cancel_at_the_moment_of_the_claim_never_leaves_a_started_rest(shop: Shop) -> None:
    """Claim and cancel of a pending order: it is cancelled either before or after it was frozen."""
    program = shop.program()
    shop.members(program, 3)
    one, two = twins(shop)
    for number in range(15):
        campaign = shop.campaign(program, f"Message {number}")
        together(one.claim, lambda: two.verb("cancel", campaign))  # noqa: B023
        assert shop.status(campaign) == "CANCELLED"
        assert shop.waiting(campaign) == set()


class Hunter(threading.Thread):
    """One session that does random things to the shop until told to stop."""

    def __init__(self, shop: Shop, programs: list[UUID], until: float, seed: int) -> None:
        super().__init__(name=f"hunter {seed}")
        self.shop = Shop(shop.url, shop.generation)
        self.programs = programs
        self.until = until
        self.random = random.Random(seed)  # noqa: S311 - a run that can be made again
        self.held: list[Any] = []
        self.done = 0
        self.errors: list[str] = []

    def run(self) -> None:
        """Do things, one after the other."""
        names = (
            "order",
            "claim",
            *["chunk"] * 6,
            *["finish"] * 5,
            "part",
            "verb",
            "uninstall",
            "tick",
            "renew",
            "bury",
        )
        while time.monotonic() < self.until and len(self.errors) < 5:
            name = self.random.choice(names)
            try:
                getattr(self, f"_do_{name}")()
                self.done += 1
            except psycopg.Error as error:
                if error.sqlstate not in LEGAL_REFUSALS | {BUSY}:
                    self.errors.append(f"{name}: {error.sqlstate} {error}")
        self.shop.close()

    def _do_order(self) -> None:
        program = self.random.choice(self.programs)
        self.shop.campaign(program, f"{self.random.random()} {{first_name|x}}", name="hunt")

    def _do_claim(self) -> None:
        self.shop.claim(self.random.randint(1, 8))

    def _do_chunk(self) -> None:
        chunk = self.shop.chunk(cap=self.random.choice((0, 0, 3)), lease=self.random.choice((0.05, 60)))
        if chunk is not None:
            self.held.append(chunk)

    def _take(self) -> Any:
        return self.held.pop(self.random.randrange(len(self.held))) if self.held else None

    def _do_finish(self) -> None:
        if (chunk := self._take()) is not None:
            words = ("sent", "sent", "sent", "rejected", "retry", "server_error", "back")
            try:
                self.shop.finish(chunk, [self.random.choice(words) for _ in chunk["pass_ids"]])
            except psycopg.errors.LockNotAvailable:
                self.held.append(chunk)
                raise

    def _do_part(self) -> None:
        if self.held:
            chunk = self.random.choice(self.held)
            self.shop.finish(chunk, "sent", passes=chunk["pass_ids"][:1], release=False)

    def _do_verb(self) -> None:
        campaigns = self.shop.rows("select id from push_campaigns order by random() limit 1")
        verb = self.random.choice(("pause", "resume", "resume", "resume", "cancel", "retry_failed"))
        for row in campaigns:
            self.shop.verb(verb, row["id"])

    def _do_uninstall(self) -> None:
        self.shop.conn.execute(
            "update passes_master set status = %s where id ="
            " (select id from passes_master where program_id = %s order by random() limit 1)",
            [self.random.choice(("INSTALLED", "UNINSTALLED")), self.random.choice(self.programs)],
        )

    def _do_tick(self) -> None:
        # Words that change all the time, so that the two daemons really write the same rows.
        self.shop.conn.execute(
            "update programs set push_window_start = %s, push_window_end = %s where id = %s",
            [
                *self.random.choice(((None, None), ("00:00", "23:59"), ("00:00", "00:01"))),
                self.random.choice(self.programs),
            ],
        )
        self.shop.conn.execute("select passbell.drain_cancelled(), passbell.explain_waiting('test')")

    def _do_renew(self) -> None:
        tokens = [chunk["claim_token"] for chunk in self.held]
        self.shop.rows("select * from passbell.renew_leases(%s, %s::uuid[], 60)", [self.shop.worker, tokens])

    def _do_bury(self) -> None:
        self.shop.rows(
            "select passbell.bury_workers(array("
            " select distinct worker from passbell.chunks where worker <> %s limit 1))",
            [self.shop.worker],
        )


def pay_debts(shop: Shop) -> None:
    """Write what a lock kept from being written, as daemons do at every turn, without the pause before it."""
    shop.conn.execute("update passbell.set_aside set next_look_at = now()")
    shop.conn.execute("update passbell.owed_logs set next_try_at = now()")
    while shop.value("select passbell.look_again()"):
        pass


@pytest.mark.timeout(HUNT_SECONDS + 90)
def test_no_deadlock_whatever_many_sessions_do(shop: Shop) -> None:
    """Random work from many sessions: the law at every look, and not one deadlock."""
    programs = [shop.program(f"P{n}") for n in range(5)]
    for program in programs:
        shop.members(program, 25)
    until = time.monotonic() + HUNT_SECONDS
    hunters = [Hunter(shop, programs, until, seed) for seed in range(8)]
    for hunter in hunters:
        hunter.start()
    looks = 0
    while time.monotonic() < until:
        assert not shop.violations()
        looks += 1
    for hunter in hunters:
        hunter.join(timeout=60)
    assert [error for hunter in hunters for error in hunter.errors] == []
    assert looks > 3
    assert sum(hunter.done for hunter in hunters) > 100
    # And no member is missed: everything ends when nothing holds it up.
    shop.conn.execute("update programs set push_window_start = null, push_window_end = null")
    for row in shop.rows("select id from push_campaigns where status = 'PAUSED'"):
        shop.verb("resume", row["id"])
    pay_debts(shop)
    while shop.claim() is not None:
        pass
    shop.conn.execute("update passbell.chunks set lease_until = null, not_before = now()")
    while shop.send_chunks(worker=uuid4(), cap=0):
        shop.conn.execute("update passbell.chunks set not_before = now()")
    shop.conn.execute("select passbell.drain_cancelled()")
    pay_debts(shop)
    assert (
        shop.rows("select distinct status from push_campaigns where status in ('PENDING', 'PROCESSING')")
        == []
    )
    assert shop.value("select count(*) from passbell.chunks") == 0
    assert (
        shop.value("select count(*) from push_campaigns where started_at is not null")
        == shop.value("select count(*) from notification_logs")
        == shop.value("select count(distinct campaign_id) from notification_logs")
    )
