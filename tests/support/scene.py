"""Everything a campaign needs to ring real (sandbox) phones: a host database, a PassKit, daemons as processes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from passbell.devkit.demo.members import DEMO_PROGRAMS, DemoProgram, passkit_records, populate
from passbell.devkit.demo.stock import bring_in
from passbell.devkit.sandbox.remote import Remote

from .doomed import Doomed
from .processes import Daemon
from .shop import Shop
from .wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from .processes import Sandbox

__all__ = ["LONG", "Scene"]

LONG = os.environ.get("PASSBELL_LONG") == "1"
"""Whether the long forms of the tests were asked for."""

FAST = {"RATE_PER_SECOND": 500, "CHUNK_SIZE": 100, "POLL_SECONDS": 0.5, "REQUEST_TIMEOUT": 2}
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


class Scene(Shop):
    """A shop whose passes are in a running sandbox, too."""

    def __init__(self, url: str, generation: str, sandbox: Sandbox) -> None:
        super().__init__(url, generation)
        self.sandbox = sandbox
        self.remote = Remote(sandbox.url)
        self.remote.reset()
        self.programs: dict[str, UUID] = {}

    def close(self) -> None:
        """Close all connections."""
        self.remote.__exit__(None, None, None)
        super().close()

    def daemon(self, url: str | None = None, **settings: object) -> Daemon:
        """A daemon that is not started yet; fast settings by default."""
        passkit = str(settings.pop("PASSKIT_URL", self.sandbox.url))
        return Daemon(url or self.url, passkit, **{**FAST, **settings})

    def doomed(
        self,
        point: str = "",
        nth: int = 1,
        *,
        elsewhere: str = "",
        url: str | None = None,
        **settings: object,
    ) -> Doomed:
        """A daemon that kills itself when it gets to a point for the nth time; see `doomed`."""
        passkit = str(settings.pop("PASSKIT_URL", self.sandbox.url))
        return Doomed(point, nth, elsewhere, url or self.url, passkit, **{**FAST, **settings})

    # ── people and phones ───────────────────────────────────────

    def populate(self, passes: int, programs: Sequence[DemoProgram] = DEMO_PROGRAMS) -> dict[str, UUID]:
        """Believable members, in the host's tables and as PassKit records."""
        self.programs = populate(self.conn, self.generation, programs, passes)
        # Some of them have their birthday today, and the daemon would congratulate them meanwhile.
        self.conn.execute("update programs set birthday_bot_enabled = false")
        self.publish()
        return self.programs

    def plain(self, passes: int, name: str = "Club") -> UUID:
        """One program with plain members who are all on phones."""
        program = self.program(name)
        self.members(program, passes)
        self.publish()
        return program

    def publish(self, program: UUID | None = None) -> None:
        """Bring the passes of the host (of one program) into the sandbox; a record that is there is made anew."""
        owner = program and self.value("select passkit_program_id from programs where id = %s", [program])
        bring_in(
            self.remote,
            (record for record in passkit_records(self.conn) if owner in {None, record.program_id}),
        )

    def records(self, passes: Iterable[UUID]) -> dict[UUID, str]:
        """The PassKit id of each pass."""
        return {
            row["id"]: row["passkit_internal_id"]
            for row in self.rows(
                "select id, passkit_internal_id from passes_master where id = any(%s)", [list(passes)]
            )
        }

    # ── waiting ─────────────────────────────────────────────────

    def until(
        self, campaign: UUID, *statuses: str, deadline: float = 60, law: bool = False
    ) -> dict[str, Any]:
        """Wait for a status (any end unless named); with `law`, look at the conservation law meanwhile."""

        def arrived() -> bool:
            if law:
                assert not self.violations()
            return self.status(campaign) in (statuses or ENDED)

        wait_until(arrived, f"campaign becomes {statuses or ENDED}", deadline)
        return self.order(campaign)

    def until_sent(self, campaign: UUID, at_least: int, deadline: float = 60) -> None:
        """Wait until so many pushes are in the ledger."""
        wait_until(lambda: self.order(campaign)["sent_count"] >= at_least, f"{at_least} sent", deadline)

    def until_pushes(self, at_least: int, deadline: float = 60) -> None:
        """Wait until the sandbox saw so many updates of records."""
        assert self.remote.wait(timeout=deadline, pushes=at_least), self.remote.overview()

    def until_quiet(self, seconds: float = 1.2) -> int:
        """Wait until no further push arrives for some time; the number of pushes."""
        pushes, since = -1, time.monotonic()
        deadline = since + 30
        while time.monotonic() - since < seconds:
            assert time.monotonic() < deadline, "pushes keep coming"
            now = int(self.remote.overview()["pushes"])
            if now != pushes:
                pushes, since = now, time.monotonic()
            time.sleep(0.05)
        return pushes

    # ── the proof ───────────────────────────────────────────────

    def everybody_once(self, campaign: UUID, passes: set[UUID], text: str | None = None) -> dict[str, Any]:
        """No member missed, no phone buzzed twice, counts and audit row right; the campaign's row."""
        order = self.order(campaign)
        assert order["status"] == "COMPLETED", order
        assert not self.violations()
        ledger = self.ledger(campaign)
        sent = {one for one, what in ledger.items() if what == "sent"}
        assert sent == passes, (
            f"lost {len(passes - sent)}, too many {len(sent - passes)}: {order['status_detail']}"
        )
        assert order["sent_count"] == len(passes)
        assert (
            order["recipient_count"] == order["sent_count"] + order["failed_count"] + order["skipped_count"]
        )
        assert len(self.logs(campaign)) == 1
        seen = self.remote.summary(**({} if text is None else {"text": text}))
        assert (seen["buzzedMore"], seen["wrongText"]) == (0, 0), seen
        assert seen["phonesBuzzed"] == len(passes), seen
        assert self.remote.repeats()["differing"] == 0
        return order
