"""What an HTTP answer means for a pass and for the account.

PassKit publishes neither a list of error codes nor a rate limit. The classes below follow its one written
rule (503: wait and repeat), the usual status codes of grpc-gateway, which stands in front of it, and what
several projects measured on the live service.
"""

from __future__ import annotations

import enum
import re
import zlib
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DETAIL = 300
"""Characters of `Answer.detail`; it is stored with every failed delivery."""

MAX_RETRY_AFTER = 86_400.0
"""Seconds. A server that asks for more than a day is taken to mean a day."""

_REDIRECTS = range(300, 400)
_MAX_RAW_TEXT = 2_000  # characters of an answer that is not JSON which are looked at for a sentence
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|\bBearer\s+\S+", re.IGNORECASE)
_SECONDS = re.compile(r"\d{1,300}(\.\d{1,9})?", re.ASCII)
_ABOUT_TIME = re.compile(r"too long ago|before issued|not valid yet|is expired|has expired", re.IGNORECASE)


class Verdict(enum.StrEnum):  # a str, because an enum hashes in Python, and this is looked up at every push
    """What the daemon should do about an answer."""

    SENT = "sent"
    """PassKit stored the record. It does not say that a phone was reached."""
    RETRY = "retry"
    """Trouble that passes: network, time-out, gateway, an unreadable answer. The pass stays in its chunk."""
    THROTTLED = "throttled"
    """429. All daemons slow down, by `Answer.retry_after` where PassKit names a time."""
    REFUSED = "refused"
    """401 or 403. The credentials of the account, not this pass: stop, tell a person, fail no pass."""
    NOT_FOUND = "not_found"
    """404. This pass does not exist there, or the region or program is wrong when many say so."""
    REJECTED = "rejected"
    """400, 409, 501 and similar: the same request will never be accepted."""
    SERVER_ERROR = "server_error"
    """500. PassKit also uses it for some plain validation failures, so a few repeats, then give up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one question to PassKit."""

    verdict: Verdict
    http_status: int | None
    """None when no complete answer arrived."""
    detail: str = ""
    """One plain sentence, at most `MAX_DETAIL` characters, printable, without secrets."""
    retry_after: float | None = None
    """Seconds the server asked us to wait."""
    answered: bool = True
    """Whether a server answered at all; False for refused connections, time-outs and cuts."""


_VERDICTS: dict[int, Verdict] = {
    HTTPStatus.UNAUTHORIZED: Verdict.REFUSED,
    HTTPStatus.FORBIDDEN: Verdict.REFUSED,
    HTTPStatus.NOT_FOUND: Verdict.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: Verdict.THROTTLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: Verdict.SERVER_ERROR,
    HTTPStatus.NOT_IMPLEMENTED: Verdict.REJECTED,
    # A proxy or an impatient gateway spoke; PassKit did not look at the pass.
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: Verdict.RETRY,
    HTTPStatus.REQUEST_TIMEOUT: Verdict.RETRY,
    HTTPStatus.TOO_EARLY: Verdict.RETRY,
}
_VERDICTS_BY_HUNDRED = {2: Verdict.SENT, 4: Verdict.REJECTED}


def verdict_of(status: int) -> Verdict:
    """Class of a status code; a 2xx is SENT only if its body can be read as well, which the caller checks."""
    known = _VERDICTS.get(status)
    if known is not None:
        return known
    # Redirects are not followed (the token would travel along) and other 5xx are gateways in trouble. Neither
    # says anything about the pass, so a wrong base URL must not burn a whole audience.
    return _VERDICTS_BY_HUNDRED.get(status // 100, Verdict.RETRY)


def parse_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body`, or None if it is anything else."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def decoded(body: bytes, coding: str, most: int) -> bytes:
    """The content of a body in the coding that Content-Encoding names; at most `most` bytes and one more.

    passbell asks for no coding. A proxy in between may compress nevertheless. What cannot be decoded stays as it is,
    and is no JSON.
    """
    if coding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes
    try:
        content = decoder.decompress(body, most + 1)
    except zlib.error:
        return body
    return content if decoder.eof or len(content) > most else body


def error_text(body: bytes) -> str:
    """The human part of an error body: `message`, `error`, `error.message` or raw text, what there is."""
    value = parse_object(body)
    if value is not None:
        error = value.get("error")
        inner = error.get("message") if isinstance(error, dict) else None
        for text in (value.get("message"), error, inner):
            if isinstance(text, str) and text.strip():
                return text
    raw = body[: _MAX_RAW_TEXT * 4].decode("utf-8", "replace")[:_MAX_RAW_TEXT].strip()
    return "an HTML page" if raw[:1] == "<" else raw


def tells_about_time(body: bytes) -> bool:
    """Whether a 401 complains about the age of the token and not about who we are."""
    return _ABOUT_TIME.search(error_text(body)) is not None


def plain(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` as one printable line of at most `MAX_DETAIL` characters; tokens and `secrets` blotted out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[secret]")
    text = _TOKEN.sub("[token]", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1].rstrip() + "…"


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from a Retry-After header (number or HTTP date), on the server's own clock if it shows one.

    Args:
        headers: response headers, names in lower case.
        now: our clock, unix seconds, used where the answer carries no usable Date.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        until = http_date(value)
        if until is None:
            return None
        seconds = until - (http_date(headers.get("date", "")) or now)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def http_date(value: str) -> float | None:
    """Unix seconds of an HTTP date, None if it is not one. A date without a zone is in UTC (RFC 9110)."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


@cache
def taken(status: int) -> Answer | None:
    """The answer that a 2xx stands for, taken at its word; None for any other status."""
    return Answer(Verdict.SENT, status) if verdict_of(status) is Verdict.SENT else None


def not_taken(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float, secrets: tuple[str, ...]
) -> Answer:
    """The answer that any other status stands for, with its headers and its body."""
    verdict = verdict_of(status)
    if status in _REDIRECTS:
        text = "a redirect, which is not followed; check PASSBELL_PASSKIT_URL"
    else:
        text = error_text(body)
    detail = plain(f"PassKit answered {status}: {text}" if text else f"PassKit answered {status}", secrets)
    return Answer(verdict, status, detail, retry_after_seconds(headers, now))


def unreadable(status: int, why: str) -> Answer:
    """A 2xx whose body cannot be trusted: a proxy's page, half an answer. Repeating an update is harmless."""
    return Answer(Verdict.RETRY, status, plain(f"PassKit answered {status}, but {why}"))


def no_answer(why: str, secrets: tuple[str, ...] = ()) -> Answer:
    """The network gave nothing complete back."""
    return Answer(Verdict.RETRY, None, plain(why, secrets), answered=False)


def impossible(why: str) -> Answer:
    """No request can be made for this pass at all; nothing left the machine."""
    return Answer(Verdict.REJECTED, None, plain(why), answered=False)
