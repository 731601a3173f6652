"""The PassKit accounts that this daemon serves: a client, a limit and a breaker each.

One is the daemon's own, for programs that name no account. The others are rows of `passbell.accounts` for which there
are credentials (`passbell.settings.account_secrets`). Credentials are looked at every few seconds, rows when the poll
says that they have changed: a new account is served from then on, a rotated key replaces the old one, a removed account
is served no more. A chunk keeps the account under which it was claimed; nothing is ever sent with another one's key. An
account costs nothing while it is idle: its client connects with its first request, and one question per poll is asked
for all of them together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import structlog

from passbell.database.rows import OWN, AccountSettings
from passbell.delivery.health import Health
from passbell.delivery.loops import SELDOM, Backoff, Wakeup
from passbell.delivery.pacing import Pacer
from passbell.delivery.sending import PacedCaller, Sender
from passbell.errors import ConfigurationError, DatabaseUnavailable, PassbellError
from passbell.ops.metrics import observe_request
from passbell.outcomes import Stop
from passbell.passkit import Credentials, PassKit
from passbell.passkit.transport import DryTransport, choose_client
from passbell.settings.account_secrets import account_secrets, own_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from passbell.database.calls import Queue
    from passbell.settings import Settings
    from passbell.settings.account_secrets import Secrets

__all__ = ["Account", "Accounts"]

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
"""Between looks at credentials, and at the rows of accounts while the poll has no answer."""
OPEN_SECONDS: Final = 0.5
"""Seconds between looks at an open breaker; who probes, and how often, the database decides."""
AHEAD_SECONDS: Final = 0.25
CLOSE_SECONDS: Final = 60.0
"""An account that was replaced is closed when its last call has ended, or after this."""


class Account:
    """One account as this daemon serves it now. A rotated key makes a new one."""

    def __init__(
        self, settings: Settings, queue: Queue, row: AccountSettings, secrets: Secrets | None
    ) -> None:
        """`secrets` None: dry run."""
        self.name = row.account
        self.made_of = (row, secrets)
        """What it was made of: when that changes, it is made anew."""
        limit = queue.limit_of_account(row.account)
        rate = row.rate_per_second or settings.rate_per_second
        pacer = Pacer(partial(limit.take_slots, rate), rate)
        self.passkit = PassKit(
            row.passkit_url,
            Credentials(token="dry-run") if secrets is None else Credentials(*secrets),  # noqa: S106
            message_key=row.message_key or settings.message_key,
            timeout=settings.request_timeout,
            concurrency=settings.concurrency,
            transport=DryTransport() if secrets is None else None,
            caller=PacedCaller(pacer),
            after_call=observe_request,
            http_client=settings.http_client,
        )
        self.health = Health(limit, self.passkit, row.account)
        self.sender = Sender(
            self.passkit,
            self.health,
            pacer,
            merge=settings.metadata == "merge",
            concurrency=settings.concurrency,
        )
        self.enough = max(settings.concurrency, min(round(rate * AHEAD_SECONDS), 4 * settings.chunk_size))
        """Passes in hand: what can be in flight, or a quarter of a second of work if that is more."""


class Accounts:
    """The accounts that are served, by name. Use as an async context manager."""

    def __init__(self, settings: Settings, queue: Queue) -> None:
        """`attach` says what to stop and to wake."""
        self._settings = settings
        self._queue = queue
        self._served: dict[str, Account] = {}
        self._stop: Callable[[Account, Stop], None] = lambda _account, _why: None
        self._in_use: Callable[[], Collection[Account]] = list
        self._resume: Callable[[], None] = lambda: None
        self._closing: set[asyncio.Task[None]] = set()
        self._said: dict[str, str] = {}
        self._rotates = False
        """Whether our own credentials came from files or variables, which may change; not as arguments."""
        self._rows: list[AccountSettings] = []
        self._wakeup = Wakeup()
        self._mark: int | None = None
        """The poll's mark of the rows; when it changes, they are read again."""
        self._read: int | None = None
        """The mark from before they were last read."""

    async def __aenter__(self) -> Self:
        with contextlib.suppress(ConfigurationError):
            self._rotates = own_secrets() == self._given()
        await self._serve(self._wanted([]))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._closing:
            task.cancel()
        for account in self._served.values():
            await account.passkit.__aexit__(None, None, None)

    def attach(
        self,
        *,
        stop: Callable[[Account, Stop], None],
        resume: Callable[[], None],
        in_use: Callable[[], Collection[Account]],
    ) -> None:
        """Take what to call: hand back what is unsent, claim again, name those with work in hand."""
        self._stop, self._resume, self._in_use = stop, resume, in_use
        for account in self._served.values():
            self._attach(account)

    def get(self, name: str) -> Account | None:
        """The account of that name, if it is served."""
        return self._served.get(name)

    async def run(self) -> None:
        """Look at accounts and credentials when the poll says so and every LOOK_SECONDS, until cancelled."""
        backoff = Backoff()
        while True:
            await self._wakeup.wait(LOOK_SECONDS)
            try:
                await self.look(rows=not self._wakeup.quiet)
                backoff.reset()
            except PassbellError as error:
                self._read = None
                self._wakeup.set()
                log.warning("accounts_not_read", reason=str(error))
                await asyncio.sleep(backoff.next())

    def found(self, mark: int | None) -> None:
        """Take the poll's answer about the rows of accounts; None: it cannot tell whether they have changed."""
        self._mark = mark
        self._wakeup.told(waiting=mark is None or mark != self._read)

    async def look(self, *, rows: bool = True) -> None:
        """Serve what there are credentials for now, and say so in the database; `rows`: read those once more."""
        mark = self._mark
        if rows:
            self._rows = await self._queue.account_settings()
        changed = await self._serve(self._wanted(self._rows))
        if rows or changed:
            await self._queue.serve_accounts(self._settings.rate_per_second)
        if rows:
            self._read = mark
        if changed:
            log.info("accounts_served", accounts=[name or "own" for name in self._served])
            self._resume()

    def _wanted(self, rows: list[AccountSettings]) -> dict[str, tuple[AccountSettings, Secrets | None]]:
        settings = self._settings
        wanted: dict[str, tuple[AccountSettings, Secrets | None]] = {}
        if settings.has_own_account:
            own = AccountSettings(OWN, settings.passkit_url, None, None)
            wanted[OWN] = (own, None if settings.dry_run else self._own())
        for row in rows:
            try:
                secrets = None if settings.dry_run else account_secrets(row.account)
                if not settings.dry_run:
                    choose_client(row.passkit_url, settings.http_client)
            except (ConfigurationError, ValueError) as error:
                self._say_once(row.account, str(error))
                if (served := self._served.get(row.account)) is not None:
                    wanted[row.account] = (row, served.made_of[1])
            else:
                self._said.pop(row.account, None)
                if settings.dry_run or secrets is not None:
                    wanted[row.account] = (row, secrets)
        return wanted

    def _given(self) -> Secrets:
        """Our own credentials as they were at the start."""
        key, secret, token = (
            None if value is None else value.get_secret_value()
            for value in (
                self._settings.passkit_api_key,
                self._settings.passkit_api_secret,
                self._settings.passkit_token,
            )
        )
        return key, secret, token

    def _own(self) -> Secrets:
        """Our own credentials as they are now; if they cannot be read, or only half of them, those in use."""
        if self._rotates:
            try:
                now = own_secrets()
            except ConfigurationError as error:
                self._say_once(OWN, str(error))
            else:
                if (now[0] and now[1]) or now[2]:
                    self._said.pop(OWN, None)
                    return now
        served = self._served.get(OWN)
        return self._given() if served is None or served.made_of[1] is None else served.made_of[1]

    def _say_once(self, account: str, reason: str) -> None:
        if self._said.get(account) != reason:
            self._said[account] = reason
            log.warning("credentials_not_read", account=account or "own", reason=reason)

    async def _serve(self, wanted: dict[str, tuple[AccountSettings, Secrets | None]]) -> bool:
        """Serve new accounts and leave those that are gone; returns whether anything changed."""
        changed = False
        for name in [name for name, account in self._served.items() if wanted.get(name) != account.made_of]:
            changed = True
            old = self._served.pop(name)
            self._stop(old, Stop.ACCOUNT)
            task = asyncio.create_task(self._close(old), name=f"close {name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for name, (row, secrets) in wanted.items():
            if name not in self._served:
                changed = True
                account = Account(self._settings, self._queue, row, secrets)
                await account.passkit.__aenter__()
                self._served[name] = account
                self._attach(account)
        self._queue.accounts = list(self._served)
        return changed

    def _attach(self, account: Account) -> None:
        account.health.attach(stop_all=partial(self._stop, account), resume=self._resume)

    async def _close(self, account: Account) -> None:
        """Close the client when nothing of it is in flight any more."""
        ends = time.monotonic() + CLOSE_SECONDS
        while account in self._in_use() and time.monotonic() < ends:  # noqa: ASYNC110 - ends within a second or two
            await asyncio.sleep(0.1)
        with contextlib.suppress(Exception):
            await account.passkit.__aexit__(None, None, None)

    async def probe_broken(self, wakeup: Wakeup, poll_seconds: float) -> None:
        """Look at the breakers, probe when the database says so, close them when PassKit works; until cancelled."""
        backoff = Backoff()
        while True:
            broken = any(account.health.broken for account in self._served.values())
            await wakeup.wait(OPEN_SECONDS if broken else max(poll_seconds, SELDOM))
            if wakeup.quiet and not any(account.health.broken for account in self._served.values()):
                continue
            try:
                open_now = await self._queue.open_breakers()
                for account in list(self._served.values()):
                    if account.health.broken or account.name in open_now:
                        await account.health.check()
                backoff.reset()
            except DatabaseUnavailable:
                await asyncio.sleep(backoff.next())
