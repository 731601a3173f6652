"""The SQL functions that the daemon calls, typed. One call is one transaction; see the files in sql/functions."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, LiteralString, NamedTuple

from passbell import __version__
from passbell.errors import DatabaseUnavailable, PassbellError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from passbell.db.database import Database

__all__ = [
    "OWN",
    "AccountSettings",
    "ClaimedCampaign",
    "ClaimedChunk",
    "Decided",
    "Queue",
    "Slots",
    "WorkWaiting",
]

EXPAND_SECONDS: Final = 600.0
"""Deadline for freezing an audience; a million members take a few seconds."""
REPORT_SECONDS: Final = 15.0
"""Deadline of a report. It waits half a second for a lock; what takes this long is a rule of the host."""
DETAIL_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class ClaimedCampaign:
    """What claim_campaign did: action is expanded, failed, held, set_aside or download."""

    campaign_id: UUID
    action: str
    detail: str | None
    recipients: int
    program_id: UUID | None
    csv_url: str | None
    claim_token: UUID | None


@dataclass(frozen=True, slots=True)
class ClaimedChunk:
    """Passes to push now, as parallel lists, under a lease that every report must prove with `claim_token`."""

    campaign_id: UUID
    chunk_no: int
    claim_token: UUID
    attempt: int
    program_id: UUID
    kind: str
    rate_per_second: float | None
    pass_ids: list[str]
    passkit_ids: list[str | None]
    external_ids: list[str | None]
    protocols: list[str]
    passkit_program_id: str | None
    texts: list[str]
    account: str = ""
    """The PassKit account whose program this is; empty is the daemon's own."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What finish_chunk made of a report."""

    remaining: int = 0
    status: str = ""
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Of those that failed or were skipped, how many for which reason."""
    postponed: dict[str, int] = field(default_factory=dict)
    """Of those that stay for another attempt, how many were reported as what."""


@dataclass(frozen=True, slots=True)
class Slots:
    """A block of the account's rate: first start, the clock it refers to (both unix seconds), width (seconds)."""

    starts_at: float
    clock: float
    spacing: float


OWN: Final = ""
"""The account of programs that name none."""


def rate_key(account: str, own: str) -> str:
    """Name the row of an account's limit and breaker, as `passbell.rate_key` does."""
    return own if account == OWN else f"account:{account}"


class AccountSettings(NamedTuple):
    """A row of `passbell.accounts` that is switched on; None: the daemon's own setting holds."""

    account: str
    passkit_url: str
    message_key: str | None
    rate_per_second: float | None


class WorkWaiting(NamedTuple):
    """For which loops there may be something to do. False is certain, true may mean "not yet"."""

    campaigns: bool
    chunks: bool
    imports: bool
    breaker: bool
    """The account's breaker is open: somebody must probe."""


class Queue:
    """The queue as one worker sees it."""

    def __init__(self, database: Database, worker: UUID, account: str) -> None:
        """`account` names the PassKit account whose limit and breaker count."""
        self.database = database
        self.worker = worker
        self.account = account
        self.accounts = [OWN]
        """Names of the accounts that are served; only their work is asked for."""

    def of_account(self, name: str) -> Queue:
        """The same worker's queue with the limit and the breaker of one account."""
        return Queue(self.database, self.worker, rate_key(name, self.account))

    async def work_waiting(self) -> WorkWaiting:
        """Whether anything may be there to do; one trivial query."""
        row = await self.database.row(
            "select * from passbell.work_waiting(%s, %s::text[])", (self.account, self.accounts)
        )
        return WorkWaiting(*row) if row else WorkWaiting(*[True] * 4)

    async def tick(self) -> None:
        """Close what was cancelled, look again at what was set aside, keep the words of waiting campaigns true.

        Each is a transaction of its own, and each is tried although another one failed.
        """
        trouble: PassbellError | None = None
        for query, parameters in _TICK:
            try:
                await self.database.fetch(query, (self.account,) if parameters else (), deadline=60)
            except DatabaseUnavailable:
                raise
            except PassbellError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    async def claim_campaign(
        self, chunk_size: int, lease_seconds: float, *, downloads: bool = True
    ) -> ClaimedCampaign | None:
        """Take the next due campaign and freeze its audience; None when there is none.

        `downloads=False` passes over campaigns whose list must be downloaded first.
        """
        row = await self.database.row(
            "select * from passbell.claim_campaign(%s, %s, %s, %s, %s::text[])",
            (self.worker, chunk_size, int(max(60, lease_seconds)), downloads, self.accounts),
            deadline=EXPAND_SECONDS,
        )
        return ClaimedCampaign(*row) if row else None

    async def list_failed(self, campaign: UUID, claim_token: UUID, detail: str, *, again: bool) -> None:
        """The campaign's list could not be had; `again`: it may work later."""
        await self.database.fetch(
            "select passbell.list_failed(%s, %s, %s, %s)", (campaign, claim_token, detail, again)
        )

    async def claim_chunk(
        self,
        lease_seconds: float,
        daily_cap: int,
        same_text: str,
        busy_programs: Sequence[UUID] = (),
        busy_campaigns: Sequence[UUID] = (),
        *,
        accounts: Sequence[str] | None = None,
    ) -> ClaimedChunk | None:
        """Take the next chunk, of all accounts that are served or of some; None when nothing may be sent now."""
        row = await self.database.row(
            _CLAIM,
            (
                self.worker,
                self.account,
                lease_seconds,
                daily_cap,
                same_text,
                list(busy_programs),
                list(busy_campaigns),
                self.accounts if accounts is None else list(accounts),
            ),
        )
        if row is None:
            return None
        *fields, message, texts, account = row
        texts = texts or [message] * len(row[7])  # one per pass
        return ClaimedChunk(*(*fields, texts, account or OWN))

    async def finish_chunk(
        self,
        chunk: ClaimedChunk,
        outcomes: Sequence[tuple[str, str, int | None, str]],
        *,
        release: bool,
        max_attempts: int,
        wait_seconds: float = 0.0,
        ask_host: bool = True,
    ) -> Decided:
        """Report outcomes (pass id, outcome, HTTP status, detail).

        `ask_host=False` writes to passbell's own tables alone; the campaign's counters follow later.

        Raises:
            LeaseLost: another worker holds the chunk; nothing was written.
        """
        row = await self.database.row(
            _FINISH,
            (
                chunk.campaign_id,
                chunk.chunk_no,
                chunk.claim_token,
                *_report(chunk, outcomes, release=release),
                release,
                max_attempts,
                wait_seconds,
                ask_host,
            ),
            deadline=REPORT_SECONDS,
        )
        return Decided(*row) if row else Decided()

    async def renew_leases(
        self, tokens: Sequence[UUID], lease_seconds: float, *, extend: bool, look: Sequence[UUID] = ()
    ) -> dict[UUID, tuple[bool, list[str]]]:
        """Claim tokens still ours, each with whether it may go on and the passes that may no longer be sent.

        `look`: the tokens whose passes are looked at.
        """
        rows = await self.database.fetch(
            "select l.claim_token, l.go_on, w.pass_ids"
            "  from passbell.renew_leases(%s, %s::uuid[], %s::numeric, %s) l"
            "  left join passbell.withdrawn(%s, %s::uuid[]) w on w.claim_token = l.claim_token",
            (self.worker, list(tokens), lease_seconds, extend, self.worker, list(look)),
        )
        return {token: (go_on, withdrawn or []) for token, go_on, withdrawn in rows}

    async def release_orphans(self, known: Sequence[UUID]) -> int:
        """Free chunks entered under our name by a call whose answer was lost."""
        row = await self.database.row(
            "select passbell.release_orphans(%s, %s::uuid[])", (self.worker, list(known))
        )
        return row[0] if row else 0

    async def take_slots(
        self, key: str, rate: float, count: int, late: float = 0.0, late_at: float | None = None
    ) -> Slots:
        """Reserve `count` consecutive slots of a rate limit row, `late` seconds further on.

        `late_at`: unix seconds of the database's clock; a gap behind it that somebody asked for already counts.
        """
        row = await self.database.row(
            "select extract(epoch from starts_at)::numeric, extract(epoch from clock)::numeric, spacing::numeric"
            " from passbell.take_slots(%s, %s, %s::numeric, %s::float8, %s::float8)",
            (key, count, rate, late, late_at),
        )
        assert row is not None  # noqa: S101 - the function has OUT parameters: always one row
        return Slots(*map(float, row))  # numeric: extra_float_digits of the session cuts off a float8

    async def throttle(self, seconds: float | None) -> None:
        """PassKit said 429: slow down all daemons."""
        await self.database.fetch("select passbell.throttle(%s, %s::numeric)", (self.account, seconds))

    async def open_breaker(self, kind: str, reason: str) -> bool:
        """Stop the account; true if this call opened it."""
        row = await self.database.row(
            "select passbell.open_breaker(%s, %s, %s)", (self.account, kind, reason), deadline=30
        )
        return bool(row and row[0])

    async def open_breakers(self) -> set[str]:
        """Names of the served accounts whose breaker is open."""
        rows = await self.database.fetch(
            "select a.name from unnest(%s::text[], %s::text[]) as a (name, key)"
            "  join passbell.rate_limits l on l.account = a.key where l.breaker = 'open'",
            (list(self.accounts), [rate_key(name, self.account) for name in self.accounts]),
        )
        return {name for (name,) in rows}

    async def claim_probe(self) -> bool:
        """Whether the breaker is open and this daemon shall probe now."""
        row = await self.database.row("select passbell.claim_probe(%s)", (self.account,))
        return bool(row and row[0])

    async def is_closed(self) -> bool:
        """Whether the account's breaker is closed, by whomever."""
        row = await self.database.row(
            "select not exists (select from passbell.rate_limits where account = %s and breaker = 'open')",
            (self.account,),
        )
        return bool(row and row[0])

    async def close_breaker(self) -> bool:
        """PassKit works again; true if this call closed it."""
        row = await self.database.row("select passbell.close_breaker(%s)", (self.account,), deadline=30)
        return bool(row and row[0])

    async def register(self, process: str, rate: float, daily_cap: int) -> None:
        """Enter this daemon (`process` names it for its neighbours) and its pace."""
        await self.database.fetch(
            "select passbell.register_worker(%s, %s, %s, %s, %s, %s, %s::numeric, %s)",
            (
                self.worker,
                socket.gethostname(),
                os.getpid(),
                process,
                __version__,
                self.account,
                rate,
                daily_cap,
            ),
        )

    async def account_settings(self) -> list[AccountSettings]:
        """The accounts that are switched on."""
        rows = await self.database.fetch(
            "select account, passkit_url, message_key, rate_per_second::float8 from passbell.account_settings()"
        )
        return [AccountSettings(*row) for row in rows]

    async def serve_accounts(self, rate: float) -> None:
        """Say which accounts this daemon serves; `rate` holds for those without one of their own."""
        await self.database.fetch(
            "select passbell.serve_accounts(%s, %s::text[], %s::numeric)", (self.worker, self.accounts, rate)
        )

    async def heartbeat(self, doing: str) -> bool:
        """Still alive; false if the database does not know us (any more)."""
        row = await self.database.row("select passbell.heartbeat(%s, %s)", (self.worker, doing))
        return bool(row and row[0])

    async def neighbours(self, namespace: str) -> list[tuple[UUID, str]]:
        """Id and process of the other workers of this machine."""
        rows = await self.database.fetch(
            "select * from passbell.neighbours(%s, %s)", (self.worker, namespace)
        )
        return [(worker, process) for worker, process in rows]

    async def bury(self, dead: Sequence[UUID]) -> int:
        """Free at once what these dead workers held; returns the number of chunks."""
        row = await self.database.row("select passbell.bury_workers(%s::uuid[])", (list(dead),))
        return row[0] if row else 0

    async def unregister(self) -> None:
        """Say goodbye."""
        await self.database.fetch("select passbell.unregister_worker(%s)", (self.worker,), deadline=3)


_CLAIM: Final[LiteralString] = """
    select campaign_id, chunk_no, claim_token, attempt, program_id, kind, rate_per_second::float8, pass_ids,
           passkit_ids, external_ids, protocols, passkit_program_id, message, texts, account
      from passbell.claim_chunk(%s, %s, %s::numeric, %s, %s, %s::uuid[], %s::uuid[], %s::text[])
"""
_TICK: Final[tuple[tuple[LiteralString, bool], ...]] = (
    ("select passbell.drain_cancelled()", False),
    ("select passbell.look_again()", False),
    ("select passbell.explain_waiting(%s)", True),
)
_FINISH: Final[LiteralString] = """
    select remaining, status, sent, failed, skipped, reasons, postponed
      from passbell.finish_chunk(
           %s, %s, %s, %s::uuid[], %s::text[], %s::smallint[], %s::text[], %s, %s, %s::numeric, %s)
"""


def _report(
    chunk: ClaimedChunk, outcomes: Sequence[tuple[str, str, int | None, str]], *, release: bool
) -> tuple[str | None, str | None, str, list[str | None] | None]:
    """Outcomes as finish_chunk's parallel arrays: pass ids, outcomes, HTTP statuses, details.

    The usual report, everybody sent with the same status, names nobody.
    """
    _, _, status, _ = outcomes[0] if outcomes else ("", "", None, "")
    whole = release and bool(outcomes) and len(outcomes) == len(chunk.pass_ids)
    if whole and all(what == "sent" and code == status for _, what, code, _ in outcomes):
        return None, None, _array([_number(status)]), None
    # PostgreSQL's text knows neither NUL nor half a surrogate pair, and PassKit's words come from anywhere.
    details = [
        detail.replace("\0", "").encode("utf-8", "replace").decode()[:DETAIL_LENGTH] or None
        for _, _, _, detail in outcomes
    ]
    return (
        _array(pass_id for pass_id, _, _, _ in outcomes),
        _array(what for _, what, _, _ in outcomes),
        _array(_number(code) for _, _, code, _ in outcomes),
        details if any(details) else None,
    )


def _array(words: Iterable[str]) -> str:
    """PostgreSQL's text form of an array of uuids, numbers or our own words: four times as fast as a list."""
    return f"{{{','.join(words)}}}"


def _number(status: int | None) -> str:
    return "NULL" if status is None else str(status)
