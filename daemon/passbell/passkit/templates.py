"""Whether a program's pass template rings: it needs a field that shows our key, with a change message.

A wallet shows a message when the value of a field with `changeMessage` changes; `%@` in it stands for the new value.
Without such a field every push is accepted and nobody is ever buzzed. Which template a program uses stands in its
tiers; PassKit shows a template's fields under `/template/data/{id}` (`/template/{id}` answers 501).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from passbell.passkit.answers import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passbell.passkit.records import Exchange

__all__ = ["change_messages"]


async def change_messages(
    ask: Callable[[str, str, bytes | None], Awaitable[Exchange]], program_id: str, field: str
) -> list[str | None] | None:
    """The change message of `field` in each template of a membership program.

    Args:
        ask: method, path, body; answers as `PassKit` does.
        program_id: PassKit's id of the program.
        field: unique name, such as `meta.marketingMessage`.

    Returns:
        One entry per template, None where it lacks the field; None if PassKit does not tell.
    """
    tiers = await ask("POST", "/members/tiers/list", orjson.dumps({"programId": program_id}))
    if tiers.answer.verdict is not Verdict.SENT:
        return None
    ids = {str(tier["passTemplateId"]) for tier in _lines(tiers.body) if tier.get("passTemplateId")}
    found: list[str | None] = []
    for template_id in sorted(ids):
        exchange = await ask("GET", f"/template/data/{template_id}", None)
        if exchange.answer.verdict is not Verdict.SENT:
            return None
        found.append(_message_of(exchange.body, field))
    return found or None


def _lines(body: bytes) -> list[dict[str, Any]]:
    rows = []
    for line in body.splitlines():
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and isinstance(value.get("result"), dict):
            rows.append(value["result"])
    return rows


def _message_of(body: bytes, name: str) -> str | None:
    data = orjson.loads(body).get("data") or {}
    for field in data.get("dataFields") or []:
        if field.get("uniqueName") == name:
            return str((field.get("appleWalletFieldRenderOptions") or {}).get("changeMessage") or "")
    return None
