"""Where a secret could leak: logs, errors, the process list, the environment of children, the database, /metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.pages import free_port, get
from support.processes import Command, Daemon, Sandbox
from support.wait import wait_until

if TYPE_CHECKING:
    from support.shop import Shop

KEY, SECRET = "key-Zq81vVnLw0", "secret-7hXk2PpTd9"
API_KEY = "web-55GhyyTr0Klm"
CREDENTIALS = {
    "PASSKIT_API_KEY": KEY,
    "PASSKIT_API_SECRET": SECRET,
    "API_KEYS": f"marketing:{API_KEY}",
    "LOG_LEVEL": "debug",
}

TABLES = """
    select c.oid::regclass::text as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname in ('public', 'passbell')
"""


class OwnStart(Daemon):
    """A daemon with a command line of its own in the process list."""

    fresh = True


def password(shop: Shop) -> str:
    return shop.url.split("@", maxsplit=1)[0].rsplit(":", 1)[1]


def stored(shop: Shop) -> str:
    """Every value of every row of every table, as one text."""
    return "".join(str(shop.rows(f"select t::text from {table['name']} t")) for table in shop.rows(TABLES))  # noqa: S608


def assert_nowhere(shop: Shop, daemon: Daemon, *more: str) -> None:
    texts = {
        "log": daemon.log + daemon.output,
        "database": stored(shop),
        "process list": (Path("/proc") / str(daemon.pid) / "cmdline").read_text() if daemon.running else "",
        "metrics": "".join(
            get(int(daemon.settings["PASSBELL_METRICS_PORT"]), page).body
            for page in ("/metrics", "/live", "/ready")
        )
        if daemon.running
        else "",
    }
    for place, text in texts.items():
        for secret in (KEY, SECRET, API_KEY, password(shop), *more):
            assert secret not in text, place
        assert "eyJ" not in text, place  # a JWT


def test_a_day_of_work_leaks_nothing(shop: Shop) -> None:
    """Pushes at log level debug: no secret in the log, the database, the process list or the metrics."""
    program = shop.program()
    shop.members(program, 20)
    campaign = shop.campaign(program, "Hello")
    with (
        Sandbox("--key", KEY, "--secret", SECRET) as sandbox,
        OwnStart(
            shop.url,
            sandbox.url,
            METRICS_PORT=free_port(),
            POLL_SECONDS=0.2,
            METADATA="replace",
            **CREDENTIALS,
        ) as daemon,
    ):
        wait_until(lambda: shop.status(campaign) in {"COMPLETED", "PAUSED"})
        assert_nowhere(shop, daemon)


def test_refused_credentials_are_not_repeated_aloud(shop: Shop) -> None:
    """PassKit refuses the credentials: log, status_detail and rate_limits say so without naming them."""
    program = shop.program()
    shop.members(program, 5)
    campaign = shop.campaign(program, "Hello")
    with (
        Sandbox() as sandbox,
        OwnStart(shop.url, sandbox.url, METRICS_PORT=free_port(), POLL_SECONDS=0.2, **CREDENTIALS) as daemon,
    ):
        wait_until(lambda: daemon.events("breaker_opened"))
        wait_until(lambda: "refuses the credentials" in str(shop.order(campaign)["status_detail"]))
        assert_nowhere(shop, daemon)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bell:{password}@127.0.0.1:9/shop",
        "postgresql://bell:{password}@no-such-host.invalid/shop",
        "postgresql://bell:{password}@127.0.0.1:9/shop?sslmode=nonsense",
        "postgres//bell:{password}@127.0.0.1/shop",
        "host=127.0.0.1 password={password} port=nine",
    ],
)
def test_errors_do_not_quote_the_password(url: str) -> None:
    """An error about a database URL does not contain its password."""
    secret = "pw-9Kd72LmQ"
    settings = {"PASSBELL_DATABASE_URL": url.format(password=secret), "PASSBELL_DRY_RUN": "true"}
    with Command("check", settings=settings) as running:
        assert running.wait() != 0
        assert secret not in running.log + running.output
        assert "Traceback" not in running.log


def test_a_wrong_setting_is_named_without_the_secrets_beside_it() -> None:
    """A start that fails for one setting says which, and nothing of the others."""
    settings = {
        "PASSBELL_DATABASE_URL": "postgresql://bell:pw-9Kd72LmQ@127.0.0.1:9/shop",
        "PASSBELL_PASSKIT_API_SECRET": SECRET,
        "PASSBELL_RATE_PER_SECOND": "fast",
    }
    with Command("run", settings=settings) as running:
        assert running.wait() == 2
        assert "PASSBELL_RATE_PER_SECOND" in running.log
        assert SECRET not in running.log
        assert "pw-9Kd72LmQ" not in running.log


def test_a_named_key_is_blotted_out_without_its_name() -> None:
    """`name:key` is how keys are configured, the key alone is what leaks: both are blotted out in every command."""
    script = (
        "import structlog; from passbell.log import configure_logging; from passbell.settings import Settings;"
        " configure_logging('info', 'json', secrets=Settings().secrets);"
        " structlog.get_logger().info('request_failed', detail='X-API-Key was ' + KEY)"
    ).replace("KEY)", f"{API_KEY!r})")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PASSBELL_API_KEYS": f"marketing: {API_KEY}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "X-API-Key was ***" in done.stderr
    assert API_KEY not in done.stderr
