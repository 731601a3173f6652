"""Members and their phones, programs and the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import rule

from .ground import Ground, which

if TYPE_CHECKING:
    from support.model import Pass


class People(Ground):
    """What changes while campaigns run."""

    def a_pass(self, number: int) -> Pass:
        """Pick one."""
        return list(self.model.passes.values())[number % len(self.model.passes)]

    @rule(number=which)
    def uninstall_or_install(self, number: int) -> None:
        """The pass leaves the wallet, or comes back."""
        one = self.a_pass(number)
        one.installed = not one.installed
        status = "INSTALLED" if one.installed else "UNINSTALLED"
        self.conn.execute("update passes_master set status = %s::pass_status where id = %s", [status, one.id])

    @rule(number=which)
    def opt_out_or_in(self, number: int) -> None:
        """The person changes their mind about marketing, for all their passes."""
        user = self.a_pass(number).user
        passes = [one for one in self.model.passes.values() if one.user == user]
        wanted = not passes[0].opted_in
        for one in passes:
            one.opted_in = wanted
        self.conn.execute("update users set marketing_opt_in = %s where id = %s", [wanted, user])

    @rule(number=which)
    def rename(self, number: int) -> None:
        """Another first name: a text that was not handed out yet changes, one that was must not."""
        self.numbers += 1
        self.conn.execute(
            "update users set first_name = %s where id = %s",
            [f"Name{self.numbers}x", self.a_pass(number).user],
        )

    @rule(number=which)
    def delete_member(self, number: int) -> None:
        """The platform deletes a pass that has no history of its own."""
        one = self.a_pass(number)
        if number % 4 or not one.there or any(gifted == one.id for gifted, _ in self.model.gifts):
            return
        one.there = False
        self.conn.execute("delete from passes_master where id = %s", [one.id])

    @rule(number=which)
    def suspend(self, number: int) -> None:
        """The kill switch of a program, on or off."""
        program = self.programs[number % 2]
        now = self.model.suspended[program] = not self.model.suspended[program]
        self.conn.execute("update programs set is_suspended = %s where id = %s", [now, program])

    @rule(jump=st.sampled_from((0.4, 1.1, 3.0, 61.0, 61.0, 61.0, 700.0, 90_000.0, 700_000.0)))
    def time_passes(self, jump: float) -> None:
        """A moment, a lease, a pause of the backoff, a day, more than a week."""
        self.tick(jump)
