"""What the machine stands on: the people, the clock, calls, and the comparison of database and model."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from support.model import Model, Pass, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
CAP = 3
LEASE = 60
REWARD = 10
ATTEMPTS = 5
MESSAGES = ("Hello", "Hi {first_name|you}", "{points} points for you")
BIRTHDAYS = ((7, 1), (7, 1), (7, 2), (7, 9), (3, 3), (7, 1))
"""Of the six people of program 0, in order; no member of program 1 has one."""
LOOK = """
    select json_build_object(
        'campaigns', (select json_agg(json_build_object('id', c.id, 'status', c.status, 'kind', c.kind,
                        'recipients', c.recipient_count, 'program', c.program_id, 'message', c.message_text,
                        'counts', json_build_array(c.sent_count, c.failed_count, c.skipped_count),
                        'logs', (select count(*) from notification_logs l where l.campaign_id = c.id),
                        'pruned', (select json_build_array(p.sent, p.failed, p.skipped)
                                     from passbell.pruned p where p.campaign_id = c.id))) from push_campaigns c),
        'chunks', (select json_agg(json_build_object('campaign', k.campaign_id, 'no', k.chunk_no, 'passes', k.pass_ids,
                        'token', k.claim_token, 'worker', k.worker, 'lease', k.lease_until, 'rendered', k.rendered))
                     from passbell.chunks k),
        'ledger', (select json_agg(json_build_array(d.campaign_id, d.pass_id, d.outcome, d.reason, d.attempts))
                     from passbell.deliveries d),
        'violations', (select json_agg(v) from passbell.check_conservation() v))::text
"""
EMPTY = """
    truncate passbell.chunks, passbell.deliveries, passbell.pruned, passbell.list_entries, passbell.list_loads,
             passbell.turns, passbell.birthday_runs, passbell.birthday_failures, passbell.birthday_programs,
             push_campaigns, notification_logs, birthday_logs, transactions, passes_master, users, programs cascade
"""

which = st.integers(0, 63)
some = st.lists(st.integers(0, 15), min_size=1, max_size=8)


class Look:
    """The database as it is now."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.campaigns = {UUID(row["id"]): row for row in found["campaigns"] or ()}
        self.chunks = {(UUID(row["campaign"]), row["no"]): row for row in found["chunks"] or ()}
        ledger = [(UUID(c), UUID(p), *row) for c, p, *row in found["ledger"] or ()]
        self.ledger = {(c, p): (outcome, reason) for c, p, outcome, reason, _ in ledger}
        self.attempts: dict[tuple[UUID, UUID], int] = {(c, p): attempts for c, p, _, _, attempts in ledger}
        self.violations = found["violations"]


def uuid(kind: int, number: int) -> UUID:
    """The same ids in every run: chunks are cut in their order."""
    return UUID(int=(kind << 64) + number)


class Ground(RuleBasedStateMachine):
    """Three workers, two programs, a handful of passes; `conn` is set by `machine`."""

    conn: ClassVar[psycopg.Connection[Any]]
    tally: ClassVar[dict[str, int]]

    def __init__(self) -> None:
        super().__init__()
        self.workers = [uuid(9, n) for n in range(3)]
        self.programs = [uuid(1, 1), uuid(1, 2)]
        self.model = Model(START, REWARD)
        self.numbers = 0
        self.runs: list[tuple[UUID, UUID, date]] = []

    def people(self) -> None:
        """Program 0 with six people, one of them with two passes; program 1 with three, one of them the same."""
        call = self.conn.execute
        call("select set_config('passbell.now', %s, false), setseed(0.5)", [START.isoformat()])
        call(EMPTY)
        for n, program in enumerate(self.programs):
            self.model.suspended[program] = False
            call(
                "insert into programs (id, name, protocol, passkit_program_id, timezone, birthday_bot_enabled,"
                " birthday_reward_points, birthday_message)"
                " values (%s, %s, 'MEMBERSHIP', %s, 'UTC', %s, %s, 'Many happy returns, {first_name}: {points}')",
                [program, f"Club {n}", f"passkit{n}", n == 0, REWARD],
            )
        users = [uuid(2, n) for n in range(8)]
        for n, user in enumerate(users):
            month, day = BIRTHDAYS[n] if n < len(BIRTHDAYS) else (1, 2)
            self.model.birth[user] = (month, day)
            call(
                "insert into users (id, email, first_name, birth_date) values (%s, %s, %s, %s)",
                [user, f"u{n}@example.com", f"Name{n}", date(1990, month, day)],
            )
        owners = [(0, n) for n in (0, 1, 2, 3, 4, 5, 0)] + [(1, n) for n in (0, 6, 7)]
        for n, (program_no, user_no) in enumerate(owners):
            one = Pass(uuid(3, n), self.programs[program_no], users[user_no], f"M{n}")
            self.model.passes[one.id] = one
            call(
                "insert into passes_master"
                " (id, user_id, program_id, protocol, passkit_internal_id, external_id, status)"
                " values (%s, %s, %s, 'MEMBERSHIP', %s, %s, 'INSTALLED')",
                [one.id, one.user, one.program, f"{n:022d}", one.external_id],
            )

    def tick(self, seconds: float = 0.001) -> None:
        """Time goes on; no two things happen at the same moment."""
        self.model.now += timedelta(seconds=seconds)
        self.conn.execute("select set_config('passbell.now', %s, false)", [self.model.now.isoformat()])

    def call(
        self, query: str, parameters: Sequence[Any], refused: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Call a function that must work, or be refused with this SQLSTATE."""
        self.tally["steps"] = self.tally.get("steps", 0) + 1
        try:
            found = self.conn.execute(query, parameters).fetchall()  # type: ignore[call-overload]
        except psycopg.Error as error:
            if error.sqlstate != refused:
                raise
            return []
        assert refused is None, f"not refused with {refused}: {found}"
        return list(found)

    def look(self) -> Look:
        """Read everything in one statement."""
        row = self.conn.execute(LOOK).fetchone()
        assert row is not None
        return Look(json.loads(row[0]))

    def agree(self, seen: Look | None = None) -> None:
        """Compare the database with the model, table by table."""
        seen = seen or self.look()
        model = self.model
        assert not seen.violations, seen.violations
        assert seen.campaigns.keys() == model.campaigns.keys()
        in_chunks: dict[UUID, list[UUID]] = {}
        for (campaign, _), row in seen.chunks.items():
            in_chunks.setdefault(campaign, []).extend(UUID(one) for one in row["passes"])
        results: dict[UUID, dict[UUID, tuple[str, str | None]]] = {}
        for (campaign_id, pass_id), what in seen.ledger.items():
            results.setdefault(campaign_id, {})[pass_id] = what
        for campaign in model.campaigns.values():
            row = seen.campaigns[campaign.id]
            assert row["status"] == campaign.status, (row, campaign)
            counts = campaign.counts()
            assert row["counts"] == [counts["sent"], counts["failed"], counts["skipped"]], (row, counts)
            assert row["recipients"] == campaign.recipients, (row, campaign)
            assert row["logs"] == int(campaign.logged), (row, campaign)
            assert (row["pruned"] or [0, 0, 0]) == list(campaign.pruned.values()), (row, campaign.pruned)
            waiting = in_chunks.get(campaign.id, [])
            assert len(waiting) == len(set(waiting)), f"twice in chunks: {waiting}"
            assert set(waiting) == campaign.todo, (campaign, waiting)
            told = {
                one: (member.result.outcome, member.result.reason)
                for one, member in campaign.members.items()
                if member.result is not None
            }
            assert results.get(campaign.id, {}) == told
            for one, member in campaign.members.items():
                if member.result is not None and member.result.attempts is not None:
                    assert seen.attempts[campaign.id, one] == member.result.attempts, (campaign, member)
        held = {claim.token: claim for claim in model.claims.values() if claim.valid}
        for (campaign_id, chunk_no), row in seen.chunks.items():
            if row["token"] is None:
                continue
            claim = held.pop(UUID(row["token"]), None)
            assert claim is not None, f"held under an unknown token: {row}"
            assert (claim.campaign, claim.chunk_no) == (campaign_id, chunk_no)
            assert claim.remaining == {UUID(one) for one in row["passes"]}, (claim, row)
            assert moment(row["lease"]) == claim.lease_until, (claim, row)
        assert not held, f"taken away from its holder: {held}"
