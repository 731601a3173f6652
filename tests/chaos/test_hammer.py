"""Twenty sessions on all public functions and on the table itself, beside workers who claim and report by hand."""

from __future__ import annotations

import collections
import random
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from support.due import automation
from support.law import Law
from support.scene import LONG
from support.shop import Shop
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import MakeDatabase, Report

SECONDS = 60.0 if LONG else 4.0
PEOPLE = 16
WORKERS = 4
DOCUMENTED = {"PB400", "PB403", "PB404", "PB409", "PB412", "PB422"}
OUTCOMES = ("sent", "sent", "sent", "not_found", "rejected", "retry", "server_error", "back", "maybe")
STATUSES = ("DRAFT", "PENDING", "PROCESSING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")


class Ground:
    """What all sessions share: the shop, and which passes were erased from which campaigns."""

    def __init__(self, url: str) -> None:
        self.shop = Shop(url, "2")
        self.programs = [self.shop.program(f"P{n}", birthday_bot_enabled=True) for n in range(3)]
        today = self.shop.born_today()
        for program in self.programs:
            for number in range(25):
                self.shop.member(program, user={"birth_date": today} if number % 5 == 0 else None, points=3)
        self.members: list[tuple[UUID, str]] = [
            (row["id"], row["external_id"])
            for row in self.shop.rows("select id, external_id from passes_master")
        ]
        self.automations = [
            automation(self.shop, program, f"EVERY:{days}", reward_points=points)
            for program in self.programs
            for days, points in (("MON,TUE,WED,THU,FRI,SAT,SUN", 0), ("SUN,SAT,FRI,THU,WED,TUE,MON", 1))
        ]
        self.over = threading.Event()
        self.erased: list[tuple[UUID, set[UUID]]] = []
        """A pass, and the campaigns that were frozen before push_forget was called for it."""


class Session(threading.Thread):
    """One connection that does random things until it is over."""

    def __init__(self, ground: Ground, seed: int) -> None:
        super().__init__(name=f"session {seed}")
        self.ground = ground
        self.shop = Shop(ground.shop.url, "2")
        self.random = random.Random(seed)  # noqa: S311 - a run that can be made again
        self.calls: collections.Counter[str] = collections.Counter()
        self.errors: list[str] = []

    def run(self) -> None:
        """One thing after the other."""
        actions = self.actions()
        while not self.ground.over.is_set() and len(self.errors) < 3:
            action = self.random.choice(actions)
            try:
                action()
                self.calls[action.__name__] += 1
            except psycopg.Error as error:
                self.calls[error.sqlstate or "?"] += 1
                if error.sqlstate not in DOCUMENTED:
                    self.errors.append(f"{action.__name__}: {error.sqlstate} {error}")
            except AssertionError as error:
                self.errors.append(f"{action.__name__}: {error}")
        self.shop.close()

    def actions(self) -> tuple[Callable[[], None], ...]:
        """What it chooses from."""
        raise NotImplementedError

    def some(self) -> UUID | None:
        """A campaign, one of the newest as a rule."""
        newest = self.shop.rows("select id from push_campaigns order by created_at desc limit 12")
        return self.random.choice(newest)["id"] if newest else None

    @property
    def program(self) -> UUID:
        """Any program."""
        return self.random.choice(self.ground.programs)


class Person(Session):
    """A person at the page, in Studio or with a form."""

    def actions(self) -> tuple[Callable[[], None], ...]:
        """Every public function, and the table."""
        return (
            *[self.send] * 3,
            *[self.insert] * 3,
            self.test,
            *[self.verb] * 8,
            *[self.progress] * 2,
            self.preview,
            *[self.forget] * 3,
            self.run_birthdays,
            self.birthdays_today,
            *[self.run_automations] * 2,
            self.edit_automation,
            *[self.look] * 4,
            self.suppress,
            *[self.update] * 4,
            self.update_several,
            *[self.delete] * 2,
        )

    def text(self) -> str:
        """Often its own, sometimes with a name in it, sometimes broken."""
        return self.random.choice(("Hi {first_name|you} ", "Sale ", "{points} points ", "{lone ")) + str(
            self.random.randrange(50)
        )

    def target(self) -> str:
        """Everybody, some, or nonsense."""
        names = ",".join(name for _, name in self.random.sample(self.ground.members, 4))
        return self.random.choice(("ALL", "WHALE:1", f"IDS:{names}", "TIER:1", "NONSENSE", "SLUMBER"))

    def send(self) -> None:
        """push_send."""
        expected = self.random.choice((None, None, 5))
        self.shop.rows(
            "select push_send(%s, %s, %s, 'hammer', null, %s)",
            [self.program, self.text(), self.target(), expected],
        )

    def test(self) -> None:
        """push_test."""
        self.shop.rows(
            "select push_test(%s, %s, 'x')", [self.program, self.random.choice(self.ground.members)[1]]
        )

    def verb(self) -> None:
        """The four verbs."""
        verb = self.random.choice(("pause", "resume", "resume", "cancel", "retry_failed", "retry_failed"))
        self.shop.verb(verb, self.some() or uuid4())

    def progress(self) -> None:
        """push_progress."""
        self.shop.verb("progress", self.some() or uuid4())

    def preview(self) -> None:
        """push_preview."""
        self.shop.rows("select * from push_preview(%s, %s)", [self.program, self.target()])

    def forget(self) -> None:
        """push_forget, and what it promises."""
        member, name = self.random.choice(self.ground.members)
        frozen = {
            row["id"] for row in self.shop.rows("select id from push_campaigns where recipient_count > 0")
        }
        self.shop.rows("select * from push_forget(%s)", [name])
        self.ground.erased.append((member, frozen))

    def run_birthdays(self) -> None:
        """run_birthdays."""
        self.shop.rows("select * from run_birthdays(%s)", [self.program])

    def birthdays_today(self) -> None:
        """get_birthdays_today."""
        self.shop.rows("select * from get_birthdays_today(%s)", [self.random.choice((None, self.program))])

    def run_automations(self) -> None:
        """run_automations, of one program or of all."""
        self.shop.rows("select * from run_automations(%s)", [self.random.choice((None, self.program))])

    def edit_automation(self) -> None:
        """A person changes one while it runs."""
        self.shop.conn.execute(
            "update push_automations set is_on = %s, message_text = %s, reward_points = %s where id = %s",
            [
                self.random.random() < 0.8,
                f"Edited {self.random.randrange(9)}",
                self.random.randrange(2),
                self.random.choice(self.ground.automations),
            ],
        )

    def look(self) -> None:
        """What only answers: results, plans, the month, who is due."""
        campaign = self.some() or uuid4()
        one = self.random.choice(self.ground.automations)
        query, what = self.random.choice(
            (
                ("select * from push_results(%s)", campaign),
                ("select * from push_results_total(%s)", self.program),
                ("select * from push_plan(%s)", self.program),
                ("select * from push_report(%s, current_date)", self.program),
                ("select * from get_due(%s)", one),
                ("select * from automation_preview(%s, 3)", one),
                ("select * from automation_results(%s)", one),
                ("select * from push_deliveries where campaign_id = %s", campaign),
                ("select * from passbell.check_conservation(%s)", campaign),
            )
        )
        self.shop.rows(query, [what])

    def suppress(self) -> None:
        """A member is left alone for a while, and not any more."""
        name = self.random.choice(self.ground.members)[1]
        self.shop.conn.execute(
            "insert into push_suppressions (program_id, external_id, reason) values (%s, %s, 'hammer')",
            [self.program, name],
        )
        self.shop.conn.execute("delete from push_suppressions where external_id = %s", [name])

    def insert(self) -> None:
        """A row as a form writes it."""
        self.shop.campaign(
            self.program,
            self.text(),
            target_query=self.target(),
            status=self.random.choice(("PENDING", "DRAFT", "PENDING", "COMPLETED")),
        )

    def update(self) -> None:
        """A row as a form writes it back: another status, counters of long ago."""
        self.shop.conn.execute(
            "update push_campaigns set status = coalesce(%s, status), name = %s, sent_count = 0 where id = %s",
            [self.random.choice((None, *STATUSES)), "by hand", self.some()],
        )

    def update_several(self) -> None:
        """All of a program at once, in the order of their ids."""
        self.shop.conn.execute(
            "update push_campaigns set status = 'CANCELLED' where id in (select id from push_campaigns"
            " where program_id = %s and status in ('PENDING', 'PROCESSING') order by id limit 3 for update)",
            [self.program],
        )

    def delete(self) -> None:
        """A row of the history."""
        self.shop.conn.execute("delete from push_campaigns where id = %s", [self.some()])


class Worker(Session):
    """A daemon's calls by hand."""

    def __init__(self, ground: Ground, seed: int) -> None:
        super().__init__(ground, seed)
        self.held: list[Any] = []
        self.shop.conn.execute(
            "select passbell.register_worker(%s, 'hammer', 1, 'x', '0', 'test', 1000, 0)", [self.shop.worker]
        )

    def actions(self) -> tuple[Callable[[], None], ...]:
        """What the loops of a daemon do."""
        return (
            *[self.claim_campaign] * 4,
            *[self.claim_chunk] * 8,
            *[self.finish] * 8,
            self.part,
            self.tick,
            self.renew,
            self.again,
            self.prune,
            self.daily,
        )

    def claim_campaign(self) -> None:
        """Freeze the next audience."""
        self.shop.claim(self.random.randint(2, 9))

    def claim_chunk(self) -> None:
        """Take a chunk. No pass in it was erased from its campaign before."""
        gone = list(self.ground.erased)
        chunk = self.shop.chunk(cap=0, lease=self.random.choice((0.1, 60)))
        if chunk is not None:
            self.held.append(chunk)
            rings = [p for p, frozen in gone if p in chunk["pass_ids"] and chunk["campaign_id"] in frozen]
            assert not rings or chunk["kind"] == "BIRTHDAY", f"erased, and handed out: {rings}"
            assert len(chunk["texts"]) == len(chunk["pass_ids"])

    def _take(self) -> Any:
        return self.held.pop(self.random.randrange(len(self.held))) if self.held else None

    def finish(self) -> None:
        """Report one."""
        if (chunk := self._take()) is not None:
            self.shop.finish(chunk, [self.random.choice(OUTCOMES) for _ in chunk["pass_ids"]])

    def part(self) -> None:
        """Report the beginning of one."""
        if self.held:
            chunk = self.random.choice(self.held)
            self.shop.finish(chunk, "sent", passes=chunk["pass_ids"][:1], release=False)

    def tick(self) -> None:
        """What the campaign loop does at every turn; and what waits may go on."""
        self.shop.conn.execute("select passbell.drain_cancelled(), passbell.explain_waiting('test')")
        self.shop.conn.execute("select passbell.heartbeat(%s, 'hammer')", [self.shop.worker])
        self.shop.conn.execute("select * from passbell.queue_state('test')")

    def renew(self) -> None:
        """Renew what is held."""
        tokens = [chunk["claim_token"] for chunk in self.held]
        self.shop.rows("select * from passbell.renew_leases(%s, %s::uuid[], 60)", [self.shop.worker, tokens])

    def again(self) -> None:
        """Ask again for one that is held, as after a lost answer."""
        chunk = self._take()
        if chunk is None:
            return
        if (found := self.shop.chunk(cap=0, again=chunk["claim_token"])) is not None:
            self.held.append(found)

    def daily(self) -> None:
        """A run of birthdays and one of automations, and what the host's rules have left owed."""
        claims = (
            ("claim_birthday_run", "gift_batch", "finish_birthday_run", "program_id"),
            ("claim_automation_run", "automation_batch", None, "automation_id"),
        )
        for claim, batch, finish, subject in claims:
            for run in self.shop.rows(f"select * from passbell.{claim}(%s)", [self.shop.worker]):  # noqa: S608
                key = [run[subject], run["local_date"], self.shop.worker]
                self.shop.rows(f"select * from passbell.{batch}(%s, %s, %s)", key)  # noqa: S608
                if finish:
                    self.shop.rows(f"select * from passbell.{finish}(%s, %s, %s)", key)  # noqa: S608
        self.shop.conn.execute("select passbell.look_again()")

    def prune(self) -> None:
        """Retention."""
        self.shop.rows("select * from passbell.prune(10)")


NAMED = {"send", "verb", "forget", "run_birthdays", "delete", "claim_chunk", "finish"} | {
    *("run_automations", "edit_automation", "look", "suppress", "daily"),
}


def calls(sessions: Sequence[Session]) -> collections.Counter[str]:
    """How often which thing was done, by all of them."""
    return sum((session.calls.copy() for session in sessions), collections.Counter[str]())


@pytest.fixture
def ground(database: MakeDatabase) -> Iterator[Ground]:
    made = Ground(database("2"))
    yield made
    made.shop.close()


@pytest.mark.timeout(SECONDS + 120)
def test_twenty_sessions_on_everything_that_is_public(ground: Ground, report: Report) -> None:
    """No deadlock, only documented SQLSTATEs, the law at every look; no erased member is handed out again."""
    sessions: list[Session] = [Person(ground, seed) for seed in range(PEOPLE)]
    sessions += [Worker(ground, 100 + seed) for seed in range(WORKERS)]
    with Law(ground.shop.url) as law:
        for session in sessions:
            session.start()
        try:
            ground.over.wait(SECONDS)
            # On a slow machine each thing has its turn later.
            wait_until(lambda: set(calls(sessions)) >= NAMED or any(session.errors for session in sessions))
        finally:
            ground.over.set()
            for session in sessions:
                session.join(timeout=60)
    errors = [error for session in sessions for error in session.errors]
    assert not errors, "\n".join(errors)
    report(
        "hammer",
        "no deadlock, no other SQLSTATE, the law",
        f"{calls(sessions).total():,} calls in {SECONDS:.0f} s, {law.looks} looks: none",
    )
