"""The state of the database as metrics: read at scrape time, at most every few seconds.

One query, `passbell.queue_state`, reads the unfinished campaigns and a few single rows, never the ledger or the queue.
Every daemon gives the same numbers here: aggregate them with max(), not sum().

Whether the database answers is asked separately, because the query may fail or be slow while the database is there.
Then the numbers are missing, `passbell_queue_state_up` is 0, and the log says why, once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Gauge

from passbell.database.upkeep import Upkeep
from passbell.errors import PassbellError
from passbell.ops.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from passbell.database.pool import Database

__all__ = ["QueueState"]

log = structlog.get_logger()

FRESH_SECONDS: Final = 5.0
"""Scrapes within this time share one query."""
DEADLINE: Final = 3.0
"""A scrape gives up after ten seconds; ours must have answered by then, with or without the database."""

PROBE_SECONDS: Final = 2.0

_UP = Gauge("passbell_database_up", "Whether the database answered the last scrape.", registry=REGISTRY)
_READ = Gauge(
    "passbell_queue_state_up",
    "Whether the numbers below could be read from the database at the last scrape.",
    registry=REGISTRY,
)


class AccountGauge(Gauge):
    """A gauge by account. The account of programs that name no account has no label."""

    def collect(self) -> Iterable[Metric]:
        """Leave the empty label out: to Prometheus it is the same as none."""
        for family in super().collect():
            family.samples = [
                sample._replace(
                    labels={
                        name: value for name, value in sample.labels.items() if value or name != "account"
                    }
                )
                for sample in family.samples
            ]
            yield family


_STATE: Final = {
    "campaigns": Gauge(
        "passbell_campaigns",
        "Unfinished campaigns by status; SCHEDULED is PENDING and not due.",
        ["status"],
        registry=REGISTRY,
    ),
    "recipients": Gauge(
        "passbell_queue_recipients",
        "Passes still to be decided, by campaign status.",
        ["status"],
        registry=REGISTRY,
    ),
    "oldest": Gauge(
        "passbell_campaign_oldest_age_seconds",
        "Age of the oldest campaign by status: since it was due (and its program may be served), since it started, "
        "since it was paused.",
        ["status"],
        registry=REGISTRY,
    ),
    "idle": Gauge(
        "passbell_campaign_idle_seconds",
        "Longest time that a campaign in PROCESSING has not moved though it might: quiet hours, suspended programs, "
        "passes that are not due, PassKit's 429 and the breaker left out.",
        registry=REGISTRY,
    ),
    "held": Gauge(
        "passbell_campaigns_held",
        "Campaigns that paused themselves for a person to look at: not_found (PassKit answers 404), other.",
        ["kind"],
        registry=REGISTRY,
    ),
    "consent": Gauge(
        "passbell_consent_unreadable", "1 while members' opt-outs cannot be read.", registry=REGISTRY
    ),
    "breaker": AccountGauge(
        "passbell_breaker_open", "1 while the breaker is open.", ["kind", "account"], registry=REGISTRY
    ),
    "blocked": AccountGauge(
        "passbell_throttled_seconds",
        "Seconds until sending goes on after PassKit's last 429.",
        ["account"],
        registry=REGISTRY,
    ),
    "rate": AccountGauge(
        "passbell_rate_limit_per_second",
        "The account's limit, as configured.",
        ["account"],
        registry=REGISTRY,
    ),
    "served": Gauge(
        "passbell_account_served",
        "1 while a running daemon has the account's credentials. Empty: the account of programs that name none.",
        ["account"],
        registry=REGISTRY,
    ),
    "unserved": Gauge(
        "passbell_account_programs_waiting",
        "Programs of an account that no running daemon serves and that is not switched off.",
        ["account"],
        registry=REGISTRY,
    ),
    "workers": Gauge(
        "passbell_workers", "Daemons that gave a sign of life within 30 seconds.", registry=REGISTRY
    ),
    "undelivered": Gauge(
        "passbell_undelivered_last_hour",
        "Passes that were failed or skipped within the last hour, by reason, of all daemons.",
        ["outcome", "reason"],
        registry=REGISTRY,
    ),
    "set_aside": Gauge(
        "passbell_campaigns_set_aside",
        "Campaigns that the database's own rules or locks do not let go on; tried again with growing pauses.",
        registry=REGISTRY,
    ),
    "hangs": Gauge(
        "passbell_host_hangs",
        "1 while programs (all at once), users or push_campaigns cannot be read in time where work is chosen.",
        ["table"],
        registry=REGISTRY,
    ),
    "hanging_programs": Gauge(
        "passbell_programs_hanging",
        "Programs whose own row cannot be read in time; their campaigns wait meanwhile.",
        registry=REGISTRY,
    ),
    "owed_logs": Gauge(
        "passbell_audit_rows_owed",
        "Finished campaigns whose row notification_logs refused; tried again with growing pauses.",
        registry=REGISTRY,
    ),
    "birthday_last_run": Gauge(
        "passbell_birthday_last_run_timestamp_seconds",
        "When a birthday run was last completed, unix seconds; 0 if never.",
        registry=REGISTRY,
    ),
    "birthday_open": Gauge(
        "passbell_birthday_runs_open", "Birthday runs begun and not completed.", registry=REGISTRY
    ),
    "birthday_failures": Gauge(
        "passbell_birthday_gifts_failing", "Gifts that could not be given so far.", registry=REGISTRY
    ),
}


class QueueState:
    """The gauges above, refreshed from the database when they are asked for."""

    def __init__(self, database: Database, account: str) -> None:
        """`account`: whose breaker and rate."""
        self._upkeep = Upkeep(database)
        self._account = account
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._failing = False

    async def refresh(self) -> None:
        """Ask the database unless the numbers are fresh.

        Without a database the gauges are empty, so that no old number is taken for a new one.
        """
        async with self._lock:
            if time.monotonic() < self._until:
                return
            up = await self._answers()
            rows = await self._read() if up else None
            _UP.set(up)
            _READ.set(rows is not None)
            self._until = time.monotonic() + FRESH_SECONDS
            _show(rows or [])

    async def _answers(self) -> bool:
        try:
            await self._upkeep.answers(PROBE_SECONDS)
        except PassbellError:
            return False
        return True

    async def _read(self) -> list[tuple[str, str | None, float]] | None:
        """The numbers; None if they cannot be read, and then the log says why, once until they can be again."""
        try:
            rows = await self._upkeep.queue_state(self._account, DEADLINE)
        except PassbellError as error:
            if not self._failing:
                log.warning("queue_state_unreadable", reason=str(error))
            self._failing = True
            return None
        self._failing = False
        return rows


def _show(rows: list[tuple[str, str | None, float]]) -> None:
    for gauge in _STATE.values():
        if gauge._labelnames:  # noqa: SLF001 - prometheus_client has no public name for it
            gauge.clear()
        else:
            gauge.set(float("nan"))
    for metric, label, value in rows:
        if metric in _STATE:  # a newer schema may count more than this daemon knows
            _set(_STATE[metric], label, value)


def _set(gauge: Gauge, label: str | None, value: float) -> None:
    """Labels without a value are empty, as for the account of programs that name no account."""
    names = gauge._labelnames  # noqa: SLF001
    if not names:
        gauge.set(value)
        return
    labels = [] if label is None else label.split("/", len(names) - 1)
    gauge.labels(*labels, *[""] * (len(names) - len(labels))).set(value)


_show([])
