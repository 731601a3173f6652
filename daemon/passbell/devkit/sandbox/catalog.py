"""Templates: which fields a pass shows, and which of them ring.

A template field shows a value on the pass. `uniqueName` says which: `meta.<key>` for a record's metaData,
`person.<field>`, `members.member.points` and its like, or `custom.<name>`, whose text is fixed in the
template unless its default value is an expression such as `${meta.<key>}`. A field with a change message
makes a phone show that message, `%@` replaced by the new value, when the value on the phone changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from random import Random

__all__ = ["KINDS", "Field", "Kind", "Template", "new_id"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_EXPRESSION = re.compile(r"\$\{([^}]+)\}")

Values = dict[str, str]


class Shown(Protocol):
    """What fields show of a record, beside its metaData: `passbell.devkit.sandbox.records.Record` is one."""

    points: float
    secondary_points: float
    tier_points: int

    @property
    def group(self) -> str:
        """Id of its tier, offer or ticket type."""

    def more(self) -> dict[str, Any]:
        """The further top-level fields."""


Show = Callable[[Shown, Values], str]


def new_id(rng: Random) -> str:
    """A PassKit id: 22 characters of base 62."""
    return "".join(rng.choices(_ALPHABET, k=22))


def id_from(text: str) -> str:
    """A PassKit id that is always the same for a text."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
    letters = []
    for _ in range(22):
        number, letter = divmod(number, 62)
        letters.append(_ALPHABET[letter])
    return "".join(letters)


class Kind(NamedTuple):
    """One of the three protocols and its words.

    Attributes:
        name: member, coupon or ticket.
        protocol: PassKit's name of it.
        owner: what the owner is called in errors.
        external: the field with the caller's own id.
        belongs: the field with the owner's id.
    """

    name: str
    protocol: str
    owner: str
    external: str
    belongs: str


KINDS = {
    "member": Kind("member", "MEMBERSHIP", "program", "externalId", "programId"),
    "coupon": Kind("coupon", "SINGLE_USE_COUPON", "coupon campaign", "externalId", "campaignId"),
    "ticket": Kind("ticket", "EVENT_TICKETING", "production", "ticketNumber", "productionId"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A data field of a template; it is silent without a change message in any language."""

    name: str
    change_message: str = ""
    label: str = ""
    default: str = ""
    localized: tuple[tuple[str, str], ...] = ()
    """Change messages by language."""

    @property
    def message(self) -> str:
        """The change message of the sandbox's phones: the plain one, else the first language's."""
        return self.change_message or next((text for _, text in self.localized), "")

    def show(self) -> Show:
        """The function that reads the shown value from a record and its metaData."""
        return _reader(self.name, self.default)

    def as_json(self) -> dict[str, Any]:
        """As `GET /template/data/{id}` shows it."""
        kinds = {"meta": "META", "person": "PII", "universal": "UNIVERSAL_FIELDS", "custom": "CUSTOM_FIELDS"}
        return {
            "uniqueName": self.name,
            "fieldType": kinds.get(self.name.partition(".")[0], "PROTOCOL_FIELDS"),
            "label": self.label or self.name.rpartition(".")[2],
            "dataType": "TEXT",
            "defaultValue": self.default,
            "appleWalletFieldRenderOptions": {
                "changeMessage": self.change_message,
                "localizedChangeMessage": {"translations": dict(self.localized)} if self.localized else None,
            },
        }


class Template:
    """A pass design: its fields in order, and which of them ring."""

    def __init__(self, template_id: str, kind: Kind, fields: tuple[Field, ...], organisation: str) -> None:
        self.id = template_id
        self.kind = kind
        self.fields = fields
        self.organisation = organisation
        self.ringing = tuple((item, item.show()) for item in fields if item.message)
        self.shown = tuple((item, item.show()) for item in fields)
        self.rings = _together([show for _, show in self.ringing])

    @classmethod
    def plain(cls, owner_id: str, kind: Kind, message_key: str) -> Template:
        """The design made for an owner that was named without one: a message, and silent fields."""
        fields: tuple[Field, ...] = (
            Field(f"meta.{message_key}", "%@", "News"),
            Field("person.displayName", label="Name"),
        )
        if kind.name == "member":
            fields += (Field("members.member.points", label="Points"),)
        return cls(id_from(f"template of {owner_id}"), kind, fields, "Sandbox")

    def as_json(self) -> dict[str, Any]:
        """The template as PassKit shows it (`PassTemplateResponse`), as far as a push daemon looks at it."""
        name, protocol = f"template {self.id}", self.kind.protocol
        template = {
            "id": self.id,
            "name": name,
            "protocol": protocol,
            "revision": 1,
            "organizationName": self.organisation,
            "data": {"dataFields": [item.as_json() for item in self.fields]},
        }
        return {
            "template": template,
            "Name": name,
            "ownerUsername": "sandbox",
            "protocol": protocol,
            "revision": 1,
        }


def _together(shows: list[Show]) -> Callable[[Shown, Values], tuple[str, ...]]:
    """Several values at once; the usual template has one, and every update reads it twice."""
    if len(shows) == 1:
        (only,) = shows
        return lambda record, meta: (only(record, meta),)
    return lambda record, meta: tuple([show(record, meta) for show in shows])


def _reader(name: str, default: str) -> Show:
    space, _, key = name.partition(".")
    if space == "meta":
        missing = f"missing: {name}"
        return lambda _, meta: meta.get(key, missing)
    if space == "person":
        return lambda record, _: str(record.more().get("person", {}).get(key, ""))
    if space == "custom" and "${" in default:
        parts = {inner: _reader(inner, "") for inner in _EXPRESSION.findall(default)}
        return lambda record, meta: _EXPRESSION.sub(lambda hit: parts[hit[1]](record, meta), default)
    attribute = {
        "members.member.points": "points",
        "members.member.secondaryPoints": "secondary_points",
        "members.member.tierPoints": "tier_points",
    }.get(name)
    if attribute is not None:
        return lambda record, _: str(getattr(record, attribute))
    if name == "members.tier.name":
        return lambda record, _: record.group
    return lambda _, __: default
