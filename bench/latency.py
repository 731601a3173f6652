"""From the insert of a campaign to its first PUT at the sink: 200 inserts, at moments that fit no rhythm.

    .venv/bin/python bench/latency.py [--inserts 200]

passbell runs with its defaults (50 per second, poll every 2 s; the insert's NOTIFY wakes it). Beside each insert the
least that any such service could take is measured on the same server: commit a row, be notified, send one PUT.
Goals: median under 20 ms, 99th percentile under 100 ms.
"""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

import psycopg
from stand.contestants import Passbell
from stand.database import Databases
from stand.sink import Sink

if TYPE_CHECKING:
    from typing import Any

MEDIAN_GOAL, P99_GOAL = 20.0, 100.0  # milliseconds
BODY = '{"id":"0000000000000000000000","metaData":{"marketingMessage":"Hi"}}'


def ordered(connection: psycopg.Connection[Any], sink: Sink, number: int) -> float:
    """Insert a campaign; milliseconds from before the insert to its PUT."""
    sink.reset()
    begun = time.monotonic()
    connection.execute(
        "insert into public.push_campaigns (program_id, message_text) select id, %s from public.programs",
        [f"Message {number}"],
    )
    state = sink.wait(1, 30)
    if not state["distinct"]:
        raise SystemExit("no PUT within 30 seconds")
    while connection.execute(
        "select from public.push_campaigns where status <> 'COMPLETED' limit 1"
    ).fetchone():
        time.sleep(0.005)
    return float(state["first"] - begun) * 1000


def least(
    connection: psycopg.Connection[Any],
    listener: psycopg.Connection[Any],
    sink: Sink,
    wire: http.client.HTTPConnection,
) -> float:
    """Commit a row and its NOTIFY, hear it, PUT; milliseconds."""
    sink.reset()
    begun = time.monotonic()
    connection.execute("with row as (insert into least default values) select pg_notify('least', '')")
    next(listener.notifies(stop_after=1))
    wire.request("PUT", "/members/member", BODY)
    wire.getresponse().read()
    return float(sink.state()["first"] - begun) * 1000


def main() -> int:
    """Measure in turns; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inserts", type=int, default=200)
    options = parser.parse_args()
    draw = random.Random(1)  # noqa: S311 - moments, not secrets
    took: dict[str, list[float]] = {"least possible": [], "passbell": []}
    with (
        Databases(passes=1) as databases,
        Sink() as sink,
        databases.fresh() as url,
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url, autocommit=True) as listener,
        Passbell(url, sink.url, {"RATE_PER_SECOND": "50", "CHUNK_SIZE": "50", "DAILY_CAP": "0"}),
    ):
        connection.execute("create table least (id bigint generated always as identity)")
        listener.execute("listen least")
        wire = http.client.HTTPConnection("127.0.0.1", sink.port)
        for number in range(options.inserts):
            time.sleep(draw.uniform(0.02, 0.25))
            took["least possible"].append(least(connection, listener, sink, wire))
            time.sleep(draw.uniform(0.02, 0.25))
            took["passbell"].append(ordered(connection, sink, number))
        wire.close()
    percentiles = {}
    for name, values in took.items():
        cuts = statistics.quantiles(values, n=100)
        percentiles[name] = (statistics.median(values), cuts[98])
        print(
            f"{name:<16} {percentiles[name][0]:7.1f} ms median {cuts[89]:7.1f} ms p90 {cuts[98]:7.1f} ms p99"
            f" {max(values):7.1f} ms worst"
        )
    (median, p99), (floor, _) = percentiles["passbell"], percentiles["least possible"]
    met = median < MEDIAN_GOAL and p99 < P99_GOAL
    print(
        f"passbell is {median / floor:.1f} x the least possible; goals: median {MEDIAN_GOAL:.0f} ms,"
        f" p99 {P99_GOAL:.0f} ms   {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
