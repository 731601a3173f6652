"""A Supabase project with two tenants, and statements tried as one of their users."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from .shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Tenants", "refused"]


class Tenants(Shop):
    """Two programs with an administrator each, a campaign with history and one that waits for either."""

    def __init__(self, url: str, generation: str) -> None:
        super().__init__(url, generation)
        self.a, self.b = self.program("A"), self.program("B")
        self.admin_a, self.admin_b = self._admin(self.a), self._admin(self.b)
        self.passes = {program: self.members(program, 3) for program in (self.a, self.b)}
        self.sent = {program: self.campaign(program, f"Sent of {program}") for program in (self.a, self.b)}
        for campaign in self.sent.values():
            self.start(campaign)
        self.send_chunks()
        self.running = {
            program: self.campaign(program, "Running, {points|no} points") for program in (self.a, self.b)
        }
        for campaign in self.running.values():
            self.start(campaign)
        self.listed = {
            program: self.campaign(program, "Listed", target_query="IDS:nobody-there,M3,M6")
            for program in (self.a, self.b)
        }
        for campaign in self.listed.values():
            self.start(campaign)

    def _admin(self, program: UUID) -> UUID:
        admin = uuid4()
        self.conn.execute(
            "insert into auth.users (id, email) values (%s, %s)", [admin, f"{admin}@example.com"]
        )
        self.conn.execute("insert into admin_profiles (id, program_id) values (%s, %s)", [admin, program])
        return admin

    @contextlib.contextmanager
    def acting(self, role: str, user: UUID | None = None) -> Iterator[psycopg.Connection[Any]]:
        """A connection as Supabase's API layer makes it: the claims of a token, then the role."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            if user is not None:
                claims = {"sub": str(user), "email": f"{user}@example.com", "role": role}
                conn.execute("select set_config('request.jwt.claims', %s, false)", [json.dumps(claims)])
            conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
            yield conn


def refused(conn: psycopg.Connection[Any], statement: Any, parameters: Any = ()) -> str:
    """The SQLSTATE with which a statement is refused; empty if it is not."""
    try:
        conn.execute(statement, parameters)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return ""
