"""The queue as one worker sees it: campaigns, chunks, the accounts that are served, and the worker itself.

One call is one transaction; the functions are in sql/functions. What else the daemon calls is beside this module:
`limits` (rate and breaker), `filequeue` (lists and imports), `runs` (birthdays and automations) and `upkeep`
(retention, results, numbers).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, LiteralString

from passbell import __version__
from passbell.database.claims import Claims
from passbell.database.limits import RateLimit, rate_key
from passbell.database.rows import (
    OWN,
    AccountSettings,
    ClaimedCampaign,
    ClaimedChunk,
    Finished,
    WorkWaiting,
)
from passbell.errors import DatabaseUnavailable, PassbellError
from passbell.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from passbell.database.pool import Database
    from passbell.outcomes import Decision

__all__ = ["QUICK_SECONDS", "Queue"]

EXPAND_SECONDS: Final = 600.0
"""Deadline for freezing an audience; a million members take a few seconds."""
QUICK_SECONDS: Final = 10.0
"""The first try to freeze an audience is cut after this. The program then waits for its turn among the slow ones
(`passbell.quick_seconds` is the same number)."""
TICK_SECONDS: Final = 20.0
"""If a rule of the host's holds up the upkeep of campaigns for longer, it is cut, and the campaign says so."""
CLAIM_SECONDS: Final = 8.0
"""If a rule of the host's holds up the claim of a chunk for longer, the server cuts it, and the campaign says so."""
RENEW_SECONDS: Final = 5.0
"""If something of the host's holds up a check of the leases for longer, it is cut; the leases are extended anyway."""
REPORT_SECONDS: Final = 15.0
"""Deadline of a report. It waits half a second for a lock, so only a rule of the host's can take this long."""
DETAIL_LENGTH: Final = 300


class Queue:
    """The queue as one worker sees it."""

    def __init__(self, database: Database, worker: UUID, account: str) -> None:
        """`account` is the rate row's key of the daemon's own PassKit account."""
        self.database = database
        self.worker = worker
        self.account = account
        self.accounts = [OWN]
        """Names of the accounts that are served; only their work is asked for."""
        self._campaign_claims = Claims()
        self._chunk_claims = Claims()

    def limit_of_account(self, name: str) -> RateLimit:
        """The limit and the breaker of a PassKit account."""
        return RateLimit(self.database, rate_key(name, self.account))

    def limit_of_campaign(self, campaign: UUID) -> RateLimit:
        """The rate that a campaign asks for itself."""
        return RateLimit(self.database, f"campaign:{campaign}")

    async def work_waiting(self) -> WorkWaiting:
        """Whether anything may be there to do; one trivial query."""
        row = await self.database.row(
            "select campaigns, chunks, imports, breaker, passbell.accounts_mark(p_worker => %(worker)s)"
            "  from passbell.work_waiting(p_account => %(account)s, p_accounts => %(accounts)s::text[])",
            {"worker": self.worker, "account": self.account, "accounts": self.accounts},
        )
        return WorkWaiting(*row) if row else WorkWaiting(True, True, True, True, None)

    async def tick(self) -> None:
        """Close cancelled campaigns, look again at those set aside, say anew why the others wait.

        Each step is a transaction of its own, and is made even if another one failed.
        """
        trouble: PassbellError | None = None
        for query in _TICK:
            try:
                await self.database.fetch(
                    query, {"account": self.account}, deadline=60, cut_after=TICK_SECONDS
                )
            except DatabaseUnavailable:
                raise
            except PassbellError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    async def claim_campaign(
        self,
        chunk_size: int,
        lease_seconds: float,
        *,
        downloads: bool = True,
        patience: float = QUICK_SECONDS,
    ) -> ClaimedCampaign | None:
        """Take the next due campaign and freeze its audience; None when there is none.

        With `downloads=False` campaigns whose list must be downloaded first are passed over. After `patience`
        seconds the server cuts the call, and the campaign says so. With more than QUICK_SECONDS only slow programs
        are served. After a lost answer the next call asks for the same claim again.
        """
        with self._campaign_claims.next() as claim:
            row = await self.database.row(
                _CLAIM_CAMPAIGN,
                {
                    "worker": self.worker,
                    "chunk_size": chunk_size,
                    "lease": int(max(60, lease_seconds)),
                    "downloads": downloads,
                    "accounts": self.accounts,
                    "patience": patience,
                    **claim._asdict(),
                },
                deadline=EXPAND_SECONDS,
                cut_after=patience,
            )
        return ClaimedCampaign(*row) if row else None

    async def slow_claim(self) -> float | None:
        """The patience that the next claim of a slow program needs; None if none of them has anything to start."""
        patience: float | None = await self.database.value("select passbell.slow_claim()")
        return patience

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
        """Take the next chunk, of all accounts that are served or of some; None when nothing may be sent now.

        After a lost answer the next call asks for the same claim again: a chunk that it took is answered then.
        """
        with self._chunk_claims.next() as claim:
            row = await self.database.row(
                _CLAIM_CHUNK,
                {
                    "worker": self.worker,
                    "account": self.account,
                    "lease": lease_seconds,
                    "daily_cap": daily_cap,
                    "same_text": same_text,
                    "busy_programs": list(busy_programs),
                    "busy_campaigns": list(busy_campaigns),
                    "accounts": self.accounts if accounts is None else list(accounts),
                    **claim._asdict(),
                },
                cut_after=CLAIM_SECONDS,
            )
        if row is None:
            return None
        *fields, message, texts, account = row
        texts = texts or [message] * len(row[7])  # one per pass
        return ClaimedChunk(*(*fields, texts, account or OWN))

    async def finish_chunk(
        self,
        chunk: ClaimedChunk,
        decisions: Sequence[Decision],
        *,
        release: bool,
        max_attempts: int,
        wait_seconds: float = 0.0,
        ask_host: bool = True,
    ) -> Finished:
        """Report what became of passes.

        `ask_host=False` writes to passbell's own tables alone; the campaign's counters follow later.

        Raises:
            LeaseLost: another worker holds the chunk; nothing was written.
        """
        pass_ids, words, statuses, details = _report_arrays(chunk, decisions, release=release)
        row = await self.database.row(
            _FINISH_CHUNK,
            {
                "campaign": chunk.campaign_id,
                "chunk_no": chunk.chunk_no,
                "token": chunk.claim_token,
                "pass_ids": pass_ids,
                "outcomes": words,
                "statuses": statuses,
                "details": details,
                "release": release,
                "max_attempts": max_attempts,
                "wait": wait_seconds,
                "ask_host": ask_host,
            },
            deadline=REPORT_SECONDS,
            cut_after=2 * REPORT_SECONDS,  # should a cancellation be lost, its locks end all the same
        )
        return Finished(*row) if row else Finished()

    async def renew_leases(
        self, tokens: Sequence[UUID], lease_seconds: float, *, extend: bool, look: Sequence[UUID] = ()
    ) -> dict[UUID, tuple[bool, list[str]]]:
        """The claim tokens that are still ours; for each, whether its chunk may go on and which passes are withdrawn.

        `look`: only passes of these tokens are checked for opt-outs and removed passes.
        """
        rows = await self.database.fetch(
            _RENEW_LEASES,
            {
                "worker": self.worker,
                "tokens": list(tokens),
                "lease": lease_seconds,
                "extend": extend,
                "look": list(look),
            },
            cut_after=RENEW_SECONDS,
        )
        return {token: (go_on, withdrawn or []) for token, go_on, withdrawn in rows}

    async def open_breakers(self) -> set[str]:
        """Names of the served accounts whose breaker is open."""
        rows = await self.database.fetch(
            "select a.name from unnest(%(names)s::text[], %(keys)s::text[]) as a (name, key)"
            "  join passbell.rate_limits l on l.account = a.key where l.breaker = 'open'",
            {
                "names": list(self.accounts),
                "keys": [rate_key(name, self.account) for name in self.accounts],
            },
        )
        return {name for (name,) in rows}

    async def register(self, process: str, rate: float, daily_cap: int) -> None:
        """Enter this daemon (`process` names it for its neighbours) and its pace."""
        await self.database.fetch(
            _REGISTER,
            {
                "worker": self.worker,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "process": process,
                "version": __version__,
                "account": self.account,
                "rate": rate,
                "daily_cap": daily_cap,
            },
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
            "select passbell.serve_accounts("
            " p_worker => %(worker)s, p_accounts => %(accounts)s::text[], p_rate => %(rate)s::numeric)",
            {"worker": self.worker, "accounts": self.accounts, "rate": rate},
        )

    async def heartbeat(self, doing: str) -> bool:
        """Still alive; false if the database does not know us (any more)."""
        return bool(
            await self.database.value(
                "select passbell.heartbeat(p_worker => %(worker)s, p_doing => %(doing)s)",
                {"worker": self.worker, "doing": doing},
            )
        )

    async def neighbours(self, namespace: str) -> list[tuple[UUID, str]]:
        """Id and process of the other workers of this machine."""
        rows = await self.database.fetch(
            "select id, process from passbell.neighbours(p_worker => %(worker)s, p_namespace => %(namespace)s)",
            {"worker": self.worker, "namespace": namespace},
        )
        return [(worker, process) for worker, process in rows]

    async def bury(self, dead: Sequence[UUID]) -> int:
        """Free at once what these dead workers held; returns the number of chunks."""
        freed: int | None = await self.database.value(
            "select passbell.bury_workers(p_dead => %(dead)s::uuid[])", {"dead": list(dead)}
        )
        return freed or 0

    async def unregister(self) -> None:
        """Take this daemon out of the workers table; what it still holds is free."""
        await self.database.fetch(
            "select passbell.unregister_worker(p_worker => %(worker)s)", {"worker": self.worker}, deadline=3
        )


def _report_arrays(
    chunk: ClaimedChunk, decisions: Sequence[Decision], *, release: bool
) -> tuple[str | None, str | None, str, list[str] | None]:
    """Decisions as finish_chunk's parallel arrays: pass ids, outcomes, HTTP statuses, details.

    A status or detail that is missing is 0 or empty here, and _FINISH_CHUNK makes NULL of it: a session may be set not
    to read NULL in an array (array_nulls). The usual report, every pass sent with the same status, names no pass.
    """
    status = decisions[0].http_status if decisions else None
    whole = release and bool(decisions) and len(decisions) == len(chunk.pass_ids)
    if whole and all(outcome == Outcome.SENT and code == status for _, outcome, code, _ in decisions):
        return None, None, _array([_number(status)]), None
    # PostgreSQL's text knows neither NUL nor half a surrogate pair, and PassKit's words come from anywhere.
    details = [
        detail.replace("\0", "").encode("utf-8", "replace").decode()[:DETAIL_LENGTH]
        for _, _, _, detail in decisions
    ]
    return (
        _array(pass_id for pass_id, _, _, _ in decisions),
        _array(outcome for _, outcome, _, _ in decisions),
        _array(_number(code) for _, _, code, _ in decisions),
        details if any(details) else None,
    )


def _array(words: Iterable[str]) -> str:
    """PostgreSQL's text form of an array of uuids, numbers or our own words: four times as fast as a list."""
    return f"{{{','.join(words)}}}"


def _number(status: int | None) -> str:
    return str(status or 0)


_CLAIM_CAMPAIGN: Final[LiteralString] = """
    select campaign_id, action, detail, recipients, program_id, csv_url, claim_token
      from passbell.claim_campaign(
           p_worker => %(worker)s, p_chunk_size => %(chunk_size)s, p_lease_seconds => %(lease)s,
           p_downloads => %(downloads)s, p_accounts => %(accounts)s::text[], p_token => %(token)s, p_again => %(again)s,
           p_patience => %(patience)s::numeric)
"""
_CLAIM_CHUNK: Final[LiteralString] = """
    select campaign_id, chunk_no, claim_token, attempt, program_id, kind, rate_per_second::float8, pass_ids,
           passkit_ids, external_ids, protocols, passkit_program_id, message, texts, account
      from passbell.claim_chunk(
           p_worker => %(worker)s, p_account => %(account)s, p_lease_seconds => %(lease)s::numeric,
           p_daily_cap => %(daily_cap)s, p_same_text => %(same_text)s, p_busy_programs => %(busy_programs)s::uuid[],
           p_busy_campaigns => %(busy_campaigns)s::uuid[], p_accounts => %(accounts)s::text[],
           p_token => %(token)s, p_again => %(again)s)
"""
_TICK: Final[tuple[LiteralString, ...]] = (
    "select passbell.drain_cancelled()",
    "select passbell.look_again()",
    "select passbell.explain_waiting(p_account => %(account)s)",
)
_FINISH_CHUNK: Final[LiteralString] = """
    select remaining, status, sent, failed, skipped, reasons, postponed
      from passbell.finish_chunk(
           p_campaign => %(campaign)s, p_chunk_no => %(chunk_no)s, p_claim_token => %(token)s,
           p_pass_ids => %(pass_ids)s::uuid[], p_outcomes => %(outcomes)s::text[],
           p_http => array_replace(%(statuses)s::smallint[], 0::smallint, null),
           p_details => array_replace(%(details)s::text[], '', null), p_release => %(release)s,
           p_max_attempts => %(max_attempts)s, p_wait_seconds => %(wait)s::numeric, p_ask_host => %(ask_host)s)
"""
_RENEW_LEASES: Final[LiteralString] = """
    select l.claim_token, l.go_on, w.pass_ids
      from passbell.renew_leases(
           p_worker => %(worker)s, p_claim_tokens => %(tokens)s::uuid[], p_lease_seconds => %(lease)s::numeric,
           p_extend => %(extend)s) l
      left join passbell.withdrawn(p_worker => %(worker)s, p_claim_tokens => %(look)s::uuid[]) w
        on w.claim_token = l.claim_token
"""
_REGISTER: Final[LiteralString] = """
    select passbell.register_worker(
           p_worker => %(worker)s, p_host => %(host)s, p_pid => %(pid)s, p_process => %(process)s,
           p_version => %(version)s, p_account => %(account)s, p_rate => %(rate)s::numeric,
           p_daily_cap => %(daily_cap)s)
"""
