"""Holding another session's transaction in the middle of its work, to cause a fault meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, LiteralString, Self

import psycopg

from .wait import wait_until

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Holdup"]

_TRIGGER: LiteralString = """
create or replace function public.test_holdup() returns trigger language plpgsql as $$
begin
    perform pg_catalog.pg_advisory_xact_lock_shared(4711);
    return null;
end $$;
"""
_PLACES: dict[str, LiteralString] = {
    # A daemon enters itself.
    "register": "create trigger test_holdup after insert on passbell.workers execute function public.test_holdup()",
    # The audience is being frozen: the chunks are there, the campaign is not PROCESSING yet.
    "expansion": "create trigger test_holdup after insert on passbell.chunks"
    " execute function public.test_holdup()",
    # The same, of a large audience alone: more than fifty chunks.
    "large expansion": "create or replace trigger test_holdup after insert on passbell.chunks for each row"
    " when (new.chunk_no > 50) execute function public.test_holdup()",
    # The texts are stored, the lease is written, the answer is not on its way.
    "claim": "create trigger test_holdup after update of claim_token on passbell.chunks for each row"
    " when (new.claim_token is not null) execute function public.test_holdup()",
    # Outcomes are in the ledger, the chunk still holds the same passes.
    "report": "create trigger test_holdup after insert on passbell.deliveries"
    " execute function public.test_holdup()",
    # A member is being given the birthday gift; no session may be held up for three seconds there.
    "gift": "create trigger test_holdup after insert on public.birthday_logs"
    " execute function public.test_holdup()",
    # Everything is done but the commit itself.
    "commit": "create constraint trigger test_holdup after insert on passbell.deliveries deferrable initially deferred"
    " for each row execute function public.test_holdup()",
}
_WAITING = """
select pid from pg_locks
 where locktype = 'advisory' and objid = 4711 and not granted
   and database = (select oid from pg_database where datname = current_database())
"""


class Holdup:
    """A session that gets to `place` waits there until the block is left or `release` is called.

    Places: register, expansion, large expansion, claim, report, commit (of a report), gift.
    """

    def __init__(self, url: str, place: str) -> None:
        self._conn = psycopg.connect(url, autocommit=True)
        self._conn.execute(_TRIGGER)
        self._conn.execute(_PLACES[place])

    def __enter__(self) -> Self:
        self._conn.execute("select pg_advisory_lock(4711)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(psycopg.OperationalError):  # the server may have been taken away meanwhile
            self.release()
        self._conn.close()

    def wait(self) -> int:
        """Wait until a session is held there; the process id of its backend."""
        return wait_until(
            lambda: next((pid for (pid,) in self._conn.execute(_WAITING)), 0), "a session is held up"
        )

    def release(self) -> None:
        """Let the session go on, and hold up no other. The transaction goes on although its client may be dead."""
        self._conn.execute("select pg_advisory_unlock_all()")

    def terminate(self) -> None:
        """End the backend that stands there: its transaction is rolled back."""
        self._conn.execute("select pg_terminate_backend(%s, 5000)", [self.wait()])
