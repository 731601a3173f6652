"""How fast the page and the API answer beside 1,000,000 passes and 10,000 campaigns.

    .venv/bin/python bench/web.py [--passes N] [--campaigns N]

Prints milliseconds per request on the server, as the server's own log has them: median and worst of 20. The aims:
history under 100 ms, preview under 2,000 ms.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from passbell.database.migrate import migrate
from passbell.devkit.demo.members import populate
from passbell.devkit.postgres import EmbeddedPostgres
from support.databases import load_host
from support.wait import wait_until
from support.web import KEY, Web

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 20
CAMPAIGNS = """
insert into public.push_campaigns
       (program_id, name, message_text, target_query, status, created_at, started_at, completed_at,
        recipient_count, sent_count)
select p.ids[1 + n %% cardinality(p.ids)], 'Campaign ' || n, 'Message number ' || n, 'ALL', 'COMPLETED',
       t.at, t.at, t.at, 100, 100
  from generate_series(1, %(count)s) as n
 cross join (select %(programs)s::uuid[] as ids) p
 cross join lateral (select now() - n * interval '1 hour' as at) t
"""


def measure(name: str, web: Web, path: str, call: Callable[[], httpx.Response], aim: float) -> bool:
    """Call again and again; print what the server's log says; whether the aim was met."""
    before = len(logged(web, path))
    for _ in range(TURNS):
        answer = call()
        answer.raise_for_status()
    times = wait_until(
        lambda: logged(web, path)[before:] if len(logged(web, path)) >= before + TURNS else [], "the log"
    )
    median, worst = statistics.median(times), max(times)
    verdict = "ok" if median < aim else "TOO SLOW"
    print(f"{name:<34} {median:8.1f} ms median {worst:8.1f} ms worst   aim {aim:6.0f} ms   {verdict}")
    return median < aim


def logged(web: Web, path: str) -> list[float]:
    """Milliseconds of every request to a path so far."""
    return [event["ms"] for event in web.events("request_answered") if event["path"] == path]


def main() -> int:
    """Build the database, measure, and return 1 if an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=1_000_000)
    parser.add_argument("--campaigns", type=int, default=10_000)
    options = parser.parse_args()
    with EmbeddedPostgres(durable=False, settings={"shared_buffers": "512MB"}) as postgres:
        url = postgres.url()
        load_host(url, "2")
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            programs = populate(connection, "2", passes=options.passes)
            with connection.transaction():
                connection.execute("select passbell.as_engine()")
                connection.execute(
                    CAMPAIGNS, {"programs": list(programs.values()), "count": options.campaigns}
                )
            connection.execute("analyze")
            program = str(next(iter(programs.values())))
        print(f"{options.passes:,} passes, {options.campaigns:,} campaigns")
        with Web(url) as web, httpx.Client(base_url=web.url, timeout=120, trust_env=False) as http:
            http.post("/login", data={"key": KEY})
            token = re.search(r'"X-CSRF-Token": "(\w+)"', http.get("/history").text)
            if token is None:
                raise SystemExit("The page has no token: signing in failed.")
            http.headers.update({"X-CSRF-Token": token[1], "X-API-Key": KEY})
            order = {"programId": program}
            form = {"program": program, "message": "Hi {first_name|there}", "audience": "all"}
            met = [
                measure("history page", web, "/history", lambda: http.get("/history"), 100),
                measure(
                    "campaigns of a program (API)",
                    web,
                    "/api/campaigns",
                    lambda: http.get("/api/campaigns", params={**order, "limit": 50}),
                    100,
                ),
                measure(
                    "lock screen",
                    web,
                    "/compose/screen",
                    lambda: http.post("/compose/screen", data=form),
                    100,
                ),
                measure(
                    "preview of everybody (API)",
                    web,
                    "/api/preview",
                    lambda: http.post("/api/preview", json=order),
                    2000,
                ),
                measure(
                    "confirmation (page)",
                    web,
                    "/compose/confirm",
                    lambda: http.post("/compose/confirm", data=form),
                    2000,
                ),
            ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
