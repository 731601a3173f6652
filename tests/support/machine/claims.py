"""Claims of chunks, each judged by the model."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from support.model import Claim

from .ground import CAP, LEASE, Look
from .orders import Orders


class Claims(Orders):
    """claim_chunk: who is handed out, who is skipped and why."""

    @rule(worker=st.integers(0, 2), same=st.sampled_from(("vary", "vary", "vary", "skip")))
    def claim_chunk(self, worker: int, same: str) -> None:
        """A worker takes what is next; a member that may not be buzzed is skipped with the right reason."""
        self.take(self.workers[worker], same)

    def take(self, worker: UUID, same: str = "vary") -> Claim | None:
        """Claim a chunk, judge what was handed out and what was skipped."""
        self.tick()
        before = self.look()
        found = self.call(
            "select campaign_id, chunk_no, claim_token, attempt, pass_ids,"
            " coalesce(texts, array_fill(to_jsonb(c) ->> 'message', array[cardinality(pass_ids)]))"
            " from passbell.claim_chunk(%s, '', %s, %s, %s) c",
            [worker, LEASE, CAP, same],
        )
        after = self.look()
        self.lost_by_expiry(after)
        self.skipped(before, after, same)
        claim = self.handed_out(worker, before, found[0]) if found else None
        for campaign in self.model.campaigns.values():
            if campaign.status == "PROCESSING":
                campaign.settle(self.model.now)
        self.agree(after)
        return claim

    def lost_by_expiry(self, after: Look) -> None:
        """Only an expired lease may be gone after another worker's claim."""
        for claim in self.model.claims.values():
            row = after.chunks.get((claim.campaign, claim.chunk_no))
            there = row is not None and row["token"] == str(claim.token)
            if claim.valid and claim.lease_until > self.model.now:
                assert there, f"taken from under a lease: {claim}"
            elif claim.valid and there and row is not None:
                claim.remaining &= {UUID(one) for one in row["passes"]}
            elif claim.valid:
                claim.valid = False

    def skipped(self, before: Look, after: Look, same: str) -> None:
        """Judge every new row of the ledger."""
        model = self.model
        for campaign_id, pass_id in after.ledger.keys() - before.ledger.keys():
            outcome, reason = after.ledger[campaign_id, pass_id]
            campaign, one = model.campaigns[campaign_id], model.passes[pass_id]
            member = campaign.members[pass_id]
            assert campaign.status == "PROCESSING", campaign
            assert model.holder(campaign_id, pass_id) is None
            assert member.result is None
            others = sum(
                1
                for (other, _), row in before.chunks.items()
                if other != campaign_id and row["rendered"] and str(pass_id) in row["passes"]
            )
            true = {
                "unknown_member": not one.there,
                "not_installed": one.there and not one.installed,
                "opted_out": one.reachable and not one.opted_in,
                "capped": model.sent_today(pass_id) + others >= CAP,
                "same_text": same == "skip",
                "attempts_exhausted": member.unsettled and model.may_have_reached(campaign_id, pass_id),
            }
            assert true.get(str(reason)), f"{one} skipped as {reason}"
            assert outcome == ("failed" if reason == "attempts_exhausted" else "skipped")
            model.decide(campaign, pass_id, outcome, reason)

    def handed_out(self, worker: UUID, before: Look, row: tuple[Any, ...]) -> Claim:
        """Judge what a worker was given, pass by pass."""
        model = self.model
        campaign_id, chunk_no, token, attempt, pass_ids, texts = row
        passes = [UUID(one) for one in pass_ids]
        campaign = model.campaigns[campaign_id]
        assert campaign.status == "PROCESSING", campaign
        assert not model.suspended[campaign.program]
        assert passes
        assert token not in model.claims
        repeat = (campaign_id, chunk_no) in before.chunks and before.chunks[campaign_id, chunk_no]["rendered"]
        for pass_id, text in zip(passes, texts, strict=True):
            one, member = model.passes[pass_id], campaign.members[pass_id]
            assert member.result is None, f"done already: {member}"
            assert model.holder(campaign_id, pass_id) is None, "two workers hold the same pass"
            assert one.reachable, f"handed out: {one}"
            assert one.opted_in, f"handed out: {one}"
            assert member.attempts == attempt, (member, attempt)
            assert member.text in {None, text}, f"another text than before: {member.text!r}, {text!r}"
            if member.text is None:
                assert text.replace("\u200b", "").startswith(campaign.message.split("{", maxsplit=1)[0])
            if not repeat:
                assert model.sent_today(pass_id) < CAP, "over the daily cap"
                assert not (busy := model.under_way(campaign_id, pass_id)), f"two messages under way: {busy}"
        claim = Claim(
            token,
            campaign_id,
            chunk_no,
            worker,
            model.now + timedelta(seconds=LEASE),
            dict(zip(passes, texts, strict=True)),
            {one: campaign.members[one].unsettled for one in passes},
            set(passes),
        )
        for one in passes:
            campaign.members[one].unsettled = campaign.members[one].handed = True
        model.claims[token] = claim
        return claim
