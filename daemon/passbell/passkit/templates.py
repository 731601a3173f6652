"""Whether a pass template rings: it needs a field that shows our key, with a change message.

A wallet shows a message when the value of a field with a change message changes; `%@` in it stands for the new value.
Without such a field every push is accepted and no phone shows anything. A field shows our key if it is called
`meta.<key>`, or if its default value contains `${meta.<key>}`, as custom fields use it.

The templates of a program are named by its tiers, those of a coupon campaign by its offers, those of a production by
its ticket types; coupons and tickets have one design before and one after they are redeemed. PassKit shows a template
under `/template/data/{id}` (`/template/{id}` answers 501), wrapped in an object with the owner's name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson

from passbell.passkit.answers import Verdict
from passbell.passkit.recipient import COUPON, EVENT_TICKET, MEMBERSHIP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from passbell.passkit.records import Exchange

    Ask = Callable[[str, str, bytes | None], Awaitable[Exchange]]

__all__ = ["FieldSet", "Template", "read_template", "read_templates"]

MAX_GROUPS = 100
"""Tiers, offers or ticket types that are looked at; without a limit PassKit shows 25."""
MAX_TEMPLATES = 50

# Names of the template's id in a tier, an offer or a ticket type, and what to call that template.
_LINKS = {
    "passTemplateId": "",
    "beforeRedeemPassTemplateId": "before redemption",
    "afterRedeemPassTemplateId": "after redemption",
}
_EXPRESSION = r"\$\{\s*meta\.%s\s*\}"
_ON_APPLE = ("USAGE_APPLE_WALLET", 1)  # PassKit's JSON has enums by name or by number
_POSTERS = {"posterTicketStyle": "poster ticket", "posterGenericStyle": "poster generic"}
_ON_POSTER = ("ADDITIONAL_FIELDS", 6)


class FieldSet(NamedTuple):
    """One list of fields in a template; a design with several styles has one for each."""

    name: str
    """Its place in the template; `data` is the usual one."""
    shown: tuple[str, ...]
    """Fields that show our key on an Apple pass."""
    ringing: tuple[str, ...]
    """Those of them that have `%@` in a change message."""
    untranslated: tuple[str, ...]
    """Languages whose own change message of a ringing field lacks `%@`."""
    on_poster: bool
    """Whether a ringing field is where a poster design shows it."""


class Template(NamedTuple):
    """A design as far as ringing goes."""

    id: str
    name: str
    when: str
    """`before redemption` or `after redemption`; empty for members."""
    sets: tuple[FieldSet, ...]
    """Empty if PassKit did not show the fields."""
    posters: tuple[str, ...]
    """Poster styles that are switched on."""

    @property
    def rings(self) -> bool:
        """Whether a message shows, in every style of the design."""
        return bool(self.sets) and all(one.ringing for one in self.sets)


async def read_templates(ask: Ask, protocol: str, program_id: str, key: str) -> list[Template] | None:
    """Every template that passes of a program, coupon campaign or production use.

    Args:
        ask: method, path, body; answers as `PassKit` does.
        protocol: MEMBERSHIP, COUPON or EVENT_TICKET.
        program_id: PassKit's id of the program, campaign or production.
        key: the key in `metaData` that carries the message, without `meta.`.

    Returns:
        None if PassKit does not tell which templates there are.
    """
    if program_id in {"", ".", ".."}:
        return None
    filters = {"limit": MAX_GROUPS}
    groups = {
        MEMBERSHIP: ("/members/tiers/list", {"programId": program_id, "filters": filters}),
        COUPON: ("/coupon/singleUse/offers/list", {"campaignId": program_id, "filters": filters}),
        EVENT_TICKET: (f"/eventTickets/ticketTypes/{quote(program_id, safe='')}", {"filters": filters}),
    }.get(protocol)
    if groups is None:
        return None
    listed = await ask("POST", groups[0], orjson.dumps(groups[1]))
    if listed.answer.verdict is not Verdict.SENT:
        return None
    wanted: dict[str, str] = {}
    for row in _rows(listed.body):
        for link, when in _LINKS.items():
            if isinstance(row.get(link), str) and row[link]:
                wanted.setdefault(row[link], when)
    found = []
    for template_id, when in list(wanted.items())[:MAX_TEMPLATES]:
        exchange = await ask("GET", f"/template/data/{quote(template_id, safe='')}", None)
        shown = exchange.body if exchange.answer.verdict is Verdict.SENT else b""
        found.append(read_template(shown, template_id, key)._replace(when=when))
    return found or None


def read_template(body: bytes, template_id: str, key: str) -> Template:
    """The answer of `/template/data/{id}`: `{"template": {…}, "Name": …}`, or the template itself."""
    data = _object(body)
    name = data.get("Name") or data.get("name") or ""
    for wrapper in ("result", "template"):
        if isinstance(data.get(wrapper), dict):
            data = data[wrapper]
            name = data.get("Name") or data.get("name") or name
    settings = data.get("appleWalletSettings")
    settings = settings if isinstance(settings, dict) else {}
    sets = [_judge(".".join(where), fields, key) for where, fields in _field_lists(data, ())]
    # A style may be written down without fields of its own: then it shows the others.
    posters = tuple(words for flag, words in _POSTERS.items() if settings.get(flag) is True)
    return Template(template_id, str(name), "", tuple(sets), posters)


def _judge(name: str, fields: list[dict[str, Any]], key: str) -> FieldSet:
    shown: list[str] = []
    ringing: list[str] = []
    untranslated: set[str] = set()
    on_poster = False
    expression = re.compile(_EXPRESSION % re.escape(key))
    for field in fields:
        unique = str(field.get("uniqueName") or "")
        defaults = [field.get("defaultValue"), *_texts(field.get("localizedDefaultValue")).values()]
        ours = unique == f"meta.{key}" or any(expression.search(str(text)) for text in defaults if text)
        usage = field.get("usage") or []
        uses = usage if isinstance(usage, list) else [usage]
        if not ours or (uses and not any(use in _ON_APPLE for use in uses)):
            continue
        shown.append(unique)
        options = field.get("appleWalletFieldRenderOptions")
        options = options if isinstance(options, dict) else {}
        plain = str(options.get("changeMessage") or "")
        translations = _texts(options.get("localizedChangeMessage"))
        if "%@" not in plain and not any("%@" in text for text in translations.values()):
            continue
        ringing.append(unique)
        if plain and "%@" not in plain:
            untranslated.add("the languages without a translation")
        untranslated |= {language for language, text in translations.items() if text and "%@" not in text}
        position = options.get("positionSettings")
        on_poster |= isinstance(position, dict) and position.get("section") in _ON_POSTER
    return FieldSet(name, tuple(shown), tuple(ringing), tuple(sorted(untranslated)), on_poster)


def _field_lists(
    value: Any, where: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """Every list of fields in a template, wherever a style keeps its own."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, list):
                fields = [one for one in inner if isinstance(one, dict) and "uniqueName" in one]
                if fields or name == "dataFields":
                    yield (*where, name) if name != "dataFields" else where or (name,), fields
                    continue
            yield from _field_lists(inner, (*where, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            name = inner.get("name") or inner.get("style") if isinstance(inner, dict) else None
            yield from _field_lists(inner, (*where, str(name or number)))


def _texts(value: Any) -> dict[str, str]:
    """The texts of a localized value by language: `{"translations": {"DE": …}}`, or the map itself."""
    if isinstance(value, str):
        return {"": value}
    if isinstance(value, dict):
        inner = value.get("translations", value)
        if isinstance(inner, dict):
            return {str(language): text for language, text in inner.items() if isinstance(text, str)}
    return {}


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _rows(body: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a list answer: lines of `{"result": {…}}`, and what else has been seen to mean a list."""
    try:
        values = [orjson.loads(body)]
    except orjson.JSONDecodeError:
        values = [_object(line) for line in body.splitlines()]
    for value in values:
        inner = value.get("result", value) if isinstance(value, dict) else value
        for row in inner if isinstance(inner, list) else [inner]:
            if isinstance(row, dict):
                yield row.get("result", row) if isinstance(row.get("result", row), dict) else row
