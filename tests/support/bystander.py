"""A daemon with two programs: what is done to one of them must not be felt by the other, the bystander."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from .wait import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from .processes import Daemon
    from .scene import Scene

__all__ = ["House"]

SERVED_SECONDS = 20.0
"""Within which the bystander's campaign is through, on a machine that is busy with other tests."""


class House:
    """A scene, its daemon, and the bystander."""

    def __init__(self, scene: Scene, daemon: Daemon) -> None:
        self.scene = scene
        self.daemon = daemon
        self.pid = daemon.pid
        self.others = scene.plain(5, "Bystander")
        self._mends: list[str] = []
        self._held: list[psycopg.Connection[Any]] = []

    def program(self, members: int = 5, **columns: object) -> UUID:
        """One more program, whose phones are known to PassKit."""
        program = self.scene.program("Guilty", **columns)
        self.scene.members(program, members)
        self.scene.publish(program)
        return program

    def rule(self, statements: str, *, undo: str = "") -> None:
        """Let the host have a rule, until the end of the test."""
        self.scene.conn.execute(statements.encode())
        if undo:
            self._mends.append(undo)

    def hold(self, statement: str, parameters: Any = ()) -> psycopg.Connection[Any]:
        """Begin a transaction, run a statement in it and leave it open, as a forgotten session does."""
        session = psycopg.connect(self.scene.url)
        session.execute(statement.encode(), parameters)
        self._held.append(session)
        return session

    def mend(self) -> None:
        """End all held transactions and all rules."""
        for session in self._held:
            session.close()
        self._held.clear()
        while self._mends:
            self.scene.conn.execute(self._mends.pop().encode())

    def hurry(self) -> None:
        """Let every pause end now, and let the daemon know."""
        self.scene.conn.execute("update passbell.set_aside set next_look_at = now()")
        self.scene.conn.execute("update passbell.owed_logs set next_try_at = now()")
        self.scene.conn.execute("update passbell.host_hangs set next_look_at = now()")
        self.scene.conn.execute("update passbell.program_copies set next_look_at = now()")
        self.scene.conn.execute("select pg_notify('passbell', 'pending')")

    def serves_the_others(self, within: float = SERVED_SECONDS) -> None:
        """A campaign of the bystander is sent to everybody, by the same process; the law holds everywhere."""
        assert self.daemon.running, self.daemon.log[-3000:]
        assert self.daemon.pid == self.pid
        campaign = self.scene.campaign(
            self.others, f"Good news {self.scene.value('select gen_random_uuid()')}"
        )
        row = self.scene.until(campaign, deadline=within)
        assert (row["status"], row["sent_count"]) == ("COMPLETED", 5), row
        assert not self.scene.violations()

    def words(self, campaign: UUID) -> str:
        """What people read of a campaign."""
        found = self.scene.value("select status_detail from push_progress(%s)", [campaign])
        return found or ""

    def aside(self, campaign: UUID) -> str:
        """Wait until the campaign is set aside; the reason."""

        def reason() -> str:
            rows = self.scene.rows("select reason from passbell.set_aside where campaign_id = %s", [campaign])
            return rows[0]["reason"] if rows else ""

        return wait_until(reason, "the campaign is set aside")

    def completes(self, campaign: UUID, sent: int = 5) -> dict[str, Any]:
        """The campaign ends by itself with everybody sent."""

        def done() -> bool:
            self.hurry()
            return self.scene.status(campaign) == "COMPLETED"

        wait_until(done, "the campaign is completed")
        row = self.scene.order(campaign)
        assert row["sent_count"] == sent, row
        return row
