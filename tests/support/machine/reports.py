"""What workers send, report, keep and lose."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from .claims import Claims
from .ground import ATTEMPTS, LEASE, which

if TYPE_CHECKING:
    from support.model import Campaign, Claim


class Reports(Claims):
    """Pushes, finish_chunk, leases."""

    def a_claim(self, number: int) -> Claim | None:
        """Pick one, an old one seldom."""
        found = [one for one in self.model.claims.values() if one.valid or number % 8 == 0]
        return found[-1 - number % len(found)] if found else None

    @rule(number=which, count=st.integers(1, 4))
    def push(self, number: int, count: int) -> None:
        """A worker whose lease holds sends some of its passes to PassKit, and says nothing yet."""
        claim = self.a_claim(number)
        if claim is not None and claim.valid and claim.lease_until > self.model.now:
            self.deliver(claim, count)

    def deliver(self, claim: Claim, count: int = 99) -> None:
        """PassKit takes the next ones."""
        for one in sorted(claim.remaining - claim.delivered)[:count]:
            self.model.deliver(claim, one)

    @rule(worker=st.integers(0, 2), count=st.integers(0, 4))
    def claim_and_push(self, worker: int, count: int) -> None:
        """The same, and some of it is sent at once."""
        if (claim := self.take(self.workers[worker])) is not None:
            self.deliver(claim, count)

    @rule(number=which)
    def stop(self, number: int) -> None:
        """A graceful stop: what was sent is reported, the rest handed back."""
        if (claim := self.a_claim(number)) is not None:
            sent = {one: "sent" if one in claim.delivered else "back" for one in claim.remaining}
            self.report(claim, sent, release=True)

    @rule(worker=st.integers(0, 2), count=st.integers(0, 4))
    def die_and_be_followed(self, worker: int, count: int) -> None:
        """A worker sends something and is killed; its lease runs out."""
        self.claim_and_push(worker, count)
        self.time_passes(61.0)

    @rule(number=which, choices=st.lists(st.integers(0, 5), min_size=4, max_size=4), release=st.booleans())
    def finish(self, number: int, choices: list[int], release: bool) -> None:  # noqa: FBT001
        """A report with any mix of outcomes that can be true; of a part, or of everything."""
        claim = self.a_claim(number)
        if claim is None:
            return
        told = {}
        for pass_id, choice in zip(sorted(claim.remaining), choices * 4, strict=False):
            if pass_id in claim.delivered:
                words = ("sent", "sent", "sent", "retry", "server_error", "maybe")
            elif release:
                words = ("back", "back", "rejected", "not_found", "retry", "server_error")
            else:
                words = ("", "", "rejected", "", "retry", "")
            if words[choice] and (release or words[choice] != "maybe"):
                told[pass_id] = words[choice]
        self.report(claim, told, release=release)

    def report(self, claim: Claim, told: dict[UUID, str], *, release: bool) -> None:
        """Call finish_chunk and know what it leads to."""
        self.tick()
        passes = list(told)
        found = self.call(
            "select remaining, status"
            " from passbell.finish_chunk(%s, %s, %s, %s::uuid[], %s::text[], null, null, %s, %s)",
            [
                claim.campaign,
                claim.chunk_no,
                claim.token,
                passes,
                [told[one] for one in passes],
                release,
                ATTEMPTS,
            ],
            None if claim.valid else "PB412",
        )
        if claim.valid:
            self.reported(claim, told, release=release)
            campaign = self.model.campaigns[claim.campaign]
            assert found[0][1] == campaign.status, (found, campaign)
        self.agree()

    def reported(self, claim: Claim, told: dict[UUID, str], *, release: bool) -> None:
        """What a report changes."""
        model, campaign = self.model, self.model.campaigns[claim.campaign]
        wrong = self.looks_wrong(campaign, list(told.values()))
        again = {
            one
            for one in sorted(claim.remaining)
            if self.outcome(campaign, one, told.get(one, ""), wrong=wrong) == "again"
        }
        if release:
            for one in claim.remaining:
                if told.get(one, "") in {"", "back", "not_found"}:
                    campaign.members[one].unsettled = claim.before[one]
        claim.remaining = {one for one in claim.remaining if campaign.members[one].result is None} - again
        if release or not claim.remaining:
            claim.valid = False
        if wrong and campaign.status == "PROCESSING":
            campaign.status = "PAUSED"
        if campaign.status == "CANCELLED" and release:
            for one in claim.remaining | again:
                model.decide(campaign, one, "skipped", "cancelled")
        campaign.settle(model.now)

    def outcome(self, campaign: Campaign, pass_id: UUID, word: str, *, wrong: bool) -> str:
        """Decide one pass; "again" if it is to be tried once more."""
        member = campaign.members[pass_id]
        if word == "sent":
            self.model.decide(campaign, pass_id, "sent", None, member.attempts + 1)
        elif word == "rejected" or (word == "not_found" and not wrong):
            self.model.decide(campaign, pass_id, "failed", word, member.attempts + 1)
        elif word in {"retry", "server_error"}:
            member.attempts += 1
            if member.attempts < (ATTEMPTS if word == "retry" else 3):
                return "again"
            self.model.decide(campaign, pass_id, "failed", "attempts_exhausted", member.attempts)
        return "decided"

    def looks_wrong(self, campaign: Campaign, words: list[str]) -> bool:
        """Nearly all of a report is 404: the region is wrong rather than the passes."""
        missing = words.count("not_found")
        decided = sum(word not in {"back", "maybe"} for word in words)
        counts = campaign.counts()
        earlier = counts["failed"] if counts["sent"] == 0 else 0
        return not campaign.released and missing > 0 and missing >= 0.9 * decided and missing + earlier >= 10

    @rule(worker=st.integers(0, 2), named=which)
    def renew(self, worker: int, named: int) -> None:
        """renew_leases extends what the worker names and still holds, and says what it must stop."""
        self.tick()
        own = [
            one
            for n, one in enumerate(self.model.claims.values())
            if one.worker == self.workers[worker] and named >> n % 6 & 1
        ]
        found = self.call(
            "select claim_token, go_on from passbell.renew_leases(%s, %s::uuid[], %s)",
            [self.workers[worker], [one.token for one in own], LEASE],
        )
        expected = {}
        for claim in own:
            if claim.valid:
                campaign = self.model.campaigns[claim.campaign]
                claim.lease_until = self.model.now + timedelta(seconds=LEASE)
                expected[claim.token] = (
                    campaign.status == "PROCESSING" and not self.model.suspended[campaign.program]
                )
        assert dict(found) == expected  # type: ignore[arg-type]
        self.agree()

    @rule(number=which)
    def claim_again(self, number: int) -> None:
        """A claim whose answer was lost is asked for again: the same passes, the same texts, a fresh lease."""
        claim = self.a_claim(number)
        if claim is None or not claim.valid or not claim.remaining:
            return
        campaign, passes = self.model.campaigns[claim.campaign], self.model.passes
        if (
            campaign.status != "PROCESSING"
            or self.model.suspended[campaign.program]
            or not all(passes[one].reachable and passes[one].opted_in for one in claim.remaining)
        ):
            return  # handed back, and claimed like any other: test_claimed_again.py
        self.tick()
        ((chunk_no, token, pass_ids, texts),) = self.call(
            "select chunk_no, claim_token, pass_ids,"
            " coalesce(texts, array_fill(to_jsonb(c) ->> 'message', array[cardinality(pass_ids)]))"
            " from passbell.claim_chunk(%s, '', %s, 3, 'vary', p_token => %s, p_again => true) c",
            [claim.worker, LEASE, claim.token],
        )
        assert (chunk_no, token) == (claim.chunk_no, claim.token)
        assert dict(zip(map(UUID, pass_ids), texts, strict=True)) == {
            one: claim.texts[one] for one in claim.remaining
        }
        claim.lease_until = self.model.now + timedelta(seconds=LEASE)
        self.agree()

    @rule(worker=st.integers(0, 2))
    def bury(self, worker: int) -> None:
        """The worker's process is gone for certain: what it held is free."""
        self.tick()
        self.call("select passbell.bury_workers(array[%s]::uuid[])", [self.workers[worker]])
        for one in self.model.claims.values():
            if one.worker == self.workers[worker]:
                one.valid = False
        self.agree()
