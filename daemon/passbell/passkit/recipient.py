"""Which endpoint and which identifiers belong to a pass.

Every path and field name is taken from the REST annotations in PassKit's published SDK descriptors. Only the
identifiers and `metaData` are ever sent: a missing field means "leave alone" there, so points, person and
expiry of the record cannot be touched from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMBERSHIP = "MEMBERSHIP"
COUPON = "COUPON"
EVENT_TICKET = "EVENT_TICKET"

PROTOCOLS = (MEMBERSHIP, COUPON, EVENT_TICKET)

_UPDATE_PATHS = {
    MEMBERSHIP: "/members/member",
    COUPON: "/coupon/singleUse/coupon",
    EVENT_TICKET: "/eventTickets/ticket",
}
_ID_PATHS = {
    MEMBERSHIP: "/members/member/id/",
    COUPON: "/coupon/singleUse/coupon/",
    EVENT_TICKET: "/eventTickets/ticket/id/",
}
_EXTERNAL_ID_PATHS = {
    MEMBERSHIP: "/members/member/externalId/",
    COUPON: "/coupon/singleUse/coupon/externalId/",
}
_LIST_PATHS = {
    MEMBERSHIP: "/members/member/list/",
    COUPON: "/coupon/singleUse/coupons/list/",
}
OWNER_PATHS = {
    COUPON: "/coupon/singleUse/campaign/",
    EVENT_TICKET: "/eventTickets/production/",
}
"""Where a coupon campaign and a production are read; a program of members is known by the answer about a member."""


class Recipient(NamedTuple):
    """One pass to be told something."""

    pass_id: str
    """Our uuid as text."""
    protocol: str
    """MEMBERSHIP, COUPON or EVENT_TICKET."""
    passkit_id: str | None
    """Id of the PassKit record, the preferred key."""
    external_id: str | None
    """Our id on the PassKit record; the ticket number of a ticket."""
    passkit_program_id: str | None
    """PassKit's program (members), campaign (coupons) or production (tickets)."""

    @property
    def key_field(self) -> str:
        """Name of the field by which PassKit's records are matched to this pass."""
        if self.passkit_id:
            return "id"
        return "ticketNumber" if self.protocol == EVENT_TICKET else "externalId"

    @property
    def key(self) -> str:
        """Value of `key_field`."""
        return self.passkit_id or self.external_id or ""


def why_unaddressable(recipient: Recipient) -> str | None:
    """A sentence if no request can name this pass, else None."""
    if recipient.protocol not in PROTOCOLS:
        return f"passbell cannot update passes of the protocol {recipient.protocol}"
    if not recipient.key:
        return "The pass has neither a PassKit id nor an external id"
    if not recipient.passkit_id and not recipient.passkit_program_id:
        return "The pass has no PassKit id, and its external id is of no use without a PassKit program id"
    # "." and ".." survive percent-encoding as path steps: the URL would name another endpoint.
    if recipient.key in {".", ".."} or recipient.passkit_program_id in {".", ".."}:
        return "The id of the pass is not one that PassKit can have given"
    return None


def update_path(recipient: Recipient) -> str:
    """Path of the PUT that updates the record."""
    return _UPDATE_PATHS[recipient.protocol]


def update_body(recipient: Recipient, metadata: Mapping[str, str]) -> bytes:
    """JSON of the update; equal input gives equal bytes."""
    record: dict[str, Any]
    if recipient.passkit_id:
        record = {"id": recipient.passkit_id}
    elif recipient.protocol == EVENT_TICKET:
        record = {
            "ticketNumber": recipient.external_id,
            "event": {"production": {"id": recipient.passkit_program_id}},
        }
    else:
        program = "programId" if recipient.protocol == MEMBERSHIP else "campaignId"
        record = {"externalId": recipient.external_id, program: recipient.passkit_program_id}
    record["metaData"] = dict(metadata)
    return orjson.dumps(record)


def record_path(recipient: Recipient) -> str:
    """Path of the GET that reads the record."""
    if recipient.passkit_id:
        return _ID_PATHS[recipient.protocol] + quote(recipient.passkit_id, safe="")
    program, external = recipient.passkit_program_id or "", recipient.external_id or ""
    if recipient.protocol == EVENT_TICKET:
        query = urlencode({"productionId": program, "ticketNumber": external}, quote_via=quote)
        return f"/eventTickets/ticket/ticketNumber?{query}"
    return f"{_EXTERNAL_ID_PATHS[recipient.protocol]}{quote(program, safe='')}/{quote(external, safe='')}"


def list_path(protocol: str, program_id: str) -> str | None:
    """Path of the POST that lists records of a program, None for a protocol read one by one."""
    prefix = _LIST_PATHS.get(protocol)
    return prefix and prefix + quote(program_id, safe="")


def list_body(key_field: str, keys: list[str]) -> bytes:
    """A filter for the records whose `key_field` is one of `keys`.

    The default limit of the list endpoints is 25, so it is always sent.
    """
    filters = [{"filterField": key_field, "filterValue": key, "filterOperator": "eq"} for key in keys]
    return orjson.dumps(
        {"filters": {"limit": len(keys), "filterGroups": [{"condition": "OR", "fieldFilters": filters}]}}
    )
