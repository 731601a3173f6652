"""Orders, what people do with them, and how they start."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from support.model import Campaign, Member

from .ground import MESSAGES, some, which
from .people import People


class Orders(People):
    """push_send, the verbs, and claim_campaign."""

    @initialize(
        orders=st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(MESSAGES), st.integers(1, 4)), max_size=3
        )
    )
    def running(self, orders: list[tuple[int, str, int]]) -> None:
        """Some campaigns have started already."""
        self.people()
        for program, message, size in orders:
            self.send(program, message, None, later=False)
            self.claim_campaign(0, size)

    @rule(
        program=st.integers(0, 1),
        message=st.sampled_from(MESSAGES),
        listed=st.none() | some,
        later=st.booleans(),
    )
    def send(self, program: int, message: str, listed: list[int] | None, later: bool) -> None:  # noqa: FBT001
        """push_send: to everybody or to a list, now or in an hour; refused with PB423 for a suspended program."""
        self.tick()
        model = self.model
        target = None if listed is None else {f"M{number}" for number in listed}
        spelt = "ALL" if target is None else "IDS:" + ",".join(sorted(target))
        scheduled = model.now + timedelta(hours=1) if later else None
        suspended = model.suspended[self.programs[program]]
        answer = self.call(
            "select push_send(%s, %s, %s, 'Order', %s)",
            [self.programs[program], message, spelt, scheduled],
            "PB423" if suspended else None,
        )
        if suspended:
            self.agree()
            return
        ((found,),) = answer
        with (
            self.conn.transaction()
        ):  # its default is the database's own clock; the guard keeps people off it
            self.conn.execute("select passbell.as_engine()")
            self.conn.execute("update push_campaigns set created_at = passbell.now() where id = %s", [found])
        model.campaigns[found] = Campaign(
            found,
            self.programs[program],
            message,
            None if target is None else {one.lower() for one in target},
            model.now,
            scheduled,
            submitted=model.now,
        )
        self.agree()

    def a_campaign(self, number: int, *statuses: str) -> Campaign | None:
        """Pick one, of these statuses if there is any."""
        found = list(self.model.campaigns.values())
        fitting = [one for one in found if not statuses or one.status in statuses] or found
        return fitting[number % len(fitting)] if fitting else None

    def verb(self, verb: str, campaign: Campaign, legal: tuple[str, ...]) -> bool:
        """Call push_VERB; refused with PB422 unless the status is one of these."""
        self.tick()
        allowed = campaign.status in legal
        self.call(f"select * from push_{verb}(%s)", [campaign.id], None if allowed else "PB422")  # noqa: S608
        return allowed

    @rule(number=which)
    def pause(self, number: int) -> None:
        """push_pause."""
        campaign = self.a_campaign(number, "PENDING", "PROCESSING")
        if campaign is not None and self.verb("pause", campaign, ("PENDING", "PROCESSING", "PAUSED")):
            campaign.status = "PAUSED"
        self.agree()

    @rule(number=which)
    def resume(self, number: int) -> None:
        """push_resume goes on where it was; with nothing left, it ends."""
        campaign = self.a_campaign(number, "PAUSED")
        if campaign is not None and self.verb("resume", campaign, ("PAUSED", "PENDING", "PROCESSING")):
            self.resumed(campaign)
        self.agree()

    def resumed(self, campaign: Campaign) -> None:
        """Where a resumed campaign goes on."""
        if campaign.status == "PAUSED":
            campaign.status = "PROCESSING" if campaign.started else "PENDING"
            campaign.released, campaign.submitted = True, self.model.now
            campaign.settle(self.model.now)

    @rule(number=which)
    def cancel(self, number: int) -> None:
        """push_cancel closes what no worker holds."""
        campaign = self.a_campaign(number, "PENDING", "PROCESSING", "PAUSED")
        if number % 3 == 0 and campaign is not None:
            was = campaign.status
            if (
                self.verb("cancel", campaign, ("PENDING", "PROCESSING", "PAUSED", "CANCELLED"))
                and was != "CANCELLED"
            ):
                campaign.status, campaign.completed = "CANCELLED", self.model.now
                self.model.cancel_free(campaign)
        self.agree()

    @rule()
    def drain(self) -> None:
        """The campaign loop's turn: what dead workers held of cancelled campaigns is closed."""
        self.tick()
        self.call("select passbell.drain_cancelled(), passbell.explain_waiting('')", [])
        seen = self.look()
        for campaign in self.model.campaigns.values():
            if campaign.status == "CANCELLED":  # what pauses before a retry may stay a little longer
                self.model.cancel_free(campaign, {one for owner, one in seen.ledger if owner == campaign.id})
        self.agree(seen)

    @rule(number=which)
    def retry_failed(self, number: int) -> None:
        """push_retry_failed: the failed of a completed campaign are to do again, with the bytes they may have got."""
        campaign = self.a_campaign(number, "COMPLETED")
        if campaign is not None and self.verb("retry_failed", campaign, ("COMPLETED",)):
            failed = [
                m for m in campaign.members.values() if m.result is not None and m.result.outcome == "failed"
            ]
            for member in failed:
                member.result, member.attempts, member.unsettled = None, 0, False
                member.allowed += 1
            if failed:
                campaign.status, campaign.completed, campaign.released = "PROCESSING", None, True
        self.agree()

    @rule(worker=st.integers(0, 2), size=st.integers(1, 4))
    def claim_campaign(self, worker: int, size: int) -> None:
        """The next order that is due is frozen, held for a person, or broken; and every due one is taken."""
        self.tick()
        found = self.call(
            "select campaign_id, action, recipients from passbell.claim_campaign(%s, %s)",
            [self.workers[worker], size],
        )
        self.claimed_campaign(found)
        self.agree()

    def claimed_campaign(self, found: list[tuple[Any, ...]]) -> None:
        """Judge what claim_campaign did with which order."""
        model = self.model
        due = [
            c
            for c in model.campaigns.values()
            if c.status == "PENDING" and (c.scheduled or model.now) <= model.now
        ]
        if not found:
            assert not due, f"a due order was left: {due}"
            return
        ((campaign_id, action, recipients),) = found
        campaign = model.campaigns[campaign_id]
        assert campaign in due
        since = campaign.scheduled or campaign.submitted or campaign.created
        overdue = not campaign.released and since < model.now - timedelta(hours=24)
        if action == "held":
            campaign.status = "PAUSED"
            assert not campaign.released
            assert overdue or any(
                twin.id != campaign.id
                and (twin.program, twin.message, twin.target)
                == (campaign.program, campaign.message, campaign.target)
                and abs(twin.created - campaign.created) <= timedelta(minutes=1)
                for twin in model.campaigns.values()
            ), f"held without a reason: {campaign}"
            return
        assert not overdue, f"a stale order was sent: {campaign}"
        broken = model.suspended[campaign.program] or not model.listed(campaign)
        assert (action == "failed") is broken, (action, campaign)
        if broken:
            campaign.status, campaign.completed = "FAILED", model.now
            return
        campaign.members = {one: Member() for one in model.audience(campaign)}
        campaign.recipients = len(campaign.members)
        assert recipients == campaign.recipients
        campaign.status, campaign.started = "PROCESSING", True
        campaign.settle(model.now)
