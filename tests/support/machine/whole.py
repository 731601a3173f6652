"""Drives the SQL functions from several workers at random, and compares each state with the model.

`machine(url)` makes a hypothesis state machine over one database, which every example empties and fills again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from .erasing import Erasing
from .ground import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Machine", "machine"]


class Machine(Erasing):
    """All of it, and the end, where everything must come to one."""

    def teardown(self) -> None:
        """Whatever happened: when nothing is held up any more, everything ends, and no member is missed."""
        if not self.model.passes:
            return
        for program in self.programs:
            if self.model.suspended[program]:
                self.suspend(self.programs.index(program))
        for _ in range(40):
            self.let_go()
            if not any(
                one.status in {"PENDING", "PROCESSING", "PAUSED"} or one.todo
                for one in self.model.campaigns.values()
            ):
                break
            self.tick(1_000)
        left = [
            one
            for one in self.model.campaigns.values()
            if one.todo or one.status not in {"COMPLETED", "CANCELLED", "FAILED"}
        ]
        assert not left, f"never ended: {left}"
        self.tally["campaigns"] = self.tally.get("campaigns", 0) + len(self.model.campaigns)
        self.tally["gifts"] = self.tally.get("gifts", 0) + len(self.model.gifts)
        self.tally["sent"] = self.tally.get("sent", 0) + sum(
            one.counts()["sent"] for one in self.model.campaigns.values()
        )

    def let_go(self) -> None:
        """One turn of a healthy, undisturbed daemon."""
        worker = self.workers[0]
        for campaign in list(self.model.campaigns.values()):
            if campaign.status == "PAUSED":
                self.verb("resume", campaign, ("PAUSED",))
                self.resumed(campaign)
        self.drain()
        while True:
            self.tick()
            found = self.call(
                "select campaign_id, action, recipients from passbell.claim_campaign(%s, 3)", [worker]
            )
            self.claimed_campaign(found)
            if not found:
                break
        while runs := self.call(
            "select program_id, local_date from passbell.claim_birthday_run(%s, %s::float8)", [worker, LEASE]
        ):
            for program, day in runs:
                self.tick()
                self.call("select * from passbell.gift_batch(%s, %s, %s, 50)", [program, day, worker])
                self.gifted(program, day)
                self.call("select * from passbell.finish_birthday_run(%s, %s, %s)", [program, day, worker])
        while (claim := self.take(worker)) is not None:
            self.deliver(claim)
            self.report(claim, dict.fromkeys(claim.remaining, "sent"), release=True)


def machine(url: str) -> tuple[Callable[[], Machine], dict[str, int]]:
    """A machine over one database, and what it counts: steps, campaigns, sent, gifts."""
    connection = psycopg.connect(url, autocommit=True)
    counts: dict[str, int] = {}
    connection.execute("update passbell.settings set retention = interval '7 days'")

    class OnThisDatabase(Machine):
        conn = connection
        tally = counts

    return OnThisDatabase, counts
