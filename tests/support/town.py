"""Mixed work: campaigns of every kind, lists, imports, birthdays, and people who change their minds.

It keeps its own books, from which `prove` tells whether anybody was lost or buzzed twice.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from .wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from .files import FileHost
    from .scene import Scene

__all__ = ["Town"]

OPEN_AT_MOST = 8
MARK = re.compile(r"#(\d+)")
RICH = 1_000
"""Points of every third member; the others have none, and a balance that moves a little does not change that."""


class Member(NamedTuple):
    """A pass of one of the programs."""

    record: str
    external: str
    rich: bool


class Retry(NamedTuple):
    """A person's decision to send again to those who had failed, and when it was taken."""

    at: float
    records: frozenset[str]


class Town:
    """`act()` does one thing at random; every text carries a number, so a buzz tells which campaign it belongs to."""

    def __init__(self, scene: Scene, files: FileHost, members: int) -> None:
        self.scene = scene
        self._files = files
        self._dice = random.Random(7)  # noqa: S311 - a run that can be made again
        self._count = 0
        self._programs: dict[UUID, dict[UUID, Member]] = {}
        self._audiences: dict[UUID, set[UUID]] = {}
        self._numbers: dict[UUID, int] = {}
        self._retries: dict[UUID, list[Retry]] = {}
        self._born: list[UUID] = []
        self._imports: list[UUID] = []
        self.done: Counter[str] = Counter()
        for n in range(3):
            self._program(f"Shop {n}", members)
        self._importing = scene.program("Newcomers")
        self.birthday()
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (4, self.broadcast),
            (2, self.segment),
            (2, self.some),
            (2, self.listed),
            (3, self.personal),
            (1, self.own_rate),
            (1, self.scheduled),
            (2, self.test),
            (1, self.member_import),
            (2, self.pause),
            (5, self.resume),
            (1, self.cancel),
            (1, self.suspend),
            (1, self.retry),
            (2, self.spend),
        ]

    def act(self) -> None:
        """One thing; nothing, if a person comes too late for it."""
        actions = [action for _, action in self._actions]
        (action,) = self._dice.choices(actions, [weight for weight, _ in self._actions])
        action()

    # ── who lives here ──────────────────────────────────────────

    def _program(self, name: str, members: int) -> UUID:
        scene = self.scene
        program = scene.program(name)
        scene.members(program, members)
        scene.conn.execute(
            "update passes_master set member_first_name = 'Ann ' || external_id, points_balance ="
            " case when hashtext(external_id) %% 3 = 0 then %s else 0 end where program_id = %s",
            [RICH, program],
        )
        scene.publish(program)
        self._programs[program] = {
            row["id"]: Member(row["passkit_internal_id"], row["external_id"], row["points_balance"] >= RICH)
            for row in scene.rows("select * from passes_master where program_id = %s", [program])
        }
        return program

    def birthday(self) -> None:
        """A program opens its birthday bot, and ten of its members have their birthday today."""
        scene = self.scene
        program = scene.program(
            f"Party {len(self._born)}",
            timezone="UTC",
            birthday_bot_enabled=True,
            birthday_reward_points=50,
            birthday_send_at="00:00",
            birthday_message="Happy Birthday {first_name|you}, you have {points} points.",
        )
        today = datetime.now(UTC).date().replace(year=1984)
        for n in range(12):
            born = today if n < 10 else today.replace(month=today.month % 12 + 1, day=1)
            scene.member(program, user={"birth_date": born, "first_name": f"Bo {n}"}, points=100)
        scene.publish(program)
        self._born.append(program)
        self.done["birthday programs"] += 1

    # ── orders ──────────────────────────────────────────────────

    def _order(
        self, what: str, program: UUID, audience: set[UUID], text: str = "Offer", **columns: Any
    ) -> None:
        open_now = self.scene.value(
            "select count(*) from push_campaigns where status in ('PENDING', 'PROCESSING', 'PAUSED')"
        )
        if open_now >= OPEN_AT_MOST or not audience:
            return
        self._count += 1
        campaign = self.scene.campaign(program, f"{text} #{self._count}", **columns)
        self._audiences[campaign] = audience
        self._numbers[campaign] = self._count
        self.done[what] += 1

    def _somewhere(self) -> tuple[UUID, dict[UUID, Member]]:
        return self._dice.choice(list(self._programs.items()))

    def _sample(self, members: dict[UUID, Member]) -> dict[UUID, Member]:
        chosen = self._dice.sample(sorted(members), self._dice.randint(1, len(members) // 2))
        return {one: members[one] for one in chosen}

    def broadcast(self) -> None:
        """Everybody."""
        program, members = self._somewhere()
        self._order("broadcasts", program, set(members))

    def segment(self) -> None:
        """The rich."""
        program, members = self._somewhere()
        rich = {one for one, member in members.items() if member.rich}
        self._order("segments", program, rich, target_query="WHALE")

    def some(self) -> None:
        """A few by name."""
        program, members = self._somewhere()
        chosen = self._sample(members)
        target = "IDS:" + ",".join(member.external for member in chosen.values())
        self._order("ids", program, set(chosen), target_query=target)

    def listed(self) -> None:
        """A CSV by link."""
        program, members = self._somewhere()
        chosen = self._sample(members)
        name = f"list{self._count}.csv"
        lines = ["member_id", *(member.external for member in chosen.values()), "nobody"]
        self._files.files[name] = "\n".join(lines).encode()
        self._order("lists", program, set(chosen), target_query="CSV", csv_upload_url=self._files.link(name))

    def personal(self) -> None:
        """Each their own words, with a balance that changes meanwhile."""
        program, members = self._somewhere()
        text = "Hello {first_name|you}, {points} points"
        self._order("personal", program, set(members), text)

    def own_rate(self) -> None:
        """Slower than the account."""
        program, members = self._somewhere()
        self._order("own rate", program, set(members), rate_per_second=40)

    def scheduled(self) -> None:
        """In two seconds."""
        program, members = self._somewhere()
        due = self.scene.value("select clock_timestamp() + interval '2 s'")
        self._order("scheduled", program, set(members), scheduled_at=due)

    def test(self) -> None:
        """To one pass, before all others."""
        program, members = self._somewhere()
        one, member = self._dice.choice(list(members.items()))
        self._order("tests", program, {one}, kind="TEST", target_query=f"IDS:{member.external}")

    def member_import(self) -> None:
        """Members by CSV; the same people come again and again."""
        name = f"people{self._count}.csv"
        rows = [f"guest{self._dice.randint(1, 2_000)}@example.com,Rome" for _ in range(200)]
        self._files.files[name] = "\n".join(["email,city", *rows]).encode()
        self._imports.append(
            self.scene.value(
                "insert into member_imports (program_id, csv_upload_url) values (%s, %s) returning id",
                [self._importing, self._files.link(name)],
            )
        )
        self.done["imports"] += 1

    # ── second thoughts ─────────────────────────────────────────

    def _one(self, *statuses: str, failed: bool = False, greetings: bool = True) -> UUID | None:
        rows = self.scene.rows(
            "select id from push_campaigns where status = any(%s) and (failed_count > 0 or not %s)"
            " and (kind <> 'BIRTHDAY' or %s)",
            [list(statuses), failed, greetings],
        )
        return self._dice.choice(rows)["id"] if rows else None

    def _verb(self, verb: str, campaign: UUID | None) -> bool:
        if campaign is None:
            return False
        try:
            self.scene.verb(verb, campaign)
        except psycopg.DatabaseError as error:
            if error.sqlstate != "PB422":  # too late: it has ended meanwhile
                raise
            return False
        self.done[verb.replace("_", " ")] += 1
        return True

    def pause(self) -> None:
        """Hold one."""
        self._verb("pause", self._one("PROCESSING"))

    def resume(self) -> None:
        """Let one go on, whatever held it, and every program."""
        self.scene.conn.execute("update programs set is_suspended = false where is_suspended")
        self._verb("resume", self._one("PAUSED"))

    def cancel(self) -> None:
        """End one; no greeting, because everybody born is to be greeted."""
        self._verb("cancel", self._one("PROCESSING", "PAUSED", greetings=False))

    def retry(self) -> None:
        """Send again to those who failed. Some of them may have got it without anybody's knowing."""
        campaign = self._one("COMPLETED", failed=True)
        if campaign is None:
            return
        records = self.scene.rows(
            "select p.passkit_internal_id as record from passbell.deliveries d join passes_master p on p.id = d.pass_id"
            " where d.campaign_id = %s and d.outcome = 'failed'",
            [campaign],
        )
        decided = Retry(time.monotonic(), frozenset(row["record"] for row in records))
        if self._verb("retry_failed", campaign):
            self._retries.setdefault(campaign, []).append(decided)

    def suspend(self) -> None:
        """The platform's kill switch, for a moment."""
        program, _ = self._somewhere()
        self.scene.conn.execute("update programs set is_suspended = true where id = %s", [program])
        self.done["suspensions"] += 1

    def spend(self) -> None:
        """Balances change: a text chosen anew would say something else."""
        program, _ = self._somewhere()
        self.scene.conn.execute(
            "update passes_master set points_balance = points_balance + 1 where program_id = %s", [program]
        )

    # ── the end ─────────────────────────────────────────────────

    def bring_to_an_end(self, deadline: float = 240) -> None:
        """No faults any more: everything goes on, and what failed is sent again until nothing has."""
        self.scene.conn.execute("update programs set is_suspended = false")

        def through() -> bool:
            self.resume()
            self.retry()
            left = self.scene.value(
                "select (select count(*) from push_campaigns where status in ('PENDING', 'PROCESSING', 'PAUSED')"
                "           or (status = 'COMPLETED' and failed_count > 0))"
                "     + (select count(*) from member_imports where status in ('PENDING', 'PROCESSING'))"
                "     + (select count(*) from passbell.chunks)"
            )
            gifts = self.scene.value("select count(*) from birthday_logs")
            return not left and gifts == 10 * len(self._born)

        wait_until(through, "all campaigns, gifts and imports end", deadline)

    def prove(self) -> dict[str, int]:
        """No member missed, no phone buzzed twice; what was counted."""
        assert not self.scene.violations()
        records = {
            one: member.record for members in self._programs.values() for one, member in members.items()
        }
        times: dict[tuple[int, str], list[tuple[float, str]]] = {}
        greeted: Counter[str] = Counter()
        for buzz in self.scene.remote.buzzes():
            if mark := MARK.search(buzz["text"]):
                times.setdefault((int(mark[1]), buzz["record"]), []).append((buzz["time"], buzz["text"]))
            else:
                assert buzz["text"].startswith("Happy Birthday Bo")
                greeted[buzz["record"]] += 1
        assert len(greeted) == 10 * len(self._born), f"{len(greeted)} greeted in {len(self._born)} programs"
        assert set(greeted.values()) == {1}, greeted.most_common(3)
        unknown = asked = 0
        for campaign, ordered in self._audiences.items():
            number, order = self._numbers[campaign], self.scene.order(campaign)
            ledger = self.scene.ledger(campaign)
            # An order to a suspended program is refused; one may be cancelled before its audience is known.
            refused = order["status"] == "FAILED" and "suspended" in order["status_detail"]
            never = refused or (order["status"] == "CANCELLED" and order["recipient_count"] == 0)
            audience = set() if never else ordered
            assert set(ledger) == audience, (order, len(ledger), len(audience))
            sent = {one for one, what in ledger.items() if what == "sent"}
            assert order["status"] == "CANCELLED" or sent == audience, (order, Counter(ledger.values()))
            for one in audience:
                rang = sorted(times.pop((number, records[one]), []))
                assert rang or one not in sent, f"lost: {order['message_text']}, {records[one]}"
                unknown += bool(rang) and one not in sent
                # Who had got it unnoticed and was sent it again because a person said so may ring again.
                again = sum(
                    records[one] in retry.records and bool(rang) and rang[0][0] < retry.at
                    for retry in self._retries.get(campaign, [])
                )
                assert len(rang) <= 1 + again, (
                    f"twice: {order}, {records[one]}, {rang}, retries {self._retries.get(campaign)},"
                    f" {self._history(one, records[one], rang[0][0])}"
                )
                asked += len(rang) > 1
        assert not times, f"buzzed without an order: {list(times)[:5]}"
        failed = self.scene.value("select count(*) from member_imports where status <> 'COMPLETED'")
        assert failed == 0
        return {
            "campaigns": len(self._audiences),
            "unknown when cancelled": unknown,
            "after a retry": asked,
        }

    def _history(self, one: UUID, record: str, since: float) -> dict[str, Any]:
        """What PassKit saw of a record from some seconds before, and what the ledger says, to find out why."""
        remote = self.scene.remote
        return {
            "calls": [
                (call["time"], call["method"], call["status"], call["fault"], call["committed"])
                for call in remote.calls(record=record)
                if call["time"] > since - 30
            ],
            "buzzes": [
                (buzz["time"], buzz["text"])
                for buzz in remote.buzzes(record=record)
                if buzz["time"] > since - 30
            ],
            "ledger": self.scene.rows(
                "select d.*, c.message_text, c.status from passbell.deliveries d"
                "  join push_campaigns c on c.id = d.campaign_id where d.pass_id = %s order by d.sent_at desc limit 12",
                [one],
            ),
        }
