"""Records as PassKit stores them (a member, coupon or ticket), and what they belong to.

A record is small, because a sandbox may hold a million: metaData and the seldom used fields are kept as JSON bytes, a
third of what dicts take. A call parses the one record that it touches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from passbell.devkit.sandbox.catalog import Kind, Template

__all__ = ["Owner", "Record", "packed", "stamp"]

_STATUS = {"member": "ENROLLED", "coupon": "UNREDEEMED", "ticket": "ISSUED"}

# What an unset field looks like in an answer, per kind, in the order of the messages.
_MEMBER: dict[str, Any] = {
    **dict.fromkeys(("id", "externalId", "groupingIdentifier", "tierId", "programId"), ""),
    "person": None,
    "metaData": {},
    "optOut": False,
    **dict.fromkeys(("points", "secondaryPoints", "tierPoints"), 0),
    "expiryDate": None,
    "status": "ENROLLED",
    **dict.fromkeys(("passOverrides", "passMetaData"), None),
    "notes": [],
    **dict.fromkeys(("currentTierAwarded", "currentTierExpires", "created", "updated"), None),
    "profileImage": "",
    "operation": "OPERATION_DO_NOT_USE",
}
_COUPON: dict[str, Any] = {
    **dict.fromkeys(("id", "externalId", "offerId", "campaignId"), ""),
    "person": None,
    "metaData": {},
    "sku": "",
    "optOut": False,
    "status": "UNREDEEMED",
    **dict.fromkeys(("expiryDate", "redemptionDetails", "passOverrides", "passMetaData"), None),
    **dict.fromkeys(("created", "updated"), None),
}
_TICKET: dict[str, Any] = {
    **dict.fromkeys(("id", "ticketNumber"), ""),
    **dict.fromkeys(("event", "ticketType"), None),
    **dict.fromkeys(("orderNumber", "groupingId", "barcodeContents"), ""),
    **dict.fromkeys(("seatInfo", "faceValue", "person"), None),
    "metaData": {},
    "optOut": "DO_NOT_USE",
    "status": "ISSUED",
    **dict.fromkeys(("expiryDate", "redemptionDetails"), None),
    "validateDetails": [],
    **dict.fromkeys(("passOverrides", "passMetaData", "created", "updated"), None),
}
_UNSET = {"member": _MEMBER, "coupon": _COUPON, "ticket": _TICKET}


def stamp(seconds: float) -> str:
    """A proto timestamp."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def packed(value: dict[str, Any]) -> bytes:
    """JSON bytes to be kept.

    orjson writes into a buffer of kilobytes and cuts it; what is cut off stays unusable beside the bytes that
    are kept (measured: 4.6 GB instead of 0.55 GB for a million records). A copy takes what it needs.
    """
    return bytes(memoryview(orjson.dumps(value))) if value else b""


@dataclass(slots=True, eq=False)
class Owner:
    """A program, coupon campaign or production, and its records by the caller's own id.

    Attributes:
        after: the design of redeemed coupons and tickets as the API names it; None if it is the same. Phones of
            the sandbox keep the first, because the sandbox knows no redemption.
        uid: a production's second name, usable instead of the id.
        group: id of the tier, offer or ticket type that links to the template.
    """

    id: str
    kind: Kind
    template: Template
    after: Template | None = None
    name: str = ""
    uid: str = ""
    group: str = "base"
    by_external: dict[str, Record] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The program, campaign or production itself."""
        data = {"id": self.id, "name": self.name or self.id, "status": ["PROJECT_PUBLISHED"]}
        return {**data, "uid": self.uid} if self.kind.name == "ticket" else data

    def group_json(self) -> dict[str, Any]:
        """Its one tier, offer or ticket type: the object that names the template."""
        data = {"id": self.group, self.kind.belongs: self.id}
        if self.kind.name == "member":
            return {**data, "name": self.group, "passTemplateId": self.template.id}
        return {
            **data,
            "offerTitle" if self.kind.name == "coupon" else "name": self.group,
            "beforeRedeemPassTemplateId": self.template.id,
            "afterRedeemPassTemplateId": (self.after or self.template).id,
        }


class Record:
    """One record, and the phone that carries its pass.

    Attributes:
        external: the caller's own id; of a ticket its number.
        index: position in the world's list, and its name in the journal and the buzz log.
        meta: metaData as JSON bytes; empty for none.
        extra: all further top-level fields as JSON bytes; empty for none.
        installed: whether the pass is on the phone.
        alerts: how many updates rang.
        alive: False once another record was seeded in its place.
    """

    __slots__ = (
        "alerts",
        "alive",
        "created",
        "external",
        "extra",
        "id",
        "index",
        "installed",
        "meta",
        "owner",
        "points",
        "secondary_points",
        "status",
        "tier_points",
        "updated",
    )

    def __init__(
        self,
        record_id: str,
        external: str,
        owner: Owner,
        *,
        index: int,
        installed: bool,
        now: float,
    ) -> None:
        self.id = record_id
        self.external = external
        self.owner = owner
        self.index = index
        self.installed = installed
        self.meta = b""
        self.extra = b""
        self.points: float = 0
        self.secondary_points: float = 0
        self.tier_points = 0
        self.status = _STATUS[owner.kind.name]
        self.created = self.updated = now
        self.alerts = 0
        self.alive = True

    def values(self) -> dict[str, str]:
        """The metaData as a fresh dict."""
        return orjson.loads(self.meta) if self.meta else {}

    def more(self) -> dict[str, Any]:
        """The further top-level fields as a fresh dict."""
        return orjson.loads(self.extra) if self.extra else {}

    @property
    def group(self) -> str:
        """Id of its tier, offer or ticket type."""
        return str(self.more().get("tierId") or self.owner.group)

    def shown(self) -> tuple[str, ...]:
        """The value of every template field as PassKit has it now."""
        meta = self.values()
        return tuple(show(self, meta) for _, show in self.owner.template.shown)

    def wallet_status(self) -> str:
        """`passMetaData.status`."""
        return "PASS_INSTALLED" if self.installed else "PASS_UNINSTALLED"

    def as_json(self, *, defaults: bool = True) -> dict[str, Any]:
        """The record as the API shows it."""
        kind = self.owner.kind
        data: dict[str, Any] = dict(_UNSET[kind.name]) if defaults else {}
        data["id"] = self.id
        data[kind.external] = self.external
        if kind.name == "member":
            data["programId"] = self.owner.id
            data["tierId"] = self.owner.group
            data["points"] = self.points
            data["secondaryPoints"] = self.secondary_points
            data["tierPoints"] = self.tier_points
        elif kind.name == "coupon":
            data["campaignId"] = self.owner.id
            data["offerId"] = self.owner.group
        else:
            data["event"] = {"id": "", "production": {"id": self.owner.id, "uid": self.owner.uid}}
        data["metaData"] = self.values()
        data["status"] = self.status
        data["passMetaData"] = {"status": self.wallet_status()}
        data["created"] = stamp(self.created)
        data["updated"] = stamp(self.updated)
        data.update(self.more())
        return data if defaults else {name: value for name, value in data.items() if value}

    def as_row(self, *, defaults: bool = True) -> dict[str, Any]:
        """The record as a list shows it: of a ticket's event and type only the names."""
        data = self.as_json(defaults=defaults)
        if self.owner.kind.name == "ticket":
            production = {"id": self.owner.id, "uid": self.owner.uid, "name": self.owner.name}
            data |= {"production": production, "event": {"id": ""}}
            if data.get("ticketType"):
                kept = ("id", "uid", "name")
                data["ticketType"] = {name: data["ticketType"].get(name, "") for name in kept}
            if "optOut" in data:
                data["optOut"] = data["optOut"] == "ON"
        return data
