"""A histogram for what happens at every push.

prometheus_client's own takes a lock per bucket and two microseconds, a tenth of what this daemon does for a push. Ours
is counted by the event loop's thread alone, and read by it: a list and an addition.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import CollectorRegistry

__all__ = ["Durations"]


class Durations(Collector):
    """Seconds by bucket, for each set of label values that was seen."""

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
