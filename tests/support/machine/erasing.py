"""Forgetting members, and retention."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from .birthdays import Birthdays
from .ground import which


class Erasing(Birthdays):
    """push_forget and prune."""

    @rule(number=which)
    def forget(self, number: int) -> None:
        """push_forget erases a member who is not being pushed to; the counts stay."""
        one = self.a_pass(number)
        if number % 4 or not one.there:
            return
        self.tick()
        model = self.model
        busy = any(claim for claim in model.live_claims() if one.id in claim.remaining)
        self.call("select * from push_forget(%s)", [one.external_id], "PB422" if busy else None)
        if not busy:
            one.blind = True
            for campaign in model.campaigns.values():
                if (member := campaign.members.get(one.id)) is not None:
                    model.drop(
                        campaign, one.id, "skipped" if member.result is None else member.result.outcome
                    )
                    if member.result is None:
                        campaign.settle(model.now)
            for claim in model.claims.values():
                claim.remaining.discard(one.id)
                claim.valid = claim.valid and bool(claim.remaining)
        self.agree()

    @rule(limit=st.integers(1, 5))
    def prune(self, limit: int) -> None:
        """Retention takes old rows of finished campaigns, and never a pass's newest sent one."""
        self.tick()
        model = self.model
        before = self.look()
        self.call("select * from passbell.prune(%s)", [limit])
        after = self.look()
        for campaign_id, pass_id in before.ledger.keys() - after.ledger.keys():
            campaign = model.campaigns[campaign_id]
            member = campaign.members[pass_id]
            assert campaign.completed is not None
            assert campaign.completed < model.now - timedelta(days=7), campaign
            assert member.result is not None
            if member.result.outcome == "sent":
                newest = max(
                    other.members[pass_id].result.at  # type: ignore[union-attr]
                    for other in model.campaigns.values()
                    if (found := other.members.get(pass_id)) is not None
                    and found.result is not None
                    and found.result.outcome == "sent"
                )
                assert member.result.at < newest, "the newest sent row of a pass was pruned"
            else:
                model.passes[pass_id].blind |= member.delivered
            model.drop(campaign, pass_id, member.result.outcome)
        self.agree(after)
