"""Gifts: by hand and by the daemons' runs."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import rule

from support.model import Campaign, Member

from .ground import LEASE, REWARD, which
from .reports import Reports

if TYPE_CHECKING:
    from uuid import UUID


class Birthdays(Reports):
    """run_birthdays, and claim, batch and end of a run."""

    @rule(on=st.sampled_from((None, None, None, date(2026, 7, 1), date(2027, 7, 1))))
    def run_birthdays(self, on: date | None) -> None:
        """run_birthdays by hand: everybody whose day it is has the gift afterwards."""
        self.tick()
        program, day = self.programs[0], on or self.model.now.date()
        found = self.call("select eligible, gifted, failed from run_birthdays(null, %s)", [on])
        self.gifted(program, day)
        if self.model.suspended[program]:
            assert not found
        else:
            assert all(self.model.birthday_people(program, day).values()), "a member got no gift"
            assert found[0][2] == 0
        self.agree()

    @rule(worker=st.integers(0, 2))
    def claim_birthdays(self, worker: int) -> None:
        """A daemon takes the next birthday run."""
        self.tick()
        for program, day in self.call(
            "select program_id, local_date from passbell.claim_birthday_run(%s, %s::float8)",
            [self.workers[worker], LEASE],
        ):
            self.runs.append((self.workers[worker], program, day))
        self.agree()

    @rule(number=which, end=st.booleans())
    def gift_some(self, number: int, end: bool) -> None:  # noqa: FBT001
        """It gives one member the gift, or ends its pass; a daemon that lost the run is told."""
        if not self.runs:
            return
        worker, program, day = self.runs[-1 - number % min(3, len(self.runs))]
        self.tick()
        holds = self.conn.execute(
            "select true from passbell.birthday_runs where program_id = %s and local_date = %s and worker = %s",
            [program, day, worker],
        ).fetchone()
        refused = None if holds else "PB412"
        if end:
            self.call(
                "select * from passbell.finish_birthday_run(%s, %s, %s)", [program, day, worker], refused
            )
        else:
            self.call("select * from passbell.gift_batch(%s, %s, %s, 1)", [program, day, worker], refused)
        self.gifted(program, day)
        self.agree()

    def gifted(self, program: UUID, day: date) -> None:
        """Judge the new gifts, and expect a greeting for each whose member wants one."""
        model = self.model
        people = model.birthday_people(program, day)
        new = [
            (pass_id, year)
            for pass_id, year in self.conn.execute(
                "select pass_id, year from birthday_logs order by pass_id"
            ).fetchall()
            if (pass_id, year) not in model.gifts
        ]
        for pass_id, year in new:
            assert year == day.year
            assert people.get(pass_id) is False, "a second gift, or a gift on another day"
            assert not model.suspended[program]
            model.gifts[pass_id, year] = day
            model.passes[pass_id].points += REWARD
        rows = self.conn.execute("select id, points_balance from passes_master").fetchall()
        assert dict(rows) == {one.id: one.points for one in model.passes.values() if one.there}  # type: ignore[arg-type]
        greeted = [one for one, _ in new if model.passes[one].opted_in]
        if not greeted:
            return
        row = self.conn.execute(
            "select r.campaign_id, c.message_text from passbell.birthday_runs r"
            " join push_campaigns c on c.id = r.campaign_id where r.program_id = %s and r.local_date = %s",
            [program, day],
        ).fetchone()
        assert row is not None, "no campaign for the greetings"
        campaign = model.campaigns.get(row[0])
        if campaign is None:
            campaign = Campaign(
                row[0], program, row[1], None, model.now, status="PROCESSING", kind="BIRTHDAY"
            )
            campaign.started = True
            model.campaigns[campaign.id] = campaign
        if campaign.status in {"CANCELLED", "FAILED"}:
            return
        if campaign.status == "COMPLETED":
            campaign.status, campaign.completed = "PROCESSING", None
        for one in greeted:
            assert one not in campaign.members
            campaign.members[one] = Member()
        campaign.recipients += len(greeted)
