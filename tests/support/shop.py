"""A small loyalty shop in the host's tables, and the calls of a daemon made by hand.

`Shop` writes plain members one can count on the fingers of two hands; `passbell.devkit.demo.members` draws
believable ones by the thousand. Everything that a daemon does in SQL can be done step by step, under a clock
that stands.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from .databases import Generation, Supabase

__all__ = ["Chunk", "MakeShop", "Row", "Shop", "utc"]

Row = dict[str, Any]
Chunk = dict[str, Any]


class MakeShop(Protocol):
    """How a test asks for a shop in a database of its own."""

    def __call__(self, generation: Generation = "2", *, supabase: Supabase = False) -> Shop:
        """Make one."""
        ...


class Shop:
    """Programs, passes and campaigns over one connection, which commits every statement by itself."""

    def __init__(self, url: str, generation: str = "2") -> None:
        self.url = url
        self.generation = generation
        self.worker = uuid4()
        self._numbers = itertools.count(1)
        self.conn = psycopg.connect(url, autocommit=True)
        self.twins: list[Shop] = []

    def close(self) -> None:
        """Close the connection, and those of its twins."""
        for shop in (self, *self.twins):
            shop.conn.close()

    def rows(self, query: Any, parameters: Any = ()) -> list[Row]:
        """All rows of a query as dicts."""
        with self.conn.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def row(self, query: Any, parameters: Any = ()) -> Row:
        """The one row of a query."""
        found = self.rows(query, parameters)
        assert len(found) == 1, found
        return found[0]

    def value(self, query: Any, parameters: Any = ()) -> Any:
        """The one value of a query."""
        (found,) = self.row(query, parameters).values()
        return found

    # ── the host ──────────────────────────────

    def program(self, name: str = "Club", protocol: str = "MEMBERSHIP", **columns: Any) -> UUID:
        """A program that is provisioned; further columns by name."""
        columns = {"passkit_program_id": f"program{next(self._numbers):015d}", **columns}
        return self._insert("programs", {"name": name, "protocol": protocol, **columns})

    def member(
        self,
        program: UUID,
        *,
        user: Row | None = None,
        points: int | None = None,
        tier_points: int | None = None,
        **columns: Any,
    ) -> UUID:
        """One pass on a phone. `user` are its user's columns (None: no user), the rest columns of the pass."""
        n = next(self._numbers)
        user_id = None if user is None else self._insert("users", {"email": f"m{n}@example.com", **user})
        columns = {
            "protocol": "MEMBERSHIP",
            "status": "INSTALLED",
            "external_id": f"M{n}",
            "passkit_internal_id": f"{n:022d}",
            **columns,
        }
        if points is not None and not self.generation.startswith("1"):
            columns["points_balance"] = points
        pass_id = self._insert("passes_master", {"program_id": program, "user_id": user_id, **columns})
        if tier_points is not None or (points is not None and self.generation.startswith("1")):
            self.conn.execute(
                "insert into protocol_membership (pass_id, points_balance, tier_points) values (%s, %s, %s)",
                [pass_id, points or 0, tier_points],
            )
        return pass_id

    def members(self, program: UUID, count: int) -> list[UUID]:
        """Many plain passes on phones, without users, at once; in the order of their ids."""
        first = next(self._numbers)
        self._numbers = itertools.count(first + count)
        rows = self.rows(
            "insert into passes_master (program_id, protocol, status, external_id, passkit_internal_id)"
            " select %s, 'MEMBERSHIP', 'INSTALLED', 'M' || n, lpad(n::text, 22, '0')"
            "   from generate_series(%s::int, %s::int) as n returning id",
            [program, first, first + count - 1],
        )
        return sorted(row["id"] for row in rows)

    def _insert(self, table: str, columns: Row) -> UUID:
        found: UUID = self.value(
            sql.SQL("insert into public.{} ({}) values ({}) returning id").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            ),
            list(columns.values()),
        )
        return found

    # ── what people do ──────────────────────────────

    def campaign(self, program: UUID | None, message: str | None = "Hello", **columns: Any) -> UUID:
        """Insert an order as a form would."""
        columns = {"name": f"Campaign {next(self._numbers)}", **columns}
        return self._insert("push_campaigns", {"program_id": program, "message_text": message, **columns})

    def order(self, campaign: UUID) -> Row:
        """The campaign's row as it is now."""
        return self.row("select * from push_campaigns where id = %s", [campaign])

    def status(self, campaign: UUID) -> str:
        """The campaign's status."""
        found: str = self.order(campaign)["status"]
        return found

    def verb(self, verb: str, campaign: UUID) -> Row:
        """push_pause, push_resume, push_cancel or push_retry_failed; the campaign afterwards."""
        return self.row(
            sql.SQL("select * from public.{}(%s)").format(sql.Identifier(f"push_{verb}")), [campaign]
        )

    # ── what a daemon does ──────────────────────────────

    def born_today(self) -> date:
        """A date of birth whose birthday is today in New York: 28 years ago, when a 29 February had one as well."""
        born: date = self.value(
            "select ((now() at time zone 'America/New_York') - interval '28 years')::date"
        )
        return born

    def clock(self, at: datetime | str | None) -> None:
        """Let passbell's time stand at `at` on this connection; None lets it go on."""
        text = "" if at is None else str(at)
        self.conn.execute("select set_config('passbell.now', %s, false)", [text])

    def claim(self, size: int = 50, worker: UUID | None = None) -> Row | None:
        """Claim the next due campaign."""
        found = self.rows("select * from passbell.claim_campaign(%s, %s)", [worker or self.worker, size])
        return found[0] if found else None

    def start(self, campaign: UUID, size: int = 50) -> Row:
        """Claim campaigns until this one was claimed; what became of it."""
        while (claimed := self.claim(size)) is not None:
            if claimed["campaign_id"] == campaign:
                return claimed
        raise AssertionError(f"not claimed: {self.order(campaign)}")

    def chunk(
        self,
        *,
        worker: UUID | None = None,
        lease: float = 60,
        cap: int = 3,
        same_text: str = "vary",
        busy: Iterable[UUID] = (),
        again: UUID | None = None,
    ) -> Chunk | None:
        """Claim the next chunk; `pass_ids` come as UUIDs. `again`: ask once more for a claim with this token."""
        found = self.rows(
            "select * from passbell.claim_chunk(%s, 'test', %s::numeric, %s, %s, %s::uuid[],"
            " p_token => %s, p_again => %s)",
            [worker or self.worker, lease, cap, same_text, list(busy), again, again is not None],
        )
        if not found:
            return None
        found[0]["pass_ids"] = [UUID(one) for one in found[0]["pass_ids"]]
        found[0]["texts"] = found[0]["texts"] or [found[0]["message"]] * len(found[0]["pass_ids"])
        return found[0]

    def finish(
        self,
        chunk: Chunk,
        outcomes: str | Sequence[str] = "sent",
        *,
        passes: Sequence[UUID] | None = None,
        release: bool = True,
        max_attempts: int = 5,
    ) -> tuple[int, str]:
        """Report a chunk; `outcomes` one for all or one per pass. Returns what remains and the status."""
        passes = list(chunk["pass_ids"]) if passes is None else list(passes)
        each = [outcomes] * len(passes) if isinstance(outcomes, str) else list(outcomes)
        row = self.row(
            "select * from passbell.finish_chunk(%s, %s, %s, %s::uuid[], %s::text[], null, null, %s, %s)",
            [
                chunk["campaign_id"],
                chunk["chunk_no"],
                chunk["claim_token"],
                passes,
                each,
                release,
                max_attempts,
            ],
        )
        return row["remaining"], row["status"]

    def send(self, campaign: UUID, **options: Any) -> Row:
        """Start a campaign and let PassKit take everything; the row afterwards."""
        self.start(campaign)
        self.send_chunks(**options)
        return self.order(campaign)

    def send_chunks(self, **options: Any) -> list[Chunk]:
        """Claim and finish chunks until there is none."""
        done = []
        while (chunk := self.chunk(**options)) is not None:
            self.finish(chunk)
            done.append(chunk)
        return done

    # ── what is true afterwards ──────────────────────────────

    def violations(self) -> list[Row]:
        """Campaigns that break the conservation law."""
        return self.rows("select * from passbell.check_conservation()")

    def ledger(self, campaign: UUID) -> dict[UUID, str]:
        """Per pass what became of it: sent, or the reason."""
        rows = self.rows(
            "select pass_id, coalesce(reason, outcome) as what from passbell.deliveries"
            " where campaign_id = %s",
            [campaign],
        )
        return {row["pass_id"]: row["what"] for row in rows}

    def waiting(self, campaign: UUID) -> set[UUID]:
        """The passes still in chunks."""
        rows = self.rows(
            "select unnest(pass_ids) as pass_id from passbell.chunks where campaign_id = %s", [campaign]
        )
        return {row["pass_id"] for row in rows}

    def logs(self, campaign: UUID) -> list[Row]:
        """The campaign's rows in the owner's audit table."""
        return self.rows("select * from notification_logs where campaign_id = %s", [campaign])


def utc(text: str) -> datetime:
    """A moment in UTC from its ISO spelling."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
