"""The daemon's metrics, and nothing else: counting costs a microsecond and never fails.

They describe this process. The state of the database is the same for every daemon and is read at scrape time; see
`passbell.ops.queue_state`. Names follow Prometheus' conventions: base units, `_total` for counters, labels from short
closed lists (never a campaign, program or pass). docs/metrics.md lists them all; a test compares.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from passbell import __version__
from passbell.outcomes import POSTPONING, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from passbell.database.rows import Finished

__all__ = ["REGISTRY", "Durations", "count_outcomes", "observe_request"]


class Durations(Collector):
    """A histogram for what happens at every push: seconds by bucket, for each set of label values that was seen.

    prometheus_client's own takes a lock per bucket and two microseconds, a tenth of what this daemon does for a push.
    This one is counted by the event loop's thread alone, and read by it: a list and an addition.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        """`buckets`: upper bounds, ascending, without infinity."""
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = [*buckets, float("inf")]
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self.observe(0.0, count=0)  # the series exists from the start
        registry.register(self)

    def observe(self, seconds: float, labels: tuple[str, ...] = (), count: int = 1) -> None:
        """Note that something took `seconds`, `count` times."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * len(self._bounds)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, seconds)] += count
        self._sums[labels] += seconds * count

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The family without its values, for the registry's check of names."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The family as Prometheus wants it: each bucket with everything below it."""
        (family,) = self.describe()
        for labels, counts in self._counts.items():
            below = accumulate(counts)
            buckets = [(str(bound), float(count)) for bound, count in zip(self._bounds, below, strict=True)]
            buckets[-1] = ("+Inf", buckets[-1][1])
            family.add_metric(labels, buckets, self._sums[labels])
        return [family]


REGISTRY: Final = CollectorRegistry()
"""Our own: a program that embeds passbell keeps its default registry to itself."""

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

Gauge(
    "passbell_build_info", "Which passbell this is; always 1.", ["version", "python"], registry=REGISTRY
).labels(__version__, platform.python_version()).set(1)

STARTED: Final = Gauge(
    "passbell_start_time_seconds", "When this daemon started, unix seconds.", registry=REGISTRY
)
STARTED.set_to_current_time()

DELIVERIES: Final = Counter(
    "passbell_deliveries_total",
    "Passes that this daemon has decided, by outcome (sent, failed) and reason (empty when sent).",
    ["outcome", "reason"],
    registry=REGISTRY,
)
POSTPONED: Final = Counter(
    "passbell_postponed_total",
    "Attempts that decided nothing: retry (network, 502 to 504), server_error (500), maybe (PassKit was down; it may "
    "have arrived), back (does not count as a try).",
    ["outcome"],
    registry=REGISTRY,
)
REQUESTS: Final = Durations(
    "passbell_passkit_request_duration_seconds",
    "Requests to PassKit by method (PUT pushes, the others read) and HTTP status; code is none without an answer.",
    ["method", "code"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
LIMITER_WAIT: Final = Durations(
    "passbell_limiter_wait_seconds",
    "How long a request waited for its slot under the rate limit.",
    buckets=(0.01, 0.1, 0.5, 1, 2, 5, 10, 30),
    registry=REGISTRY,
)
CLAIM: Final = Histogram(
    "passbell_claim_duration_seconds",
    "How long the database took to hand out a chunk.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
    registry=REGISTRY,
)
LEASES_LOST: Final = Counter(
    "passbell_leases_lost_total",
    "Chunks that another worker took over while we held them.",
    registry=REGISTRY,
)
THROTTLED: Final = Counter("passbell_throttled_total", "Answers 429 from PassKit.", registry=REGISTRY)
BREAKER_OPENED: Final = Counter(
    "passbell_breaker_opened_total", "Times that this daemon opened the breaker.", ["kind"], registry=REGISTRY
)
CHUNKS_HELD: Final = Gauge("passbell_chunks_held", "Chunks in this daemon's hands.", registry=REGISTRY)
PRUNED: Final = Counter(
    "passbell_pruned_rows_total", "Rows that retention has removed.", ["table"], registry=REGISTRY
)
LOOP_AGE: Final = Gauge(
    "passbell_loop_age_seconds", "Since each loop last went round.", ["loop"], registry=REGISTRY
)

TASKS: Final = Gauge(
    "passbell_tasks",
    "asyncio tasks alive; back to the same number whenever nothing is sent.",
    registry=REGISTRY,
)

# Series exist from the start, so that a rate() over the first event is not lost.
for _outcome, _reason in (
    ("sent", ""),
    ("failed", "not_found"),
    ("failed", "rejected"),
    ("failed", "attempts_exhausted"),
):
    DELIVERIES.labels(_outcome, _reason)
for _outcome in POSTPONING:
    POSTPONED.labels(_outcome)
for _kind in ("credentials", "outage"):
    BREAKER_OPENED.labels(_kind)


def observe_request(method: str, status: int | None, seconds: float) -> None:
    """Note one request to PassKit; `status` None when no answer came."""
    REQUESTS.observe(seconds, _request_labels(method, status))


@cache  # methods and statuses are few
def _request_labels(method: str, status: int | None) -> tuple[str, str]:
    return method, "none" if status is None else str(status)


def count_outcomes(finished: Finished) -> None:
    """Count what `passbell.finish_chunk` decided, in its words."""
    if finished.sent:
        DELIVERIES.labels(Outcome.SENT, "").inc(finished.sent)
    for reason, count in finished.reasons.items():
        if reason != "cancelled":  # skipped: this daemon did not decide it
            DELIVERIES.labels("failed", reason).inc(count)
    for outcome, count in finished.postponed.items():
        # Where a campaign is held because nearly all of it is 404, those go back, too.
        POSTPONED.labels(outcome if outcome in POSTPONING else Outcome.BACK).inc(count)
