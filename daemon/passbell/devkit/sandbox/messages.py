"""PassKit's JSON: which fields a message has, and what happens to the rest.

PassKit's REST layer is a gateway in front of gRPC, so its JSON is proto3-JSON: camelCase names, enums by
name or number, timestamps as RFC 3339 text, `metaData` a map of text to text. A field that the message
does not have is dropped without a word and the call still answers 200. A value of the wrong shape is a
syntax error that names the value, not the field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from passbell.devkit.sandbox.answers import ApiError

__all__ = [
    "COUPON",
    "LIST",
    "MEMBER",
    "TICKET",
    "Fields",
    "float32",
    "parse",
]

Check = Callable[[Any], Any]
Fields = dict[str, Check]


class _WrongShapeError(Exception):
    """Carries the value that does not fit."""


def float32(value: float) -> int | float:
    """The number as PassKit keeps it: a 32-bit float, written with the digits that tell it apart."""
    try:
        narrow: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        raise _WrongShapeError(value) from None
    if narrow.is_integer():
        return int(narrow)
    return float(f"{narrow:.7g}")


def _only(kind: type) -> Check:
    """A check that takes values of one type of JSON."""

    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise _WrongShapeError(value)
        return value

    return check


_text = _only(str)
_flag = _only(bool)
_message = _only(dict)
_list = _only(list)


def _number(value: Any) -> Any:
    if type(value) is str:  # proto3-JSON takes numbers in quotes
        try:
            value = float(value)
        except ValueError:
            raise _WrongShapeError(value) from None
    if type(value) not in {int, float}:
        raise _WrongShapeError(value)
    return float32(value)


def _count(value: Any) -> Any:
    number = _number(value)
    if type(number) is not int or not 0 <= number < 1 << 32:
        raise _WrongShapeError(value)
    return number


def _map(value: Any) -> Any:
    for item in _message(value).values():
        _text(item)
    return value


def _time(value: Any) -> Any:
    try:
        datetime.fromisoformat(_text(value))
    except ValueError:
        raise _WrongShapeError(value) from None
    return value


def _never(name: str) -> Check:
    """A field that only PassKit writes: a request that sets it is refused."""

    def check(_: Any) -> Any:
        raise ApiError(400, f"validation err: Field validation for '{name}' failed on the 'isdefault' tag")

    return check


def _enum(*names: str, first: int = 0) -> Check:
    """An enum by name or number; kept as its name."""
    by_number = dict(enumerate(names, first))

    def check(value: Any) -> Any:
        if value in names:
            return value
        if type(value) is int and value in by_number:
            return by_number[value]
        raise _WrongShapeError(value)

    return check


def _part(fields: Fields) -> Check:
    """A nested message: unknown names are dropped in it too."""

    def check(value: Any) -> Any:
        return _sift(fields, _message(value))

    return check


def _sift(fields: Fields, data: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in data.items():
        check = fields.get(name)
        if check is not None and value is not None:
            kept[name] = check(value)
    return kept


_WRITTEN_BY_PASSKIT: Fields = {"created": _never("Created"), "updated": _never("Updated")}
_DATE: Fields = {"year": _count, "month": _count, "day": _count}
_PERSON: Fields = {
    **dict.fromkeys(("surname", "forename", "salutation", "suffix", "displayName", "emailAddress"), _text),
    "mobileNumber": _text,
    "externalId": _text,
    "otherNames": _list,
    "gender": _enum("NOT_KNOWN", "MALE", "FEMALE"),
    "dateOfBirth": _part(_DATE),
}
_OVERRIDES: Fields = {
    **dict.fromkeys(("imageIds", "colors"), _message),
    **dict.fromkeys(("locations", "beacons", "links", "appStoreIdentifiers", "featuredActions"), _list),
}
MEMBER: Fields = {
    **dict.fromkeys(("id", "externalId", "groupingIdentifier", "tierId", "programId", "profileImage"), _text),
    "person": _part(_PERSON),
    "metaData": _map,
    "optOut": _flag,
    "points": _number,
    "secondaryPoints": _number,
    "tierPoints": _count,
    **dict.fromkeys(("expiryDate", "currentTierAwarded", "currentTierExpires"), _time),
    **_WRITTEN_BY_PASSKIT,
    "status": _enum("ENROLLED", "ACTIVE", "CHECKED_IN", "EXPIRED", "CHECKED_OUT", "DELETED"),
    "passOverrides": _part(_OVERRIDES),
    "notes": _list,
    "operation": _enum("OPERATION_DO_NOT_USE", "OPERATION_PUT", "OPERATION_PATCH"),
}
COUPON: Fields = {
    **dict.fromkeys(("id", "externalId", "offerId", "campaignId", "sku"), _text),
    "person": _part(_PERSON),
    "metaData": _map,
    "optOut": _flag,
    "status": _enum("UNREDEEMED", "REDEEMED"),
    "expiryDate": _time,
    **_WRITTEN_BY_PASSKIT,
    "redemptionDetails": _message,
    "passOverrides": _part(_OVERRIDES),
}
_PRODUCTION: Fields = {"id": _text, "uid": _text}
TICKET: Fields = {
    **dict.fromkeys(("id", "ticketNumber", "orderNumber", "groupingId", "barcodeContents"), _text),
    "event": _part({"id": _text, "production": _part(_PRODUCTION)}),
    "ticketType": _message,
    "seatInfo": _message,
    "faceValue": _message,
    "person": _part(_PERSON),
    "metaData": _map,
    "optOut": _enum("ON", "OFF", first=1),
    "expiryDate": _time,
    **_WRITTEN_BY_PASSKIT,
    "redemptionDetails": _message,
    "passOverrides": _part(_OVERRIDES),
}
_FILTERS: Fields = {
    "limit": _number,
    "offset": _number,
    "filterGroups": _list,
}
LIST: Fields = {
    "filters": _part(_FILTERS),
    **dict.fromkeys(("programId", "productionId", "productionUid"), _text),
}


def parse(fields: Fields, body: bytes) -> dict[str, Any]:
    """The fields of a message that a body sets, checked; unknown names are dropped.

    Raises:
        ApiError: 400 with a proto syntax error, as the gateway words it.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        token = body[error.pos : error.pos + 1].decode("utf-8", "replace")
        raise _syntax(error.pos + 1, token) from None
    if type(data) is not dict:
        raise _syntax(1, body[:20].decode("utf-8", "replace"))
    try:
        return _sift(fields, data)
    except _WrongShapeError as error:
        read = orjson.dumps(error.args[0])
        raise _syntax(_place(body, error.args[0]), read[:40].decode("utf-8", "replace")) from None


def _place(body: bytes, value: Any) -> int:
    """The position of a value in the body, counted from 1: the last place that reads like it."""
    opening = orjson.dumps(value)
    if isinstance(value, dict | list):
        opening = opening[:1]
    return max(body.rfind(opening), 0) + 1


def _syntax(place: int, token: str) -> ApiError:
    return ApiError(400, f"proto: syntax error (line 1:{place}): unexpected token {token}")
