"""The calls of PassKit's REST API that the sandbox answers.

Paths and verbs follow PassKit's published descriptors. A path that nobody knows answers 404; a known one
with another verb, or one that the sandbox knows of but does not act out, answers 501.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote

import orjson

from passbell.sandbox import messages
from passbell.sandbox.answers import ApiError, Stream, required_error
from passbell.sandbox.catalog import KINDS, Kind
from passbell.sandbox.filters import count, select
from passbell.sandbox.messages import float32, parse
from passbell.sandbox.phones import phones_from
from passbell.sandbox.world import Moment, World

if TYPE_CHECKING:
    from passbell.sandbox.records import Record

__all__ = ["Request", "Route", "Router"]


class Request:
    """A call on its way through a handler, which notes here what it touched.

    Attributes:
        args: path parameters, percent-decoded.
        record: the record that was found, None if none was.
        committed: whether a record was changed.
        told: the values of the ringing fields after an update, joined.
    """

    __slots__ = ("args", "body", "committed", "moment", "query", "record", "told")

    def __init__(self, args: tuple[str, ...], query: bytes, body: bytes, moment: Moment) -> None:
        self.args = args
        self.query = query
        self.body = body
        self.moment = moment
        self.record: Record | None = None
        self.committed = False
        self.told: str | None = None


Answer = bytes | Stream
Handler = Callable[[World, Request], Answer]


class Route(NamedTuple):
    """A path and verb; `push` marks an update of one record."""

    number: int
    name: str
    handle: Handler
    push: bool


_BLOCK = 500
_FIELDS = {"member": messages.MEMBER, "coupon": messages.COUPON, "ticket": messages.TICKET}


def _id(record: Record) -> bytes:
    return b'{"id":"%b"}' % record.id.encode()


# -- one record ------------------------------------------------------------------------------------------


def _keys(kind: Kind, data: dict[str, Any]) -> tuple[str, str, str]:
    """Id, own id and owner as a record message names them."""
    if kind.name == "ticket":
        production = data.get("event", {}).get("production", {})
        owner = production.get("id") or production.get("uid") or ""
    else:
        owner = data.get(kind.belongs, "")
    return data.get("id", ""), data.get(kind.external, ""), owner


def _update(kind: Kind) -> Handler:
    fields = _FIELDS[kind.name]

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        record = request.record = world.find(kind, *_keys(kind, data))
        _refuse_times(data)
        full = data.get("operation") == "OPERATION_PUT"
        full |= kind.name == "ticket" and world.options.ticket_put == "full"
        request.told = world.update(record, data, request.moment, full=full)
        request.committed = True
        return _id(record)

    return handle


def _create(kind: Kind) -> Handler:
    fields = _FIELDS[kind.name]
    required = {"member": ("programId", "tierId"), "coupon": ("campaignId", "offerId")}.get(kind.name, ())

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        _refuse_times(data)
        record_id, external, owner_id = _keys(kind, data)
        missing = [name for name in required if not data.get(name)] or ([] if owner_id else ["production"])
        if missing:
            raise required_error(missing[0])
        owner = world.owner_of(kind, owner_id)
        if external in owner.by_external or (record_id and record_id in world.by_id):
            raise ApiError(409, f"{kind.name} with {kind.external}[{external}] already exists")
        phones = phones_from(world.options.phones_on_create)
        record = world.add(owner, "", external, phones, request.moment.wall)
        world.update(record, data, request.moment)
        request.record, request.committed = record, True
        return _id(record)

    return handle


def _delete(kind: Kind) -> Handler:
    fields = {**_FIELDS[kind.name], "ticketId": _FIELDS["ticket"]["id"]}

    def handle(world: World, request: Request) -> bytes:
        data = parse(fields, request.body)
        record_id, external, owner = _keys(kind, data)
        record = request.record = world.find(kind, record_id or data.get("ticketId", ""), external, owner)
        world.remove(record)
        request.committed = True
        return b"{}"

    return handle


def _refuse_times(data: dict[str, Any]) -> None:
    for name in ("created", "updated"):
        if name in data:
            raise ApiError(
                400, f"validation err: Field validation for '{name}' failed on the 'isdefault' tag"
            )


def _person(kind: Kind) -> Handler:
    def handle(world: World, request: Request) -> bytes:
        data = parse(messages.PERSON_PATCH, request.body)
        if kind.name == "ticket":
            number = data.get("ticketNumber", {})
            owner = number.get("productionId") or number.get("productionUid") or ""
            keys = data.get("ticketId", {}).get("id", ""), number.get("ticketNumber", ""), owner
        else:
            keys = data.get("id", ""), data.get("externalId", ""), data.get("classId", "")
        record = request.record = world.find(kind, *keys)
        person = {**record.more().get("person", {}), **data.get("person", {})}
        request.told = world.update(record, {"person": person}, request.moment)
        request.committed = True
        return _id(record)

    return handle


_POINTS = ("points", "secondaryPoints", "tierPoints")


def _points(change: str) -> Handler:
    kind = KINDS["member"]

    def handle(world: World, request: Request) -> bytes:
        data = parse(messages.POINTS, request.body)
        record = request.record = world.find(kind, *_keys(kind, data))
        now = {
            "points": record.points,
            "secondaryPoints": record.secondary_points,
            "tierPoints": record.tier_points,
        }
        given = {name: data[name] for name in _POINTS if data.get(name)}
        resets = [name for name in _POINTS if data.get(f"reset{name[0].upper()}{name[1:]}")]
        if not given and not (change == "set" and resets):
            raise ApiError(
                400, "validation err: at least one of points, secondaryPoints, tierPoints is required"
            )
        if any(value < 0 for value in given.values()):
            raise ApiError(400, "validation err: Field validation for 'Points' failed on the 'gte' tag")
        for name, value in given.items():
            now[name] = {"set": value, "earn": now[name] + value, "burn": now[name] - value}[change]
        for name in resets if change == "set" else ():
            now[name] = 0
        if any(value < 0 for value in now.values()):
            raise ApiError(400, "not enough points")  # how PassKit words it is not known
        new = {name: float32(value) for name, value in now.items()}
        request.told = world.update_points(record, new, request.moment)
        request.committed = True
        keys = {"id": record.id, "externalId": record.external, "programId": record.owner.id}
        return orjson.dumps(keys | new)

    return handle


# -- reading ---------------------------------------------------------------------------------------------


def _show(world: World, request: Request, record: Record) -> bytes:
    request.record = record
    return orjson.dumps(record.as_json(defaults=world.options.emit_defaults))


def _by_id(kind: Kind) -> Handler:
    return lambda world, request: _show(world, request, world.find(kind, request.args[0], "", ""))


def _by_external(kind: Kind) -> Handler:
    return lambda world, request: _show(
        world, request, world.find(kind, "", request.args[1], request.args[0])
    )


def _by_number(world: World, request: Request) -> bytes:
    query = {name: values[0] for name, values in parse_qs(request.query.decode()).items()}
    owner = query.get("productionId") or query.get("productionUid") or ""
    return _show(world, request, world.find(KINDS["ticket"], "", query.get("ticketNumber", ""), owner))


def _list(kind: Kind, *, counting: bool = False) -> Handler:
    def handle(world: World, request: Request) -> Answer:
        data = parse(messages.LIST, request.body or b"{}")
        owner_id = request.args[0] if request.args else data.get("productionId") or data.get("classId", "")
        production = data.get("production", {})
        owner = world.owner_of(kind, owner_id or production.get("id") or production.get("uid", ""))
        filters = data.get("filters", {})
        if counting:
            return b'{"total":%d}' % count(world, owner, filters)
        rows = select(world, owner, filters)
        defaults = world.options.emit_defaults
        return Stream(_blocks(record.as_json(defaults=defaults) for record in rows))

    return handle


def _blocks(rows: Any) -> Any:
    """NDJSON in blocks of some hundred lines, so that a million rows never stand in memory."""
    block: list[bytes] = []
    for row in rows:
        block.append(orjson.dumps({"result": row}, option=orjson.OPT_APPEND_NEWLINE))
        if len(block) == _BLOCK:
            yield b"".join(block)
            block = []
    if block:
        yield b"".join(block)


def _owner(kind: Kind) -> Handler:
    return lambda world, request: orjson.dumps(world.owner_of(kind, request.args[0]).as_json())


def _owners(kind: Kind) -> Handler:
    return lambda world, _: Stream(_blocks(o.as_json() for o in world.owners.values() if o.kind is kind))


def _group(world: World, request: Request) -> bytes:
    owner = world.owner_of(KINDS["member"], request.args[0])
    if request.args[1] != owner.group:
        raise ApiError(404, f"tier [{request.args[1]}] does not exist")
    return orjson.dumps(owner.group_json())


def _groups(kind: Kind) -> Handler:
    """Tiers, offers or ticket types: how a caller finds the template of a program."""

    def handle(world: World, request: Request) -> Answer:
        data = parse(_GROUP_LIST, request.body or b"{}")
        owner_id = (
            request.args[0] if request.args else data.get("programId") or data.get("couponCampaignId", "")
        )
        return Stream(_blocks([world.owner_of(kind, owner_id).group_json()]))

    return handle


_GROUP_LIST = {**messages.LIST, "couponCampaignId": messages.MEMBER["id"]}


def _template(world: World, request: Request) -> bytes:
    template = world.templates.get(request.args[0])
    if template is None:
        raise ApiError(404, f"template with id[{request.args[0]}] does not exist")
    return orjson.dumps(template.as_json())


def _templates(world: World, _: Request) -> Answer:
    return Stream(_blocks(template.as_json() for template in world.templates.values()))


def _absent(_: World, __: Request) -> bytes:
    raise ApiError(501, "the sandbox does not act this call out")


_MEMBER, _COUPON, _TICKET = KINDS["member"], KINDS["coupon"], KINDS["ticket"]
_TABLE: list[tuple[str, str, Handler]] = [
    ("POST", "/members/member", _create(_MEMBER)),
    ("PUT", "/members/member", _update(_MEMBER)),
    ("DELETE", "/members/member", _delete(_MEMBER)),
    ("PATCH", "/members/member/person", _person(_MEMBER)),
    ("PUT", "/members/member/points/earn", _points("earn")),
    ("PUT", "/members/member/points/burn", _points("burn")),
    ("PUT", "/members/member/points/set", _points("set")),
    ("GET", "/members/member/id/{}", _by_id(_MEMBER)),
    ("GET", "/members/member/externalId/{}/{}", _by_external(_MEMBER)),
    ("POST", "/members/member/list/{}", _list(_MEMBER)),
    ("POST", "/members/count/{}", _list(_MEMBER, counting=True)),
    ("GET", "/members/program/{}", _owner(_MEMBER)),
    ("POST", "/members/programs/list", _owners(_MEMBER)),
    ("GET", "/members/tier/{}/{}", _group),
    ("POST", "/members/tiers/list", _groups(_MEMBER)),
    ("POST", "/coupon/singleUse/coupon", _create(_COUPON)),
    ("PUT", "/coupon/singleUse/coupon", _update(_COUPON)),
    ("DELETE", "/coupon/singleUse/coupon", _delete(_COUPON)),
    ("PATCH", "/coupon/singleUse/coupon/person", _person(_COUPON)),
    ("GET", "/coupon/singleUse/coupon/{}", _by_id(_COUPON)),
    ("GET", "/coupon/singleUse/coupon/externalId/{}/{}", _by_external(_COUPON)),
    ("POST", "/coupon/singleUse/coupons/list/{}", _list(_COUPON)),
    ("POST", "/coupon/singleUse/coupons/count/{}", _list(_COUPON, counting=True)),
    ("GET", "/coupon/singleUse/campaign/{}", _owner(_COUPON)),
    ("POST", "/coupon/singleUse/campaigns/list", _owners(_COUPON)),
    ("POST", "/coupon/singleUse/offers/list", _groups(_COUPON)),
    ("POST", "/eventTickets/ticket", _create(_TICKET)),
    ("POST", "/eventTickets/ticket/id", _create(_TICKET)),
    ("PUT", "/eventTickets/ticket", _update(_TICKET)),
    ("DELETE", "/eventTickets/ticket", _delete(_TICKET)),
    ("PATCH", "/eventTickets/ticket/person", _person(_TICKET)),
    ("GET", "/eventTickets/ticket/id/{}", _by_id(_TICKET)),
    ("GET", "/eventTickets/ticket/ticketNumber", _by_number),
    ("POST", "/eventTickets/tickets/list", _list(_TICKET)),
    ("POST", "/eventTickets/tickets/count", _list(_TICKET, counting=True)),
    ("GET", "/eventTickets/production/{}", _owner(_TICKET)),
    ("POST", "/eventTickets/productions", _owners(_TICKET)),
    ("POST", "/eventTickets/ticketTypes/{}", _groups(_TICKET)),
    ("GET", "/template/data/{}", _template),
    ("POST", "/templates/list", _templates),
    # Known to exist; what they do is unproven, or a push daemon has no use for them.
    *(
        (verb, path, _absent)
        for verb, path in (
            ("GET", "/template/{}"),
            ("PUT", "/members/member/tier"),
            ("PUT", "/members/member/updateExpiry"),
            ("PUT", "/members/member/expiry"),
            ("PUT", "/members/member/segment"),
            ("POST", "/members/member/checkIn"),
            ("POST", "/members/member/checkOut"),
            ("POST", "/members/batch-update"),
            ("DELETE", "/members/bulk"),
            ("PUT", "/coupon/singleUse/coupon/redeem"),
            ("PUT", "/coupon/singleUse/coupon/externalId"),
            ("DELETE", "/coupon/singleUse/coupons/bulk"),
            ("PUT", "/eventTickets/ticket/validate"),
            ("PUT", "/eventTickets/ticket/redeem"),
            ("DELETE", "/eventTickets/bulk"),
            ("PUT", "/flights/boardingRecord"),
            ("PUT", "/raw/pass"),
            ("POST", "/message"),
            ("POST", "/message/send"),
        )
    ),
]


class Router:
    """Finds the route of a verb and a path: one dict look-up for a path without parameters."""

    def __init__(self) -> None:
        self.names = ["(none)"]
        self._exact: dict[bytes, dict[bytes, Route]] = {}
        self._open: dict[tuple[int, bytes], dict[bytes, Route]] = {}
        for verb, path, handle in _TABLE:
            self.names.append(f"{verb} {path}")
            push = verb in {"PUT", "PATCH"} and handle is not _absent
            route = Route(len(self.names) - 1, path, handle, push)
            bare, _, rest = path.partition("/{}")
            table: dict[bytes, Route]
            if bare == path:
                table = self._exact.setdefault(path.encode(), {})
            else:
                table = self._open.setdefault((1 + rest.count("/{}"), bare.encode()), {})
            table[verb.encode()] = route

    def find(self, verb: bytes, path: bytes) -> tuple[Route, tuple[str, ...]]:
        """The route and the path's parameters.

        Raises:
            ApiError: 404 for an unknown path, 501 for a known one with another verb.
        """
        exact = self._exact.get(path)
        if exact is not None:
            route = exact.get(verb)
            if route is not None:
                return route, ()
        known = exact is not None
        for parts in (1, 2):
            bare, *values = path.rsplit(b"/", parts)
            table = self._open.get((parts, bare))
            if table is None or not all(values):
                continue
            route = table.get(verb)
            if route is not None:
                return route, tuple(unquote(value.decode("latin-1")) for value in values)
            known = True
        if known:
            raise ApiError(501, "Method Not Allowed")
        raise ApiError(404, "Not Found")
