"""Logs: what an operator reads, and what must never be there."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from passbell.log import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_per_line() -> None:
    """An event has time (UTC), level, a fixed phrase and its keys; debug is left out at level info."""
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    structlog.get_logger().info("chunk_finished", campaign="c1", sent=50)
    structlog.get_logger().debug("not_shown")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "event": "chunk_finished", "campaign": "c1", "sent": 50}


def test_libraries_log_the_same_way() -> None:
    """The connection pool and other libraries end up in the same JSON lines."""
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    logging.getLogger("psycopg.pool").warning("cannot connect to %s", "postgresql://u:hunter2@h/x")
    (line,) = lines(stream)
    assert line["logger"] == "psycopg.pool"
    assert line["event"] == "cannot connect to postgresql://u:***@h/x"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_blotted_out(log_format: str) -> None:
    """Neither by key, nor inside other values, nor in a traceback does a secret reach the log."""
    stream = io.StringIO()
    configure_logging("info", log_format, secrets=["hunter2-key"], stream=stream)
    log = structlog.get_logger()
    log.info("a", password="hunter2", headers={"Authorization": "hunter2"}, body=["x hunter2-key y"])
    try:
        int("refused: hunter2-key, eyJhbGciOiJIUzI1NiJ9.eyJ1aWQiOiIxIn0.hunter2")
    except ValueError:
        log.exception("b")
    assert "hunter2" not in stream.getvalue()
    assert "refused: ***" in stream.getvalue()


def test_fencing_tokens_are_no_secrets() -> None:
    """The log shows claim_token, because an operator needs to see which worker holds a chunk."""
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    structlog.get_logger().info("lease_lost", claim_token="5f0c")
    assert lines(stream)[0]["claim_token"] == "5f0c"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_logging_never_raises() -> None:
    """A value that cannot be shown costs its line, not the daemon."""
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    log = structlog.get_logger()
    log.info("odd", big=10**30, raw=b"\xff", lone="\ud800", nothing=float("nan"))
    log.info("bad", value=Unprintable())
    logging.getLogger("library").warning("%d", "not a number")
    odd, bad, library = lines(stream)
    assert odd["big"] == 10**30
    assert bad["event"] == library["event"] == "log_line_lost"
