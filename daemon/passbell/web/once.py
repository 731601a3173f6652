"""`Idempotency-Key`: the same key gives the same answer for 24 hours, whatever happened in between.

The key is entered before the work, the campaign's id beside it in the transaction that creates the campaign, the
answer after the work. A repeat after a crash between the two finds the campaign and answers with it.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import Header
from fastapi.responses import Response

from passbell.errors import DatabaseUnavailable, PassbellError
from passbell.web.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passbell.web.calls import Calls

__all__ = ["IdempotencyKey", "fingerprint", "json_answer", "once", "result"]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of your own: repeating the request with it within 24 hours repeats the answer.",
    ),
]


def json_answer(content: Any, status: int = 200) -> Response:
    """Return JSON; models with camelCase names, times as ISO 8601."""
    return Response(orjson.dumps(content, default=_plain), status_code=status, media_type="application/json")


def result(found: Any, **beside: Any) -> Response:
    """Return what was asked for, in the shape of every answer."""
    return json_answer({"success": True, "result": found, **beside})


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", by_alias=True) if dump else str(value)


def fingerprint(*parts: object) -> str:
    """Digest what makes two requests the same; the boundary of a multipart body does not."""
    return hashlib.sha256(orjson.dumps([str(part) for part in parts])).hexdigest()


async def once(
    calls: Calls,
    owner: str,
    key: str | None,
    print_: str,
    work: Callable[[], Awaitable[tuple[int, dict[str, Any]]]],
) -> Response:
    """Do the work, or repeat its answer.

    Raises:
        ApiError: 409, the key belongs to another request, or that one is not finished yet.
    """
    if key is None:
        status, content = await work()
        return json_answer(content, status)
    begun = await calls.begin_request(owner, key, print_)
    if begun.state == "different":
        raise ApiError(
            409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for another request before."
        )
    if begun.state == "running":
        raise ApiError(
            409,
            "IDEMPOTENCY_KEY_IN_USE",
            "The request with this Idempotency-Key is still being worked on.",
            headers={"Retry-After": "1"},
        )
    if begun.state == "replay":
        answer = json_answer(begun.answer, begun.status or 200)
        answer.headers["Idempotent-Replayed"] = "true"
        return answer
    try:
        status, content = await work()
    except DatabaseUnavailable:
        raise  # whether it took effect is unknown: the key's lease runs out, the campaign's id tells
    except PassbellError:
        with contextlib.suppress(DatabaseUnavailable):
            await calls.forget_request(owner, key)
        raise
    answer = json_answer(content, status)
    await calls.end_request(owner, key, status, bytes(answer.body).decode())
    return answer
