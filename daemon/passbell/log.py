"""Logs: one JSON object per line on stderr; coloured lines where stderr is a terminal.

    import structlog
    log = structlog.get_logger()
    log.info("chunk_finished", campaign=campaign_id, sent=50)

Events are fixed verb phrases with keys. The libraries' own logging (psycopg.pool, apscheduler, uvicorn) goes
through the same chain. Times are UTC, ISO 8601. Secrets are blotted out by key and by value. Logging never
raises: a line that cannot be rendered is replaced by one that says so.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from structlog.typing import Processor

__all__ = ["Redaction", "configure_logging"]

# Libraries that say more at INFO than an operator wants to read.
_QUIET = {"apscheduler": logging.ERROR, "httpx": logging.WARNING, "uvicorn.access": logging.WARNING}

_SECRET_KEY = re.compile(
    r"password|passwd|secret|api_?keys?$|authorization|^token$|(jwt|access|passkit)_token", re.IGNORECASE
)
_SECRET_TEXT = (
    (re.compile(r"(\w+://[^\s:/@]*):[^\s/]*@"), r"\1:***@"),  # user:password@ of a URL
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), "***"),  # a JWT
)
_DEPTH = 6  # of nested values; deeper ones are shown as text
_SHORTEST_SECRET = 4  # blotting out every "a" would leave no log


def configure_logging(
    level: str = "info",
    log_format: str = "auto",
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the whole process. May be called again; the last call counts.

    Args:
        level: debug, info, warning or error.
        log_format: json, console, or auto: console on a terminal, else json.
        secrets: values that must not appear anywhere in a line.
        stream: where lines go; stderr unless told.
    """
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,  # before the redaction: a traceback quotes values
        Redaction(secrets),
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else _render_json,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _NeverRaises(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=last,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # uvicorn brings handlers of its own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("psycopg.pool").addFilter(_is_news)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # configuring again, as tests do, must reach every logger
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Drop what the pool says of connections that `database/pool.py` has closed: the error itself has its own line."""
    return not record.msg.startswith("discarding closed connection")


class Redaction:
    """A structlog processor that blots out secrets: by the key's name, and known values wherever they are."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, or a secret that contains another would keep its tail.
        known = sorted(
            {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True
        )
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        """Return the event without its secrets."""
        return {str(key): self._value(key, value, _DEPTH) for key, value in event.items()}

    def text(self, text: str) -> str:
        """Return a text without the secrets in it."""
        if self._known is not None:
            text = self._known.sub("***", text)
        for pattern, replacement in _SECRET_TEXT:
            text = pattern.sub(replacement, text)
        return text

    def _value(self, key: object, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(key, str) and _SECRET_KEY.search(key):
            return "***"
        if depth and isinstance(value, dict):
            return {str(inner): self._value(inner, item, depth - 1) for inner, item in value.items()}
        if depth and isinstance(value, list | tuple | set | frozenset):
            return [self._value(key, item, depth - 1) for item in value]
        return self.text(
            f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        )


def _render_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """Put the time, level and event first, where the eye looks for them."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    line = {**first, **event}
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):  # integers over 64 bits, lone surrogates
        return json.dumps(line, default=str)


class _NeverRaises(structlog.stdlib.ProcessorFormatter):
    """Formats a record; one that cannot be formatted becomes a line that says so."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001 - whatever a foreign __str__ raises, the daemon goes on
            return json.dumps(
                {
                    "level": "error",
                    "event": "log_line_lost",
                    "logger": record.name,
                    "reason": type(error).__name__,
                }
            )
